// Following the end of the page. Rows that arrive keep it at the bottom; scrolling up pauses that
// and a pill counts what is new; the pill, or scrolling down to the bottom, goes back to following. A
// pause that was asked for lasts until it is ended as plainly. Rows that change above what is read
// do not move it.

const NEAR = 48;

export class Tail {
  // `isLast()` says whether the end of the page is that of the events; `changed()` hears of each change.
  constructor(content, pill, { isLast, changed }) {
    this.content = content;
    this.pill = pill;
    this.isLast = isLast;
    this.changed = changed;
    this.following = true;
    this.isHeld = false;
    this.isReaching = false; // the reader's last move was down to the bottom
    this.fresh = 0;
    this.lastY = 0;
    addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.settle()).observe(content);
  }

  // Only the reader scrolls up: what else moves the screen says so in `lastY`.
  scrolled() {
    const y = Math.min(scrollY, lowest()); // some browsers swing beyond the end and back
    const [up, down] = [y < this.lastY - 1, y > this.lastY + 1];
    this.lastY = y;
    if (this.isHeld) return;
    if (up) this.pause();
    this.isReaching = down ? isLowest() : this.isReaching && !up;
    this.arrive();
  }

  // At the bottom, and it is the end, or has just become that by what was loaded.
  arrive() {
    if (this.isReaching && this.isLast() && isLowest()) this.resume();
  }

  pause(isHeld = false) {
    if (!this.following && this.isHeld === isHeld) return;
    this.following = false;
    this.isHeld = isHeld;
    this.isReaching = false;
    this.changed();
  }

  resume() {
    if (this.following) return;
    this.following = true;
    this.isHeld = false;
    this.fresh = 0;
    this.pill.hidden = true;
    this.settle();
    this.changed();
  }

  // So many came in.
  added(number) {
    if (this.following) return;
    this.fresh += number;
    this.pill.textContent = `${this.fresh.toLocaleString("en")} new`;
    this.pill.hidden = this.fresh === 0;
  }

  settle() {
    if (!this.following) return;
    scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
    this.lastY = scrollY;
  }

  // Runs `change`, to which every change of what is drawn belongs. What is followed stays at its
  // end; what is read stays where it is: the first row in sight that is there afterwards, too.
  keep(change) {
    this.scrolled(); // what the reader did counts, though its event has not come yet
    const places = this.following ? [] : this.inSight().map((row) => [row, row.n, row.getBoundingClientRect().top]);
    change();
    if (this.following) this.settle();
    else this.restore(places);
  }

  restore(places) {
    const [row, , top] = places.find(([one]) => one.isConnected) ?? this.redrawn(places);
    if (row) scrollBy({ top: row.getBoundingClientRect().top - top, behavior: "instant" });
    this.lastY = scrollY;
    this.arrive();
  }

  // All rows in sight were drawn anew, and maybe not all of them: the first that is, or comes next.
  redrawn(places) {
    const [first] = places;
    const row = first && [...this.content.querySelectorAll(".row")].find(({ n }) => n >= first[1]);
    return row ? [row, row.n, first[2]] : [];
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

const lowest = () => document.documentElement.scrollHeight - innerHeight;
const isLowest = () => lowest() - scrollY < NEAR;
