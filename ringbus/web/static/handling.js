// What a reader does with the page: find, filter, jump, choose a row and copy it, by the bar on top
// and by the keys. What the state of all that is, stands in the address.

import { readAddress, writeAddress } from "./address.js";
import { CLASSES, ERROR, classify } from "./classes.js";
import { copy, download, rowJson, rowText } from "./copy.js";
import { Find, highlight } from "./find.js";
import { count } from "./format.js";
import { listen } from "./keys.js";
import { Hole } from "./log.js";

const SAID_MS = 4000;
const TYPED_MS = 150;
const element = (id) => document.getElementById(id);

// A failed call and its result are one row.
const isFailure = ({ bits, n, partner }) => bits & ERROR && !(partner?.n < n);

export class Handling {
  constructor({ agent, log, view, tail, loader, loadElsewhere, showEnd }) {
    Object.assign(this, { agent, log, view, tail, loader, loadElsewhere, showEnd });
    this.find = new Find(log, () => this.showFound());
    this.current = null; // the chosen entry
    this.looking = 0; // which jump beyond what is loaded is the last that was asked for
    this.acts = element("acts"); // goes along with its row, out of the document, too
    const { query, only, shown, position } = readAddress();
    Object.assign(this, { only, shown: new Set(shown), target: position });
    element("search").value = query;
    this.wire();
    this.apply();
    if (query) this.search();
  }

