// The state of the page in its address: the row that is looked at, the search and the filters. Kept
// up to date without adding to the browser's history, read once when the page opens.

import { CLASSES } from "./classes.js";

const names = Object.keys(CLASSES);

export function readAddress() {
  const given = new URLSearchParams(location.search);
  return {
    query: given.get("q") ?? "",
    only: given.get("only") === "1",
    shown: (given.get("show") ?? "").split(",").filter((name) => names.includes(name)),
    position: /^#[0-9a-f]{16}-\d+$/.test(location.hash) ? location.hash.slice(1) : "",
  };
}

export function writeAddress({ query, only, shown, position }) {
  const url = new URL(location.href);
  const set = (name, value) => (value ? url.searchParams.set(name, value) : url.searchParams.delete(name));
  set("q", query);
  set("only", query && only ? "1" : "");
  set("show", names.filter((name) => shown.includes(name)).join(","));
  url.hash = position;
  if (url.href !== location.href) history.replaceState(null, "", url);
}
