// What a reader does with the page, by the bar on top and by the keys: find, filter, jump, choose a row
// and take it away. What the state of all that is, stands in the address.

import { readAddress, writeAddress } from "./address.js";
import { Chosen } from "./chosen.js";
import { copy, download, rowJson, rowText } from "./copy.js";
import { plural } from "./format.js";
import { Jumps } from "./jumps.js";
import { listen } from "./keys.js";
import { Search } from "./search.js";

const SAID_MS = 4000;
const element = (id) => document.getElementById(id);

export class Handling {
  constructor({ agent, log, view, tail, loader, loadElsewhere, showEnd }) {
    Object.assign(this, { agent, log, view, tail });
    const { position, ...searched } = readAddress();
    this.search = new Search({
      log, view, tail, loader, place: () => this.chosen.place(), chosen: () => this.chosen.entry, changed: () => this.writeAddress(),
    }, searched);
    this.chosen = new Chosen({ log, view, tail, search: this.search, changed: () => this.chose() });
    this.jumps = new Jumps({
      log, view, tail, loader, search: this.search, chosen: this.chosen, loadElsewhere, showEnd, say: (words) => this.say(words),
    }, position);
    this.wire();
    this.search.begin();
  }

  wire() {
    const actions = this.actions();
    listen(actions);
    for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => actions[button.dataset.do]());
    element("pill").addEventListener("click", actions.end);
    for (const name of ["pause", "only"]) element(name).addEventListener("click", actions[name]);
    element("bar-fold").addEventListener("click", () => this.unfold());
    element("search").addEventListener("keydown", async ({ key, shiftKey }) => {
      if (key !== "Enter") return;
      await this.search.settle();
      actions[shiftKey ? "previousMatch" : "nextMatch"]();
    });
  }

  actions() {
    const { chosen, jumps, search } = this;
    return {
      help: () => element("help").showModal(),
      search: () => this.focusSearch(),
      escape: () => this.escape(),
      pause: () => (this.tail.following ? this.tail.pause(true) : jumps.follow()),
      only: () => (search.find.query ? search.toggleOnly() : this.focusSearch()),
      start: () => jumps.toStart(),
      end: () => jumps.toEnd(),
      nextRow: () => chosen.step(1),
      previousRow: () => chosen.step(-1),
      nextTurn: () => jumps.jump(1, "turn"),
      previousTurn: () => jumps.jump(-1, "turn"),
      nextError: () => jumps.jump(1, "error"),
      previousError: () => jumps.jump(-1, "error"),
      nextMatch: () => jumps.jump(1, "match"),
      previousMatch: () => jumps.jump(-1, "match"),
      copyText: () => this.copy((row) => rowText(row), "the row as text"),
      copyJson: () => this.copy((row, entry) => rowJson(entry), "the row as JSON"),
      copyLink: () => this.copy(() => location.href, "a link to the row"),
      download: () => this.download(),
    };
  }

  // --- what the page tells -----------------------------------------------------------------

  // Events were loaded or came in, and are not drawn yet.
  feed(entries) {
    this.search.feed(entries);
  }

  // Events came in and are drawn.
  added() {
    this.jumps.added();
  }

  // All that was loaded gave way to other events.
  replaced() {
    this.chosen.renew();
    this.search.renew();
  }

  // All that was loaded is about to go.
  restart() {
    this.jumps.restart();
  }

  drawn() {
    this.chosen.drawn();
    this.search.drawn();
  }

  showPause() {
    const { following } = this.tail;
    const button = element("pause");
    button.textContent = following ? "Pause" : "Follow";
    button.setAttribute("aria-pressed", String(!following));
  }

  // --- what the reader does ----------------------------------------------------------------

  chose() {
    if (this.chosen.entry) this.jumps.target = "";
    this.search.showFound();
    this.writeAddress();
  }

  writeAddress() {
    const { only, query, shown } = this.search;
    writeAddress({ query, only, shown: [...shown], position: this.chosen.entry?.position ?? this.jumps.target });
  }

  unfold(isOpen = !document.body.classList.contains("has-bar")) {
    document.body.classList.toggle("has-bar", isOpen);
    element("bar-fold").setAttribute("aria-expanded", isOpen);
  }

  focusSearch() {
    this.unfold(true);
    this.search.focus();
  }

  escape() {
    this.jumps.stop();
    this.say("");
    const field = element("search");
    if (field.value) this.search.clear();
    else if (document.activeElement === field) field.blur();
    else if (this.chosen.entry) this.chosen.release();
    else this.unfold(false);
  }

  async copy(take, what) {
    const { entry, row } = this.chosen;
    if (!row) {
      this.say("choose a row first: click it, or press j");
      return;
    }
    try {
      await copy(take(row, entry));
      this.say(`copied ${what}`);
    } catch (error) {
      this.say(`could not copy: ${error.message}`);
    }
  }

  download() {
    const { shown } = this.view;
    download(shown, `${this.agent}.jsonl`);
    const rest = [!this.log.isWhole && "earlier", !this.log.isLive && "later"].filter(Boolean).join(" and ");
    this.say(`${plural(shown.length, "event")} downloaded${rest && `; ${rest} ones are not loaded`}`);
  }

  // Says in the bar what came of something: for a while, or until something else is done.
  say(words, { isLasting = false } = {}) {
    element("said").textContent = words;
    clearTimeout(this.saying);
    if (words && !isLasting) this.saying = setTimeout(() => { element("said").textContent = ""; }, SAID_MS);
  }
}
