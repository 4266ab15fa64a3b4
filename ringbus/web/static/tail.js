// Following the end of the page. Rows that arrive keep it at the bottom; scrolling up pauses that
// and a pill counts what is new; the pill, or reaching the bottom again, goes back to following.
// Earlier rows are put in front without moving what is being read.

const NEAR = 48;
const SETTLE_FRAMES = 4;

export class Tail {
  constructor(content, pill) {
    this.pill = pill;
    this.following = true;
    this.fresh = 0;
    this.lastY = 0;
    pill.addEventListener("click", () => this.follow());
    addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.settle()).observe(content);
  }

  scrolled() {
    const up = scrollY < this.lastY - 1;
    this.lastY = scrollY;
    if (this.isAtEnd()) this.resume();
    else if (up) this.following = false;
  }

  isAtEnd() {
    return document.documentElement.scrollHeight - innerHeight - scrollY < NEAR;
  }

  follow() {
    this.resume();
    this.settle();
  }

  pause() {
    this.following = false;
  }

  resume() {
    this.following = true;
    this.fresh = 0;
    this.pill.hidden = true;
  }

  // Call after rows were added.
  added(number) {
    if (this.following) return this.settle();
    this.fresh += number;
    this.pill.textContent = `${this.fresh.toLocaleString("en")} new`;
    this.pill.hidden = this.fresh === 0;
    return undefined;
  }

  settle() {
    if (!this.following) return;
    scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
    this.lastY = scrollY;
  }

  // Runs `change`, which adds content above `rows`, and keeps them where they are on the screen.
  // The first of them that is still there afterwards is the one held on to, for some frames: rows
  // get their true height only when they are near the screen.
  keep(rows, change) {
    const before = rows.map((row) => row.getBoundingClientRect().top);
    document.documentElement.classList.add("no-anchor");
    change();
    const at = rows.findIndex((row) => row.isConnected);
    if (at >= 0) this.hold(rows[at], before[at], SETTLE_FRAMES);
  }

  hold(row, top, frames) {
    scrollBy({ top: row.getBoundingClientRect().top - top, behavior: "instant" });
    this.lastY = scrollY;
    if (frames > 0) requestAnimationFrame(() => this.hold(row, top, frames - 1));
    else document.documentElement.classList.remove("no-anchor");
  }
}
