// What an agent emitted since this browser last looked at its page, which keeps the place.

import { seenPlace } from "./seen.js";

const MOST = 100;

// The newest events of an agent that are kept, as far as the server tells them: each once.
export class Kept {
  constructor() {
    this.epoch = "";
    this.seqs = [];
  }

  take({ position, kept }, isWhole) {
    if (position === null) return;
    const [epoch] = position.split("-");
    if (isWhole || epoch !== this.epoch) this.seqs = [];
    this.epoch = epoch;
    this.seqs = [...this.seqs, ...kept].slice(-MOST);
  }

  // In words: how many, "new" where this browser never looked, nothing where all was seen.
  words(agent) {
    if (!this.seqs.length) return "";
    const place = seenPlace(agent);
    if (!place) return "new";
    const [epoch, seq] = place.split("-");
    const isHere = epoch === this.epoch;
    const unseen = isHere ? this.seqs.filter((one) => one > Number(seq)).length : this.seqs.length;
    if (unseen >= MOST) return `${MOST - 1}+ new`;
    return unseen ? `${unseen}${isHere ? "" : "+"} new` : "";
  }
}
