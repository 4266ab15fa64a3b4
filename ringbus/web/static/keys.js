// The keyboard: one key, one action. Keys typed into a field are text, but for Escape.

const NAMES = {
  "?": "help", j: "nextRow", k: "previousRow", g: "start", G: "end", "/": "search", n: "nextMatch", N: "previousMatch",
  " ": "pause", Escape: "escape", "]": "nextTurn", "[": "previousTurn", e: "nextError", E: "previousError",
  f: "only", c: "copyText", C: "copyJson", d: "download",
};

export function listen(actions) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const name = Object.hasOwn(NAMES, event.key) ? NAMES[event.key] : null;
    if (name === null || !isOurs(event)) return;
    event.preventDefault();
    actions[name]();
  });
}

// A space presses the button that has the focus, and a dialog keeps the keys to itself.
function isOurs({ key, target }) {
  if (document.querySelector("dialog[open]")) return false;
  if (target.matches?.("input, textarea, select")) return key === "Escape";
  return key !== " " || !target.closest?.("button, a, summary");
}
