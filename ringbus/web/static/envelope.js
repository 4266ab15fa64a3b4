// One event as it comes over the wire. Besides its parsed form an envelope keeps its own text:
// what is unfolded as JSON is laid out from that, so a number of 40 digits stays one.

export function parseEnvelope(text) {
  const value = JSON.parse(text);
  return { ...value, ms: value.ts_ns / 1e6, position: `${value.epoch}-${value.seq}`, raw: text };
}

// A history page is one envelope a line between its first and last line. `items` are its events and
// gaps, as {event} or {gap}, in their order.
export function parsePage(text) {
  const lines = text.split("\n");
  const events = lines.slice(1, -1).filter(Boolean).map((line) => parseEnvelope(line.replace(/,$/, "")));
  const { gaps, next_before: next, next_after: later } = JSON.parse(`{"events":[${lines.at(-1)}`);
  const before = (place) => gaps.filter((gap) => gap.before === place).map((gap) => ({ gap }));
  const items = gaps.length ? [...events.flatMap((event) => [...before(event.position), { event }]), ...before(null)] : events.map((event) => ({ event }));
  return { events, items, next, later };
}

const exact = (key, value, context) =>
  typeof value === "number" && context?.source !== undefined && JSON.rawJSON && String(value) !== context.source
    ? JSON.rawJSON(context.source)
    : value;

// Deeper than a script can go it is not laid out.
export function json(value, indent = 0) {
  try {
    return JSON.stringify(value, null, indent) ?? "";
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return "(too deep to show)";
  }
}

export function prettyJson(envelope) {
  try {
    return laidOut(envelope);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return envelope.raw;
  }
}

function laidOut(envelope) {
  const { data, kind } = JSON.parse(envelope.raw, exact);
  if (kind === "stream") return JSON.stringify(data, null, 2);
  const { ms, position, raw, epoch, seq, ts_ns, n, cwd, ...event } = envelope;
  return JSON.stringify(event, null, 2);
}
