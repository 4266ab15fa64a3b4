// What lines tell of money, added up by the same rules as for the page of all agents: who tells it for
// a session tells the sum each time, who tells it for a step tells that alone.

// {usd, session}, null for a line that tells none; the session is null where a step was paid.
export function spentBy(line) {
  if (typeof line !== "object" || line === null) return null;
  const { type } = line;
  if (type === "result") return paid(line.total_cost_usd, String(line.session_id ?? "session"));
  if (type === "step_finish") return paid(line.part?.cost, null);
  return type === "message_end" ? paid(line.message?.usage?.cost?.total, null) : null;
}

const paid = (usd, session) => (Number.isFinite(usd) ? { usd, session } : null);

// All of it in dollars, null if nothing was told.
export function sum(payments) {
  if (!payments.length) return null;
  const sessions = new Map();
  let steps = 0;
  for (const { usd, session } of payments) {
    if (session === null) steps += usd;
    else sessions.set(session, Math.max(usd, sessions.get(session) ?? 0));
  }
  return [...sessions.values()].reduce((total, usd) => total + usd, steps);
}
