// Building elements. Text reaches the page through text nodes alone, so nothing an agent prints
// is ever parsed as HTML; there is no innerHTML anywhere in these modules.

export function h(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  append(element, children);
  return element;
}

export function append(parent, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false || child === "") continue;
    parent.append(child);
  }
}

// A fold whose inside is built when it is first opened: most long outputs are never looked at.
export function fold(className, summary, build) {
  const details = h("details", `fold ${className}`, h("summary", "", ...summary));
  details.addEventListener(
    "toggle",
    () => append(details, [build()].flat()),
    { once: true },
  );
  return details;
}
