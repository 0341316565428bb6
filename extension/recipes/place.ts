// Where the cursor is in a recipe, read from indentation alone: while one types, the YAML is rarely whole.

export interface Place {
  /** Keys from the top to what holds the cursor; `[]` stands for an item of a list. */
  readonly path: readonly string[];
  /** Whether a key or the value of `key` is being written here. */
  readonly kind: "key" | "value";
  /** The key on this line, for a value. */
  readonly key: string;
  /** The word at the cursor up to the cursor, and where it starts in the text. */
  readonly prefix: string;
  readonly start: number;
}

interface Line {
  /** Columns of the `-` marks before the key. */
  readonly dashes: readonly number[];
  readonly column: number;
  readonly key: string | undefined;
}

/** The place at `offset`, or undefined inside a comment. */
export function placeAt(text: string, offset: number): Place | undefined {
  const lineStart = text.lastIndexOf("\n", offset - 1) + 1;
  const before = text.slice(lineStart, offset);
  if (/(^|\s)#/.test(before)) return undefined;
  const above = text.slice(0, lineStart).split("\n").slice(0, -1);
  return placeInFlow(before, lineStart, above) ?? placeInBlock(before, lineStart, above);
}

/** Inside braces that open on this line: `parameters: {weight: 0.5, den`. */
function placeInFlow(before: string, lineStart: number, above: readonly string[]): Place | undefined {
  const match = /^([^{}]*?[\w-]+):\s*\{([^{}]*)$/.exec(before);
  if (match === null) return undefined;
  const outer = placeInBlock(`${match[1]}:`, lineStart, above);
  const inner = (match[2] ?? "").split(",").at(-1)?.trimStart() ?? "";
  return outer === undefined ? undefined : wordPlace(inner, [...outer.path, outer.key], lineStart + before.length);
}

function placeInBlock(before: string, lineStart: number, above: readonly string[]): Place | undefined {
  const indent = /^\s*(?:- +)*/.exec(before)?.[0] ?? "";
  return wordPlace(before.slice(indent.length), pathTo(readLine(before), above), lineStart + before.length);
}

/** Splits `key: value` or a part of it, which ends at the cursor. */
function wordPlace(words: string, path: readonly string[], cursor: number): Place {
  const value = /^["']?([\w.-]+)["']?\s*:(?:\s+(.*))?$/.exec(words);
  const prefix = (value === null ? words : (value[2] ?? "")).replace(/^["']/, "");
  return { path, kind: value === null ? "key" : "value", key: value?.[1] ?? "", prefix, start: cursor - prefix.length };
}

function readLine(text: string): Line {
  const indent = /^\s*(?:- +)*/.exec(text)?.[0] ?? "";
  const dashes = [...indent].flatMap((c, i) => (c === "-" ? [i] : []));
  return { dashes, column: indent.length, key: /^["']?([\w.-]+)["']?\s*:/.exec(text.slice(indent.length))?.[1] };
}

/** Climbs from a line to the keys and items that hold it. */
function pathTo(line: Line, above: readonly string[]): string[] {
  const path: string[] = [];
  let column = line.column;
  let atDash = false;
  const leaveItems = (dashes: readonly number[]) => {
    path.unshift(...dashes.map(() => "[]"));
    atDash = dashes.length > 0;
    if (atDash) column = dashes[0] ?? column;
  };
  leaveItems(line.dashes);
  for (const text of above.toReversed()) {
    if (/^\s*(#|$)/.test(text)) continue;
    const upper = readLine(text);
    const isParent = upper.key !== undefined && (upper.column < column || (atDash && upper.column === column && upper.dashes.length === 0));
    if (isParent) {
      path.unshift(upper.key ?? "");
      column = upper.column;
      leaveItems(upper.dashes);
    } else if (!atDash && upper.column === column && upper.dashes.length > 0) leaveItems(upper.dashes);
    if (column === 0 && !atDash) break;
  }
  return path;
}