  wire() {
    const actions = this.actions();
    listen(actions);
    for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => actions[button.dataset.do]());
    for (const button of document.querySelectorAll("[data-show]")) button.addEventListener("click", () => this.toggleShow(button.dataset.show));
    element("pill").addEventListener("click", actions.end);
    element("pause").addEventListener("click", actions.pause);
    element("only").addEventListener("click", actions.only);
    element("bar-fold").addEventListener("click", () => this.unfold());
    const search = element("search");
    search.addEventListener("input", () => this.typed());
    search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") actions[event.shiftKey ? "previousMatch" : "nextMatch"]();
    });
    this.view.root.addEventListener("click", (event) => this.clicked(event));
    this.view.root.addEventListener("toggle", () => this.mark(), true);
    addEventListener("hashchange", () => this.goTo(location.hash.slice(1)));
  }

  actions() {
    return {
      help: () => element("help").showModal(),
      search: () => this.focusSearch(),
      escape: () => this.escape(),
      pause: () => (this.tail.following ? this.tail.pause(true) : this.showEnd()),
      only: () => this.toggleOnly(),
      start: () => this.toStart(),
      end: () => this.toEnd(),
      nextRow: () => this.step(1),
      previousRow: () => this.step(-1),
      nextTurn: () => this.jump(1, (entry) => entry.isStart, "turn"),
      previousTurn: () => this.jump(-1, (entry) => entry.isStart, "turn"),
      nextError: () => this.jump(1, isFailure, "error"),
      previousError: () => this.jump(-1, isFailure, "error"),
      nextMatch: () => this.jump(1, (entry) => this.find.matches.has(entry.n), "match"),
      previousMatch: () => this.jump(-1, (entry) => this.find.matches.has(entry.n), "match"),
      copyText: () => this.copy((row) => rowText(row), "the row as text"),
      copyJson: () => this.copy((row, entry) => rowJson(entry), "the row as JSON"),
      copyLink: () => this.copy(() => location.href, "a link to the row"),
      download: () => this.download(),
    };
  }

  // --- search and filter -------------------------------------------------------------------

  typed() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.search(), TYPED_MS);
  }

  async search() {
    const query = element("search").value.trim();
    if (!(await this.find.search(query))) return;
    if (!query) this.only = false;
    this.apply();
  }

  // Events were loaded or came in: what they match is to be known before they are drawn.
  feed(entries) {
    if (entries.length) this.find.feed(entries);
  }

  // All that was loaded gave way to other events, with numbers of their own.
  async replaced() {
    this.current = this.current && this.log.find(this.current.position);
    await this.find.again();
  }

  // All that was loaded goes, and may come again with numbers of its own.
  restart() {
    this.target = this.current?.position ?? this.target;
    this.current = null;
    this.find.matches.clear();
  }

  added() {
    if (this.target && this.log.last) this.goTo(this.target);
  }

  toggleShow(name) {
    if (!this.shown.delete(name)) this.shown.add(name);
    this.apply();
  }

  toggleOnly() {
    if (!this.find.query) return this.focusSearch();
    this.only = !this.only;
    return this.apply();
  }

  // Brings what is shown, the bar and the address to the state of the filters.
  apply() {
    const { find, only, shown, view } = this;
    const bits = [...shown].reduce((sum, name) => sum | CLASSES[name], 0);
    const isOnly = only && find.query !== "";
    const passes = bits || isOnly
      ? (entry) => entry instanceof Hole || ((!bits || entry.bits & bits) && (!isOnly || find.matches.has(entry.n)))
      : null;
    if (passes || view.passes) {
      this.tail.keep(() => {
        view.filter(passes, this.place());
        if (this.tail.following) view.showEnd();
      });
    }
    for (const button of document.querySelectorAll("[data-show]")) button.setAttribute("aria-pressed", shown.has(button.dataset.show));
    element("only").setAttribute("aria-pressed", isOnly);
    document.body.classList.toggle("is-filtered", passes !== null);
    this.showFound();
    this.mark();
    this.writeAddress();
  }

  showFound() {
    const { find } = this;
    const place = this.current && find.matches.has(this.current.n) ? find.list().indexOf(this.current.n) + 1 : 0;
    element("found").textContent = find.query ? `${place ? `${place} of ` : ""}${count(find.matches.size)}` : "";
  }

  mark() {
    if (this.isMarking) return;
    this.isMarking = true;
    requestAnimationFrame(() => {
      this.isMarking = false;
      highlight(this.view.root, this.find.pattern ?? null);
    });
  }

  writeAddress() {
    writeAddress({
      query: this.find.query || element("search").value.trim(), only: this.only, shown: [...this.shown],
      position: this.current?.position ?? this.target,
    });
  }

  // --- rows --------------------------------------------------------------------------------

  drawn() {
    if (this.current) this.outline();
    if (this.find.pattern) this.mark();
  }

  rowOf(entry) {
    const place = document.getElementById(entry.position);
    return place?.closest(".row") ?? null;
  }

  outline() {
    const row = this.current && this.rowOf(this.current);
    if (row === this.outlined && row?.classList.contains("is-current")) return;
    this.outlined?.classList.remove("is-current");
    this.outlined?.removeAttribute("tabindex");
    this.outlined = row;
    this.acts.hidden = row === null;
    if (!row) {
      document.body.append(this.acts);
      return;
    }
    row.classList.add("is-current");
    row.tabIndex = -1;
    row.append(this.acts);
  }

  choose(entry, isFocused = true) {
    this.current = entry;
    this.target = "";
    this.outline();
    if (isFocused) this.outlined?.focus({ preventScroll: true });
    this.showFound();
    this.writeAddress();
  }

  clicked({ target }) {
    if (target.closest("button, a:not(.gutter), summary") || !getSelection().isCollapsed) return;
    const row = target.closest(".row[id]");
    const entry = row && this.log.at(row.n);
    if (entry) this.choose(entry, false);
  }

  // Chooses the next or previous row in the document.
  step(by) {
    const rows = [...this.view.root.querySelectorAll(".row[id]")];
    const now = rows.indexOf(this.outlined);
    const at = now < 0 ? rows.findIndex((row) => row.getBoundingClientRect().bottom > innerHeight / 3) : now + by;
    const row = rows[at];
    if (!row) return;
    this.tail.pause(true);
    this.choose(this.log.at(row.n));
    row.scrollIntoView({ block: "nearest" });
  }

  // Brings an entry into sight and chooses it.
  reveal(entry) {
    this.tail.pause(true);
    if (entry.n < this.view.low || entry.n >= this.view.high) this.view.show(entry.n);
    this.choose(entry);
    const place = document.getElementById(entry.position) ?? this.outlined;
    for (const fold of place?.querySelectorAll("details") ?? []) {
      if (this.find.pattern && this.find.matches.has(entry.n) && !this.hasMatch(place)) fold.open = true;
    }
    place?.scrollIntoView({ block: entry.isStart ? "start" : "center" });
  }

  hasMatch(place) {
    return this.find.pattern.test(place.innerText);
  }

  // The nearest entry in that direction that `isWanted`, from the chosen one or the screen's top.
  jump(by, isWanted, word) {
    this.looking += 1;
    const { shown } = this.view;
    let at = this.view.index(this.place()) + (this.current || by < 0 ? by : 0);
    while (at >= 0 && at < shown.length && !isWanted(shown[at])) at += by;
    if (shown[at]) this.reveal(shown[at]);
    else if (by > 0 && !this.current && word === "match") this.jump(-1, isWanted, word);
    else if (this.log.first && !(by < 0 ? this.log.isWhole : this.log.isLive)) this.jumpBeyond(by, word);
    else this.say(`no ${by < 0 ? "earlier" : "further"} ${word}`);
  }

  // The server knows where turns begin and what holds a text; for errors all of it is looked at. What
  // is asked for next ends that, as Escape does.
  async jumpBeyond(by, word) {
    const turn = (this.looking += 1);
    const goesOn = () => turn === this.looking;
    const [asked, isWanted] = {
      turn: [{ kind: "turn_start" }, () => true],
      match: [{ text: this.find.query }, (event) => this.find.isMatch(event)],
      error: [{}, (event) => classify(event).bits & ERROR],
    }[word];
    this.say(`no ${word} in what is loaded: looking at the rest`);
    try {
      const position = await this.loader.look(by, asked, isWanted, goesOn);
      if (!goesOn()) return;
      if (position) await this.goTo(position);
      if (word === "error") this.chooseCall();
      this.say(position ? "" : `no ${by < 0 ? "earlier" : "further"} ${word}`);
    } catch (error) {
      this.say(`could not look for it: ${error.message}`);
    }
  }

  // An answer that failed stands under its call.
  chooseCall() {
    const { partner, n } = this.current ?? {};
    if (partner?.n < n) this.reveal(partner);
  }

  place() {
    if (this.current) return this.current.n;
    const row = this.tail.following ? null : this.tail.anchor();
    return row?.n ?? this.view.high;
  }

  async toStart() {
    if (!this.log.isWhole && !(await this.loadElsewhere(() => this.loader.oldest()))) return;
    this.tail.pause();
    this.view.show(this.view.shown[0]?.n ?? 0);
    scrollTo({ top: 0, behavior: "instant" });
    if (this.view.shown[0]) this.choose(this.view.shown[0]);
  }

  toEnd() {
    this.current = null;
    this.target = "";
    this.outline();
    this.writeAddress();
    return this.showEnd();
  }

  // A permalink wins over following; what it leads to is fetched if it is not loaded.
  async goTo(position) {
    const here = this.log.find(position);
    const [epoch, seq] = position.split("-");
    const { last } = this.log;
    if (!here && this.target && last?.epoch === epoch && last.seq < seq) return; // still to come
    this.target = "";
    if (here) {
      this.reveal(here);
      return;
    }
    if (!/^[0-9a-f]{16}-\d+$/.test(position)) return;
    if (!(await this.loadElsewhere(() => this.loader.around(epoch, Number(seq))))) {
      this.say("the event of this link is not kept any more");
      return;
    }
    const near = this.log.find(position) ?? this.log.entries.find((entry) => entry.epoch === epoch && entry.seq >= Number(seq)) ?? this.log.last;
    if (near) this.reveal(near);
  }

  // --- the bar -----------------------------------------------------------------------------

  showPause() {
    const { following } = this.tail;
    const button = element("pause");
    button.textContent = following ? "Pause" : "Follow";
    button.setAttribute("aria-pressed", String(!following));
  }

  unfold(isOpen = !document.body.classList.contains("has-bar")) {
    document.body.classList.toggle("has-bar", isOpen);
    element("bar-fold").setAttribute("aria-expanded", isOpen);
  }

  focusSearch() {
    this.unfold(true);
    element("search").focus();
    element("search").select();
  }

  escape() {
    this.looking += 1;
    const search = element("search");
    if (search.value) {
      search.value = "";
      this.search();
    } else if (document.activeElement === search) search.blur();
    else if (this.current) {
      this.current = null;
      this.outline();
      this.showFound();
      this.writeAddress();
    } else this.unfold(false);
  }

  async copy(take, what) {
    if (!this.current || !this.outlined) {
      this.say("choose a row first: click it, or press j");
      return;
    }
    try {
      await copy(take(this.outlined, this.current));
      this.say(`copied ${what}`);
    } catch (error) {
      this.say(`could not copy: ${error.message}`);
    }
  }

  download() {
    download(this.view.shown, `${this.agent}.jsonl`);
    this.say(`${count(this.view.shown.length)} events downloaded${this.log.isWhole ? "" : "; earlier ones are not loaded"}`);
  }

  say(words) {
    element("said").textContent = words;
    clearTimeout(this.saying);
    this.saying = setTimeout(() => { element("said").textContent = ""; }, SAID_MS);
  }
}
