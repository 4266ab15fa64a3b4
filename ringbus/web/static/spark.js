// How many events came of late, as bars: one for each stretch of two seconds of the last minute.
// The counts come from the server; what passes since then moves them to the left.

const STRETCH_MS = 2000;
const STRETCHES = 30;
const HEIGHT = 20;
const BAR = 3;
const STEP = 4;
const LEAST_TOP = 400; // so many fill the height: a trickle must not look like a storm
const SVG = "http://www.w3.org/2000/svg";

export class Spark {
  constructor() {
    this.element = document.createElementNS(SVG, "svg");
    this.element.setAttribute("viewBox", `0 0 ${STRETCHES * STEP - 1} ${HEIGHT}`);
    // Where there is less room the oldest are cut off.
    this.element.setAttribute("preserveAspectRatio", "xMaxYMax slice");
    this.element.setAttribute("class", "spark");
    this.element.setAttribute("aria-hidden", "true");
    this.path = this.element.appendChild(document.createElementNS(SVG, "path"));
    this.drawn = "";
  }

  draw(counts) {
    // The root: what is rare shows beside what is frequent.
    const top = Math.sqrt(Math.max(LEAST_TOP, ...counts));
    const bars = counts.map((count, at) => {
      if (count === 0) return "";
      const height = Math.max(2, Math.round((HEIGHT * Math.sqrt(count)) / top));
      return `M${at * STEP} ${HEIGHT}v-${height}h${BAR}v${height}z`;
    }).join("");
    if (bars === this.drawn) return;
    this.drawn = bars;
    this.path.setAttribute("d", bars);
  }
}

// The counts of the last minute before `now`, oldest first.
export function latest({ rate, rate_to: to }, now) {
  const newest = Math.floor(now / STRETCH_MS);
  return Array.from({ length: STRETCHES }, (_, at) => rate[rate.length - 1 - (to - (newest - STRETCHES + 1 + at))] ?? 0);
}

// Events a second, of the newest whole stretch.
export function pace(counts) {
  const each = counts[STRETCHES - 2] / (STRETCH_MS / 1000);
  return each === 0 ? "" : `${each < 10 && each % 1 ? each.toFixed(1) : Math.round(each).toLocaleString("en")} events/s`;
}
