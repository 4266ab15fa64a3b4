// Following the end of the page. Rows that arrive keep it at the bottom; scrolling up pauses that
// and a pill counts what is new; the pill, or reaching the bottom again, goes back to following. A
// pause that was asked for lasts until it is ended as plainly. Rows that change above what is read
// do not move it.

const NEAR = 48;

export class Tail {
  // `isLast()` says whether the last event there is, is drawn; `changed()` hears of each change.
  constructor(content, pill, { isLast, changed }) {
    this.content = content;
    this.pill = pill;
    this.isLast = isLast;
    this.changed = changed;
    this.following = true;
    this.isHeld = false;
    this.fresh = 0;
    this.lastY = 0;
    addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.settle()).observe(content);
  }

  scrolled() {
    const up = scrollY < this.lastY - 1;
    this.lastY = scrollY;
    if (this.isHeld) return;
    if (this.isAtEnd()) this.resume();
    else if (up) this.pause();
  }

  isAtEnd() {
    return this.isLast() && document.documentElement.scrollHeight - innerHeight - scrollY < NEAR;
  }

  pause(isHeld = false) {
    if (!this.following && this.isHeld === isHeld) return;
    this.following = false;
    this.isHeld = isHeld;
    this.changed();
  }

  resume() {
    if (this.following) return;
    this.following = true;
    this.isHeld = false;
    this.fresh = 0;
    this.pill.hidden = true;
    this.changed();
  }

  // Call after rows were added.
  added(number) {
    if (this.following) {
      this.settle();
      return;
    }
    this.fresh += number;
    this.pill.textContent = `${this.fresh.toLocaleString("en")} new`;
    this.pill.hidden = this.fresh === 0;
  }

  settle() {
    if (!this.following) return;
    scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
    this.lastY = scrollY;
  }

  // Runs `change`, which draws or removes rows, and keeps what is in sight where it is: the first row
  // of it that is still there afterwards.
  hold(change) {
    const before = this.inSight().map((row) => [row, row.getBoundingClientRect().top]);
    change();
    const [row, top] = before.find(([one]) => one.isConnected) ?? [];
    if (row) scrollBy({ top: row.getBoundingClientRect().top - top, behavior: "instant" });
    this.lastY = scrollY;
  }

  // The topmost row whose head is in sight, else the one that covers the screen.
  anchor() {
    return this.inSight()[0] ?? null;
  }

  // The rows whose heads are in sight, from above, then those that begin above the screen.
  inSight() {
    const [heads, covering] = [[], []];
    for (const row of this.content.querySelectorAll(".row")) {
      const { top, bottom } = row.getBoundingClientRect();
      if (top >= innerHeight) break;
      if (top >= 0) heads.push(row);
      else if (bottom > 0) covering.push(row);
    }
    return [...heads, ...covering.reverse()];
  }
}
