// The row that a reader chose: outlined, with its buttons, kept in sight as it is gone from row to row.

const HIGH = 0.8; // of the screen: there is room to be left under the row
const element = (id) => document.getElementById(id);

export class Chosen {
  // `changed()` hears of another row, or none.
  constructor({ log, view, tail, search, changed }) {
    Object.assign(this, { log, view, tail, search, changed });
    this.entry = null;
    this.row = null; // while it is drawn
    this.acts = element("acts"); // goes along with its row, out of the document, too
    view.root.addEventListener("click", (event) => this.clicked(event));
  }

  drawn() {
    if (this.entry) this.outline();
  }

  // All that was loaded gave way to other events, with numbers of their own.
  renew() {
    this.entry = this.entry && this.log.find(this.entry.position);
  }

  outline() {
    const row = this.entry && (document.getElementById(this.entry.position)?.closest(".row") ?? null);
    if (row === this.row && row?.classList.contains("is-current")) return;
    this.row?.classList.remove("is-current");
    this.row?.removeAttribute("tabindex");
    this.row = row;
    this.acts.hidden = row === null;
    if (!row) {
      document.body.append(this.acts);
      return;
    }
    row.classList.add("is-current");
    row.tabIndex = -1;
    row.append(this.acts);
  }

  choose(entry, isFocused = true) {
    this.entry = entry;
    this.outline();
    if (isFocused) this.row?.focus({ preventScroll: true });
    this.changed();
  }

  release() {
    this.entry = null;
    this.outline();
    this.changed();
  }

  clicked({ target }) {
    if (target.closest("button, a:not(.gutter), summary") || !getSelection().isCollapsed) return;
    const row = target.closest(".row[id]");
    const entry = row && this.log.at(row.n);
    if (entry) this.choose(entry, false);
  }

  // Chooses the next or previous row in the document.
  step(by) {
    const rows = [...this.view.root.querySelectorAll(".row[id]")];
    const now = rows.indexOf(this.row);
    const at = now < 0 ? rows.findIndex((row) => row.getBoundingClientRect().bottom > innerHeight / 3) : now + by;
    const row = rows[at];
    if (!row) return;
    this.tail.pause(true);
    this.choose(this.log.at(row.n));
    this.bring(row, "nearest");
  }

  // What is higher than the screen is shown from its start.
  bring(place, block) {
    const isHigh = place.offsetHeight > (innerHeight - this.tail.edge()) * HIGH;
    place.scrollIntoView({ block: isHigh ? "start" : block });
  }

  // Brings an entry into sight and chooses it.
  reveal(entry) {
    this.tail.pause(true);
    if (entry.n < this.view.low || entry.n >= this.view.high) this.view.show(entry.n);
    this.choose(entry);
    const place = document.getElementById(entry.position) ?? this.row;
    if (!place) return;
    const match = this.search.reveal(entry, place);
    this.bring(place, entry.isStart ? "start" : "center");
    if (match) this.bringMatch(match);
  }

  // What is found in a high row, and there in output that scrolls by itself.
  bringMatch(match) {
    const top = () => match.getBoundingClientRect().top;
    for (let box = match.startContainer.parentElement; box !== this.row?.parentElement && box; box = box.parentElement) {
      if (box.scrollHeight > box.clientHeight) box.scrollTop += top() - box.getBoundingClientRect().top - box.clientHeight / 2;
    }
    const isSeen = top() > this.tail.edge() && top() < innerHeight * HIGH;
    if (!isSeen) scrollBy({ top: top() - innerHeight / 2, behavior: "instant" });
  }

  // The number of the entry that is looked at: the chosen one, else that at the top of the screen.
  place() {
    if (this.entry) return this.entry.n;
    const row = this.tail.following ? null : this.tail.anchor();
    return row?.n ?? this.view.high;
  }
}
