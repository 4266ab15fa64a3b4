// Paths as people read them: from the working directory on, where they lie below it.

const KEYS = ["file_path", "notebook_path", "path"];

// What a call is given, with such paths.
export function nearer(input, cwd) {
  const base = cwd.replace(/[\\/]+$/, "");
  if (!base) return input;
  const found = KEYS.filter((key) => isWithin(input[key], base));
  return { ...input, ...Object.fromEntries(found.map((key) => [key, rest(input[key], base)])) };
}

const isWithin = (path, base) =>
  typeof path === "string" && path.startsWith(base) && ["", "/", "\\"].includes(path.charAt(base.length));

const rest = (path, base) => path.slice(base.length).replace(/^[\\/]+/, "") || ".";
