// Changes values in a JSON text and leaves every other character as it was: parsing and printing again would turn
// 10000.0 into 10000, which some readers of config.json refuse where they want a float.

interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * Sets the value at `path` to anything that JSON can hold, adding keys (and objects) that are missing at the end of their object.
 * `text` must be valid JSON with an object at its root and objects along the path.
 */
export function setJsonValue(text: string, path: readonly string[], value: unknown): string {
  const objectStart = skipSpace(text, 0);
  return setInObject(text, objectStart, path, value, 1);
}

function setInObject(text: string, start: number, path: readonly string[], value: unknown, depth: number): string {
  const [key = "", ...rest] = path;
  const { members, end } = readObject(text, start);
  const span = members.get(key);
  if (span !== undefined && rest.length > 0) return setInObject(text, span.start, rest, value, depth + 1);
  const replacement = JSON.stringify(rest.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value));
  if (span !== undefined) return text.slice(0, span.start) + replacement + text.slice(span.end);
  return addMember(text, { start, end }, `${JSON.stringify(key)}: ${replacement}`, [...members.values()].at(-1), depth);
}

/** Adds a member on a line of its own behind the last one, indented as deep as objects usually are. */
function addMember(text: string, object: Span, member: string, last: Span | undefined, depth: number): string {
  const indent = "  ".repeat(depth);
  if (last === undefined) return `${text.slice(0, object.start)}{\n${indent}${member}\n${indent.slice(2)}}${text.slice(object.end)}`;
  return `${text.slice(0, last.end)},\n${indent}${member}${text.slice(last.end)}`;
}

/** Where each member's value lies in the object that opens at `start`, and where the object ends. */
function readObject(text: string, start: number): { members: Map<string, Span>; end: number } {
  if (text[start] !== "{") throw new TypeError(`no object at offset ${start}`);
  const members = new Map<string, Span>();
  let i = skipSpace(text, start + 1);
  while (text[i] === '"') {
    const keyEnd = valueEnd(text, i);
    const key = String(JSON.parse(text.slice(i, keyEnd)));
    const from = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const to = valueEnd(text, from);
    members.set(key, { start: from, end: to });
    i = skipSpace(text, to);
    if (text[i] === ",") i = skipSpace(text, i + 1);
  }
  return { members, end: i + 1 };
}

function skipSpace(text: string, from: number): number {
  let i = from;
  while (/\s/.test(text[i] ?? "")) i++;
  return i;
}

/** Index after the value that starts at `start`: brackets are balanced, strings stepped over. */
function valueEnd(text: string, start: number): number {
  let depth = 0;
  for (let i = start; i < text.length; i++) {
    const c = text[i] ?? "";
    if (c === '"') {
      for (i++; text[i] !== '"'; i++) if (text[i] === "\\") i++;
    } else if (c === "{" || c === "[") depth++;
    else if (c === "}" || c === "]") depth--;
    if (depth < 0) return i;
    const next = text[i + 1] ?? "";
    if (depth === 0 && (next === "" || /[\s,}\]:]/.test(next))) return i + 1;
  }
  return text.length;
}
