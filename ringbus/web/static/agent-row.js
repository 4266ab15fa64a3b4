// One agent's row on the page of all agents: built once, then told its state and drawn for a moment.

import { visible } from "./ansi.js";
import { h } from "./dom.js";
import { ago, count, dollars, plural, wholeDuration } from "./format.js";
import { Spark, latest, pace } from "./spark.js";
import { RUNNING, stateFigure, stateWord } from "./states.js";
import { Kept } from "./unread.js";

const STALLED_MS = 2000;
const PARTS = ["word", "figure", "doing", "trouble", "asked", "rate", "spend", "last", "unread"];

const ms = (ns) => (ns === null ? null : ns / 1e6);

export class AgentRow {
  constructor(name, address) {
    this.name = name;
    this.state = null;
    this.isGone = false;
    this.kept = new Kept();
    this.spark = new Spark();
    this.cells = Object.fromEntries(PARTS.map((part) => [part, h("span", part)]));
    const { word, figure, doing, trouble, asked, rate, spend, last, unread } = this.cells;
    this.link = h("a", "agent-link", h("span", "dot"), h("span", "agent-name", ...visible(name)),
      h("span", "state", word, " ", figure), doing, h("span", "about", trouble, asked),
      h("span", "sparkline", this.spark.element), rate, spend, last, unread);
    this.link.href = address;
    this.element = h("li", "agent", this.link);
    this.element.dataset.agent = name;
  }

  tell(state, isWhole) {
    this.state = state;
    this.isGone = false;
    this.kept.take(state, isWhole);
  }

  // What rows are sorted by: whose turn runs, by when it began; then by when it ended.
  get order() {
    const { state, since_ns: since, last_ns: last } = this.state;
    return [RUNNING.has(state) ? 0 : state === "idle" ? 2 : 1, -(since ?? last ?? 0)];
  }

  draw(now) {
    const { state, cells } = this;
    const times = { since: ms(state.since_ns), until: ms(state.until_ns), last: ms(state.last_ns) };
    this.element.dataset.state = this.isGone ? "gone" : state.state;
    set(cells.word, this.isGone ? "Removed" : stateWord(state.state));
    set(cells.figure, this.isGone ? "" : stateFigure(state.state, times, now));
    set(cells.doing, doingWords(state));
    set(cells.trouble, troubleWords(state, now));
    cells.trouble.classList.toggle("is-failure", state.gaps > 0);
    set(cells.asked, state.asked);
    set(cells.spend, spendWords(state));
    set(cells.last, times.last === null ? "no event yet" : `last event ${ago(now - times.last)}`);
    set(cells.unread, this.kept.words(this.name));
    const counts = latest(state, now);
    this.spark.draw(counts);
    set(cells.rate, pace(counts));
  }
}

function doingWords({ state, doing, emitters, took_ns: took }) {
  if (state === "idle") return "no turn yet";
  if (state === "stale" && emitters === 0) return `no emitter is left; last: ${doing}`;
  if (state === "done") return took === null ? "" : `took ${wholeDuration(took / 1e6)}`;
  return doing;
}

function troubleWords({ gaps, missed, lag, stalled_ns: stalled }, now) {
  const words = [];
  if (gaps > 0) words.push(`${plural(gaps, "gap")}, ${missed === null ? "nobody knows how many" : plural(missed, "event")} missed`);
  if (lag === null) words.push("not stored: no persister");
  else if (lag > 0 && stalled !== null && now - stalled / 1e6 > STALLED_MS) {
    words.push(`${plural(lag, "event")} not stored for ${wholeDuration(now - stalled / 1e6)}`);
  }
  return words.join("; ");
}

function spendWords({ cost_usd: cost, tokens_in: into, tokens_out: out }) {
  return [cost !== null && dollars(cost), into && `${count(into)} in`, out && `${count(out)} out`].filter(Boolean).join(" · ");
}

function set(cell, text) {
  if (cell.dataset.text === text) return;
  cell.dataset.text = text;
  cell.replaceChildren(...visible(text));
}
