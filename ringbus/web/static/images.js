// Images and documents in messages and results. One that came whole, of a type that a browser
// decodes without scripting, is shown once it is unfolded. Nothing is fetched from elsewhere, and
// encoded bytes are never shown as text.

import { h, fold } from "./dom.js";
import { visible } from "./ansi.js";
import { firstLine, plural } from "./format.js";
import { link } from "./link.js";
import { output } from "./long.js";

const IMAGE_TYPES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
const BASE64 = /^[\w+/\s]+=*\s*$/;

const string = (value) => (typeof value === "string" ? value : "");

export const isMedia = (block) => block?.type === "image" || block?.type === "document" || block?.type === "audio";

export const mediaIn = (content) => (Array.isArray(content) ? content.filter(isMedia).map(drawMedia) : []);

export function drawMedia(block) {
  const { kind, type, data, url, file } = sourceOf(block);
  if (url) return h("div", "muted", `${block.type} at `, link(firstLine(url, 2000)));
  if (kind === "text") return fold("more", [named(block, file)], () => output(data));
  if (block.type === "image" && IMAGE_TYPES.has(type) && BASE64.test(data)) return image(type, data);
  return h("div", "muted", ...visible(`${named(block, file, type, data && size(data))}, not shown`));
}

// Some say it in the block itself.
function sourceOf(block) {
  const source = typeof block.source === "object" && block.source !== null ? block.source : block;
  return {
    kind: string(source.type),
    type: string(source.media_type) || string(source.mimeType),
    data: string(source.data),
    url: string(source.url),
    file: string(source.file_id),
  };
}

const named = (block, file, type = "", much = "") =>
  firstLine([block.type, string(block.title), file, type.slice(type.indexOf("/") + 1), much].filter(Boolean).join(", "));

const size = (data) => plural(Math.floor((data.replace(/[\s=]/g, "").length * 3) / 4), "byte");

function image(type, data) {
  return fold("image", [`image, ${type.slice(6)}, ${size(data)}`], () => {
    const picture = h("img", "picture");
    picture.alt = "image from the agent";
    picture.addEventListener("error", () => picture.replaceWith(h("span", "muted", "the browser cannot show it")));
    picture.src = `data:${type};base64,${data}`;
    return picture;
  });
}
