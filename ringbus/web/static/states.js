// What an agent's state is called, and the one figure that belongs to it: how long the turn runs,
// until when it may not go on, how long it has been silent, when it ended.

import { ago, roughDuration, soon, wholeDuration } from "./format.js";

const WORDS = {
  idle: "Idle", working: "Working", waiting: "Waiting", limited: "Limited", stale: "Stale", failed: "Failed", done: "Done",
};

// In the order in which somebody has to look.
export const STATES = ["failed", "waiting", "limited", "stale", "working", "done", "idle"];
export const RUNNING = new Set(["working", "waiting", "limited", "stale"]);

export const stateWord = (state) => WORDS[state] ?? state;

// Times are ms: since the turn began or ended, until when it is limited, of its last event.
export function stateFigure(state, { since, until, last }, now) {
  if (state === "limited") return until === null ? "" : soon(until - now, until);
  if (state === "stale") return last === null ? "" : `silent ${roughDuration(now - last)}`;
  if (state === "waiting") return last === null ? "" : wholeDuration(now - last);
  if (since === null) return "";
  return state === "working" ? wholeDuration(now - since) : ago(now - since);
}
