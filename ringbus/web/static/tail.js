// Following the end of the page. Rows that arrive keep it at the bottom; scrolling up pauses that
// and a pill counts what is new; the pill, or scrolling down to the bottom, goes back to following. A
// pause that was asked for lasts until it is ended as plainly. Neither rows that change above what is
// read move it, nor another size of the window.

const NEAR = 48;
const ROOM = 16; // pixels between the head of the page and what is scrolled to

export class Tail {
  // `head` covers the top of the screen; `isLast()` says whether the end of the page is that of the
  // events; `changed()` hears of each change.
  constructor(content, { head, pill, isLast, changed }) {
    this.content = content;
    this.head = head;
    this.pill = pill;
    this.isLast = isLast;
    this.changed = changed;
    this.following = true;
    this.isHeld = false;
    this.isReaching = false; // the reader's last move was down to the bottom
    this.fresh = 0;
    this.lastY = 0;
    this.read = null; // the row that is read, and where it stands
    this.size = [innerWidth, innerHeight];
    for (const name of ["scroll", "resize"]) addEventListener(name, () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.settle()).observe(document.body);
    new ResizeObserver(() => this.makeRoom()).observe(head);
  }

  // Only the reader scrolls up: what else moves the screen says so in `lastY`.
  scrolled() {
    if (innerWidth !== this.size[0] || innerHeight !== this.size[1]) this.resized();
    else this.moved();
    this.remember();
  }

  moved() {
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

  // The browser may have scrolled already, to what is at the same pixels now.
  resized() {
    const isTurned = innerWidth !== this.size[0];
    this.size = [innerWidth, innerHeight];
    if (this.following) this.settle();
    else if (isTurned && this.read?.row.isConnected) {
      const { row, top, part } = this.read;
      const { top: now, height } = row.getBoundingClientRect();
      scrollBy({ top: now - this.edge() - (part === null ? top : -part * height), behavior: "instant" });
    }
    this.lastY = scrollY;
  }

  // Of a row that begins above the screen counts how much of it is there.
  remember() {
    const row = this.following ? null : this.anchor();
    this.read = null;
    if (row === null) return;
    const { top, height } = row.getBoundingClientRect();
    const under = top - this.edge();
    this.read = { row, top: under, part: under < 0 ? -under / height : null };
  }

  // No row is scrolled to under the head, which is as high as its words and buttons need.
  makeRoom() {
    document.documentElement.style.setProperty("--head", `${this.head.offsetHeight + ROOM}px`);
  }

  // Where the screen begins for rows.
  edge() {
    return this.head.getBoundingClientRect().bottom;
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
    this.remember();
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
    const edge = this.edge();
    for (const row of this.content.querySelectorAll(".row")) {
      const { top, bottom } = row.getBoundingClientRect();
      if (top >= innerHeight) break;
      if (top >= edge) heads.push(row);
      else if (bottom > edge) covering.push(row);
    }
    return [...heads, ...covering.reverse()];
  }
}

const lowest = () => document.documentElement.scrollHeight - innerHeight;
const isLowest = () => lowest() - scrollY < NEAR;
