// The rows of all agents, the most active on top. Nothing moves under a pointer, a finger or the
// focus of the keyboard: until they are gone, or the pointer has long been at rest, a new row waits
// at the end, a removed one stays and says so, and the order is held.

const REST_MS = 30_000;
const TOUCH_MS = 3000;
const SCROLL_MS = 1000;

export class Board {
  constructor(list, { build, changed }) {
    this.list = list;
    this.build = build;
    this.changed = changed;
    this.rows = new Map();
    this.heldUntil = 0;
    this.isHeld = false;
    const hold = (milliseconds) => () => { this.heldUntil = Math.max(this.heldUntil, Date.now() + milliseconds); };
    list.addEventListener("mousemove", hold(REST_MS), { passive: true });
    list.addEventListener("mouseleave", () => this.release());
    list.addEventListener("focusout", () => setTimeout(() => this.settle()));
    list.addEventListener("touchstart", hold(TOUCH_MS), { passive: true });
    addEventListener("scroll", hold(SCROLL_MS), { passive: true });
  }

  get states() {
    return [...this.rows.values()].filter((row) => !row.isGone).map((row) => row.state);
  }

  // All agents there are.
  replace(states) {
    const names = new Set(states.map((state) => state.agent));
    for (const name of [...this.rows.keys()]) if (!names.has(name)) this.remove(name);
    for (const state of states) this.take(state, true);
    for (const element of [...this.list.children]) if (!names.has(element.dataset.agent) && !this.rows.has(element.dataset.agent)) element.remove();
    this.settle();
  }

  // Gives the row of the agent, which may be new.
  update(state) {
    const isNew = !this.rows.has(state.agent);
    const row = this.take(state, false);
    if (isNew) this.settle();
    return row;
  }

  take(state, isWhole) {
    let row = this.rows.get(state.agent);
    if (!row) {
      row = this.build(state.agent);
      this.rows.set(state.agent, row);
      const stub = [...this.list.children].find((one) => one.dataset.agent === state.agent);
      if (stub) stub.replaceWith(row.element);
      else this.list.append(row.element);
    }
    row.tell(state, isWhole);
    return row;
  }

  remove(name) {
    const row = this.rows.get(name);
    if (row) row.isGone = true;
  }

  draw(now) {
    for (const row of this.rows.values()) row.draw(now);
  }

  release() {
    this.heldUntil = 0;
    this.settle();
  }

  // Brings the rows into their order, unless that would move them under somebody's hands.
  settle() {
    const isTouched = Date.now() < this.heldUntil || this.list.querySelector(":focus-visible") !== null;
    const gone = [...this.rows.values()].filter((row) => row.isGone);
    const wanted = [...this.rows.values()].filter((row) => !row.isGone).sort(byActivity).map((row) => row.element);
    const there = [...this.list.children].filter((element) => !gone.some((row) => row.element === element));
    const isSettled = !gone.length && wanted.every((element, at) => element === there[at]);
    if (!isSettled && !isTouched) this.arrange(wanted, gone);
    if (this.isHeld === (!isSettled && isTouched)) return;
    this.isHeld = !this.isHeld;
    this.changed();
  }

  arrange(wanted, gone) {
    for (const row of gone) {
      row.element.remove();
      this.rows.delete(row.name);
    }
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null;
    wanted.forEach((element, at) => {
      if (this.list.children[at] !== element) this.list.insertBefore(element, this.list.children[at] ?? null);
    });
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
    if (gone.length) this.changed();
  }
}

function byActivity(one, other) {
  const [rank, at] = one.order;
  const [otherRank, otherAt] = other.order;
  return rank - otherRank || at - otherAt || (one.name < other.name ? -1 : 1);
}
