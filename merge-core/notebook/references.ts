// `$name` in a cell: the result of another cell. Pure.
import { isScalar, LineCounter, parseDocument, visit } from "yaml";
import type { Diagnostic, SourceRange } from "../diagnostics.ts";

export interface Reference {
  readonly name: string;
  readonly range: SourceRange;
}

interface Mention extends Reference {
  /** What follows the name, such as `/model.safetensors` or `+adapter`. */
  readonly rest: string;
}

const REFERENCE = /^\$([A-Za-z0-9][\w.-]*)(.*)$/s;

/** Values of the text that begin with `$` and a name. What is no YAML has none. */
export function referencesIn(text: string): readonly Reference[] {
  return mentionsIn(text);
}

function mentionsIn(text: string): readonly Mention[] {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const found: Mention[] = [];
  visit(document, {
    Scalar(key, node) {
      const match = key === "key" || !isScalar(node) || typeof node.value !== "string" ? null : REFERENCE.exec(node.value);
      const [from, to] = node.range ?? [];
      if (match === null || from === undefined || to === undefined) return;
      const [start, end] = [lines.linePos(from), lines.linePos(to)];
      const range = { line: start.line - 1, column: start.col - 1, endLine: end.line - 1, endColumn: end.col - 1, offset: from, end: to };
      found.push({ name: match[1] ?? "", rest: match[2] ?? "", range });
    },
  });
  return found;
}

/**
 * Puts paths in the places of references; everything else stays as it is written.
 * @param pathOf where a cell's result is, or what is wrong with the name
 */
export function resolveReferences(
  text: string,
  pathOf: (name: string) => string | Omit<Diagnostic, "range">,
): { readonly text: string; readonly diagnostics: readonly Diagnostic[] } {
  const diagnostics: Diagnostic[] = [];
  let resolved = text;
  // From the end, so that places before stay right.
  for (const { name, rest, range } of mentionsIn(text).toReversed()) {
    const path = pathOf(name);
    if (typeof path === "string") resolved = `${resolved.slice(0, range.offset)}${JSON.stringify(path + rest)}${resolved.slice(range.end)}`;
    else diagnostics.unshift({ ...path, range });
  }
  return { text: resolved, diagnostics };
}
