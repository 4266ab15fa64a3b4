// What is searched for and which rows are shown: the bar's words and buttons for it, and whether the
// rest of the history has more of what is searched for than is loaded.

import { CLASSES, classify } from "./classes.js";
import { Find, firstIn, highlight } from "./find.js";
import { Hole } from "./log.js";

const TYPED_MS = 150;
const RESTED_MS = 500;
const WAYS = { before: -1, after: 1 };
const element = (id) => document.getElementById(id);

export class Search {
  // `place()` is the number of the entry that is looked at, `chosen()` the entry that is chosen;
  // `changed()` hears of another search or filter.
  constructor({ log, view, tail, loader, place, chosen, changed }, { query, only, shown }) {
    Object.assign(this, { log, view, tail, loader, place, chosen, changed, only, shown: new Set(shown) });
    this.find = new Find(log, () => this.showFound());
    this.beyond = {}; // before, after: { end, place } of the nearest match there, seen from an end of the log
    this.looking = 0;
    const field = element("search");
    field.value = query;
    field.addEventListener("input", () => this.typed());
    for (const button of document.querySelectorAll("[data-show]")) button.addEventListener("click", () => this.toggleShow(button.dataset.show));
    view.root.addEventListener("toggle", () => this.mark(), true);
  }

  begin() {
    this.apply();
    if (element("search").value) this.search();
  }

  get query() {
    return this.find.query || element("search").value.trim();
  }

  typed() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.search(), TYPED_MS);
  }

  // Done with what the field says.
  async settle() {
    if (element("search").value.trim() === this.find.query) await this.searching;
    else await this.search();
  }

  async search() {
    clearTimeout(this.typing);
    const query = element("search").value.trim();
    this.searching = this.find.search(query);
    if (!(await this.searching)) return;
    if (!query) this.only = false;
    this.apply();
    this.lookAnew();
  }

  clear() {
    element("search").value = "";
    this.search();
  }

  // Events were loaded or came in: what they match is to be known before they are drawn.
  feed(entries) {
    if (!entries.length) return;
    this.find.feed(entries);
    this.lookSoon();
  }

  // All that was loaded gave way to other events.
  renew() {
    this.find.renew();
    this.lookAnew();
  }

  isMatch(entry) {
    return this.find.matches.has(entry.n);
  }

  // --- which rows are shown ----------------------------------------------------------------

  toggleShow(name) {
    if (!this.shown.delete(name)) this.shown.add(name);
    this.apply();
    this.lookAnew();
  }

  toggleOnly() {
    this.only = !this.only;
    this.apply();
  }

  focus() {
    element("search").focus();
    element("search").select();
  }

  get bits() {
    return [...this.shown].reduce((sum, name) => sum | CLASSES[name], 0);
  }

  get isOnly() {
    return this.only && this.find.query !== "";
  }

  // Whether an event that is not loaded would be shown.
  shows(event) {
    return (!this.bits || (classify(event).bits & this.bits) !== 0) && (!this.isOnly || this.find.isMatch(event));
  }

  // Brings what is shown, the bar and the address to the state of the filters.
  apply() {
    const { bits, find, isOnly, shown, view } = this;
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
    this.changed();
  }

  // --- what was found ----------------------------------------------------------------------

  // "3 of 12", with what is known of the rest of the history: "…" until all of it is.
  showFound() {
    const { bits } = this;
    const isShown = (entry) => !bits || entry.bits & bits || entry.partner?.bits & bits;
    const { number, at } = this.find.count(this.chosen(), isShown);
    const [place, rest] = [at ? `${at.toLocaleString("en")} of ` : "", this.rest()];
    const words = this.find.query ? `${place}${number.toLocaleString("en")}${rest}` : "";
    const field = element("found");
    if (field.textContent === words) return;
    field.textContent = words;
    field.title = rest ? "counted in what is loaded" : "";
  }

  rest() {
    const ways = Object.keys(WAYS).filter((way) => !this.isEnd(way) && this.told(way)?.place !== null);
    if (!ways.length) return "";
    if (!ways.every((way) => this.told(way))) return "…";
    return `, more ${ways.length > 1 ? "around" : ways[0]}`;
  }

  isEnd(way) {
    return way === "before" ? this.log.isWhole : this.log.isLive;
  }

  end(way) {
    return way === "before" ? this.log.first : this.log.last;
  }

  // What is known of the rest, while the log still ends there or the match is still in the rest.
  told(way) {
    const known = this.beyond[way];
    const isTrue = known && (known.end === this.end(way) || (known.place && this.log.find(known.place.position) === null));
    return isTrue ? known : null;
  }

  // Looks for the nearest match on either side of what is loaded, once nobody has typed for a while.
  lookSoon() {
    const isTold = Object.keys(WAYS).every((way) => this.isEnd(way) || this.told(way));
    if (this.resting || isTold || !this.find.query) this.showFound();
    else this.resting = setTimeout(() => this.look(this.looking), RESTED_MS);
  }

  lookAnew() {
    this.beyond = {};
    this.looking += 1;
    clearTimeout(this.resting);
    this.resting = 0; // or one that waits, or looks
    this.lookSoon();
  }

  async look(turn) {
    const goesOn = () => turn === this.looking;
    try {
      for (const [way, by] of Object.entries(WAYS)) {
        if (this.isEnd(way) || this.told(way)) continue;
        const end = this.end(way);
        const place = await this.loader.look(by, this.find.asked, (item) => this.isFoundIn(item), goesOn);
        if (!goesOn()) return;
        this.beyond[way] = { end, place };
      }
    } catch (error) {
      console.warn("cannot tell what there is in what is not loaded:", error.message);
    }
    if (!goesOn()) return;
    this.resting = 0;
    this.showFound();
  }

  isFoundIn({ event }) {
    return event !== undefined && this.find.isMatch(event) && this.shows(event);
  }

  // --- marks -------------------------------------------------------------------------------

  drawn() {
    if (this.find.pattern) this.mark();
  }

  mark() {
    if (this.isMarking) return;
    this.isMarking = true;
    requestAnimationFrame(() => {
      this.isMarking = false;
      highlight(this.view.root, this.find.pattern ?? null);
    });
  }

  // Where the match of an entry stands in the place where that is drawn, in a fold maybe, which is
  // opened then; null for none.
  reveal(entry, place) {
    if (!this.isMatch(entry)) return null;
    const seen = () => firstIn(place, this.find.pattern);
    for (const fold of place.querySelectorAll("details:not([open])")) {
      if (seen()) break;
      fold.open = true;
      fold.dispatchEvent(new Event("toggle")); // what is in it is built now, not after the next frame
      fold.open = seen() !== null;
    }
    return seen();
  }
}
