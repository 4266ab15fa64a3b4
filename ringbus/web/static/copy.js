// Taking what is shown elsewhere: a row as text or as JSON to the clipboard, all that is shown into
// a file of JSON lines.

import { prettyJson } from "./envelope.js";

// Elsewhere a path is worth nothing that goes from some working directory.
export const rowText = (row) => {
  const cell = row.querySelector(":scope > .cell") ?? row;
  const calls = [...cell.querySelectorAll(".summary[title]")];
  return calls.reduce((text, { innerText, title }) => text.replace(innerText, () => title), cell.innerText).trim();
};

export const rowJson = (entry) => prettyJson(entry.event());

// The clipboard's own interface is there on a secure origin alone.
export async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  if (!isDone) throw new Error("the browser refused it");
}

export function download(entries, name) {
  const lines = entries.filter((entry) => entry.raw).map((entry) => `${entry.raw}\n`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
