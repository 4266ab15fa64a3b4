// Going elsewhere: to the next turn, error or match, to the event of a link, to either end. What is
// not loaded is looked for in the history and loaded in place of all else.

import { ERROR, classify } from "./classes.js";

// A failed call and its result are one row.
const isFailure = ({ bits, n, partner }) => bits & ERROR && !(partner?.n < n);

export class Jumps {
  // `loadElsewhere(fetch, show)` and `showEnd()` are the page's; `say(words)` tells what came of it.
  constructor({ log, view, tail, loader, search, chosen, loadElsewhere, showEnd, say }, target) {
    Object.assign(this, { log, view, tail, loader, search, chosen, loadElsewhere, showEnd, say });
    this.target = target; // the position of a link that is not here yet
    this.looking = 0; // which jump beyond what is loaded is the last that was asked for
    // What to look for: among what is loaded, in the history, and what the server chooses by there.
    this.sorts = {
      turn: { isWanted: (entry) => entry.isStart, isIn: () => true, asked: () => ({ kind: "turn_start" }) },
      match: { isWanted: (entry) => search.isMatch(entry), isIn: (item) => search.isFoundIn(item), asked: () => search.find.asked },
      error: { isWanted: isFailure, isIn: ({ event }) => !event || (classify(event).bits & ERROR && search.shows(event)), asked: () => ({}) },
    };
    addEventListener("hashchange", () => this.goTo(location.hash.slice(1)));
  }

  // What is looked for is not wanted any more.
  stop() {
    this.looking += 1;
  }

  // The nearest entry of that sort in that direction, from the chosen one or the screen's top.
  jump(by, word) {
    this.stop();
    const { chosen, log } = this;
    const { isWanted } = this.sorts[word];
    const { shown } = this.view;
    let at = this.view.index(chosen.place()) + (chosen.entry || by < 0 ? by : 0);
    while (at >= 0 && at < shown.length && !isWanted(shown[at])) at += by;
    if (shown[at]) this.reveal(shown[at]);
    else if (by > 0 && !chosen.entry && word === "match") this.jump(-1, word);
    else if (log.first && !(by < 0 ? log.isWhole : log.isLive)) this.jumpBeyond(by, word);
    else this.say(`no ${by < 0 ? "earlier" : "further"} ${word}`);
  }

  // The server knows where turns begin and what holds a text; for errors all of it is looked at. What
  // is asked for next ends that, as Escape does.
  async jumpBeyond(by, word) {
    const turn = this.looking;
    const goesOn = () => turn === this.looking;
    const { isIn, asked } = this.sorts[word];
    this.say(`no ${word} in what is loaded: looking at the rest`);
    try {
      const place = await this.loader.look(by, asked(), isIn, goesOn);
      if (!goesOn()) return;
      if (place) await this.load(place);
      else this.say(`no ${by < 0 ? "earlier" : "further"} ${word}`);
    } catch (error) {
      this.say(`could not look for it: ${error.message}`);
    }
  }

  // Loads what is round a place that is not loaded, and shows it.
  load(place) {
    return this.loadElsewhere(() => this.loader.around(place.epoch, place.seq), () => {
      const entry = this.log.near(place);
      if (!entry) return;
      if (entry.position !== place.position) this.say("that event is not kept any more: this is what is nearest");
      this.reveal(this.shown(entry));
    });
  }

  // What of an entry is to be seen: an answer that failed stands under its call, and with a filter it
  // may be what comes next.
  shown(entry) {
    const { shown } = this.view;
    const seen = entry.bits & ERROR && entry.partner?.n < entry.n ? entry.partner : entry;
    return shown[this.view.index(seen.n)] ?? shown.at(-1) ?? seen;
  }

  reveal(entry) {
    this.target = "";
    this.chosen.reveal(entry);
  }

  // A permalink wins over following; what it leads to is fetched if it is not loaded.
  async goTo(position) {
    const here = this.log.find(position);
    const [epoch, text] = position.split("-");
    const seq = Number(text);
    const { last } = this.log;
    if (!here && this.target && last?.epoch === epoch && last.seq < seq) return; // still to come
    this.target = "";
    if (here) this.reveal(here);
    else if (/^[0-9a-f]{16}-\d+$/.test(position)) await this.load({ epoch, seq, position });
  }

  // Events came in: what a link leads to may be among them.
  added() {
    if (this.target && this.log.last) this.goTo(this.target);
  }

  // All that was loaded goes, and may come again with numbers of its own.
  restart() {
    this.target = this.chosen.entry?.position ?? this.target;
  }

  async toStart() {
    this.stop();
    if (!this.log.first) return;
    if (this.log.isWhole) this.showStart();
    else await this.loadElsewhere(() => this.loader.oldest(), () => this.showStart());
  }

  showStart() {
    const [first] = this.view.shown;
    this.tail.pause();
    this.view.show(first?.n ?? 0);
    scrollTo({ top: 0, behavior: "instant" });
    if (!first) return;
    this.target = "";
    this.chosen.choose(first);
  }

  toEnd() {
    this.target = "";
    this.chosen.release();
    this.follow();
  }

  // To the end, but with the row that is chosen.
  follow() {
    this.stop();
    this.target = "";
    this.showEnd();
  }
}
