// Reads a stream with a client from npm until the end is told: node client.mjs WHICH URL.
// Prints [name, id, data] for each event that the client gives.

import { EventSource } from "eventsource";
import { createParser } from "eventsource-parser";

const TYPES = ["message", "gap", "reset", "busy", "cursor"];
const [which, url] = process.argv.slice(2);
const print = (name, id, data) => console.log(JSON.stringify([name, id, data]));
const isEnd = (data) => data.includes('"the end"');

function useEventSource() {
  const source = new EventSource(url);
  const alive = setInterval(() => {}, 60_000); // its own timer for a reconnect lets node end
  for (const type of TYPES) source.addEventListener(type, (event) => {
    print(type, event.lastEventId, event.data);
    if (!isEnd(event.data)) return;
    source.close();
    clearInterval(alive);
  });
}

// The parser alone: connecting again is up to its user.
async function useParser() {
  let last;
  let isOver = false;
  const onEvent = ({ event = "message", id, data }) => {
    print(event, id, data);
    last = id;
    isOver = isEnd(data);
  };
  while (!isOver) {
    const parser = createParser({ onEvent });
    try {
      const response = await fetch(url, { headers: last ? { "Last-Event-ID": last } : {} });
      const decoder = new TextDecoder();
      for await (const piece of response.body) parser.feed(decoder.decode(piece, { stream: true }));
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // what fetch calls a lost connection
    }
  }
}

await { eventsource: useEventSource, "eventsource-parser": useParser }[which]();
