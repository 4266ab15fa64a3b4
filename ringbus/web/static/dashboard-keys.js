// Keys of the page of all agents: up and down the rows, and out of them.

const MOVES = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };

export function listenForKeys(list) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") document.activeElement?.blur();
    if (!Object.hasOwn(MOVES, event.key)) return;
    const links = [...list.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    const next = at < 0 ? (MOVES[event.key] > 0 ? 0 : links.length - 1) : at + MOVES[event.key];
    links[next]?.focus();
    event.preventDefault();
  });
}
