// The one connection of this browser: tabs come through ports.

import { Hub } from "./hub.js";

const hub = new Hub(new URL("../follow", import.meta.url));
addEventListener("connect", ({ ports }) => hub.meet(ports[0]));
