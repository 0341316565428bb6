// YAML text -> syntax tree with places, within limits. Recipes follow YAML 1.1, in which `yes` and `on` are true too.
import { isAlias, isNode, Lexer, type Node, parseDocument, visit } from "yaml";
import type { Diagnostic, SourceRange } from "../diagnostics.ts";

/** A recipe is a page of text; anything beyond this is some other file. */
export const MAX_RECIPE_CHARACTERS = 1 << 20;

/** Recipes need eight or so. */
const MAX_DEPTH = 100;

/** The parser quotes what it cannot read, however long that is. */
const MAX_MESSAGE = 120;

/** One parsed document: its root, and where things are. */
export interface YamlSource {
  readonly root: Node | null;
  readonly text: string;
  /** The place of a piece of the text, by offsets. */
  placeOf(offset: number, end: number): SourceRange;
  rangeOf(node: Node): SourceRange;
  /** The node itself, or what an alias stands for (undefined for an alias of nothing). */
  follow(node: unknown): Node | undefined;
}

/** Parses one document. Never throws; without a source there is at least one diagnostic. */
export function parseYaml(text: string, file: string): { source?: YamlSource; diagnostics: Diagnostic[] } {
  const fail = (code: string, message: string, more: Partial<Diagnostic> = {}) => ({
    diagnostics: [{ code, severity: "error" as const, message, file, ...more }],
  });
  if (text.length > MAX_RECIPE_CHARACTERS)
    return fail("recipe-too-large", "this file is too large for a recipe", {
      found: `${text.length} characters`,
      expected: `at most ${MAX_RECIPE_CHARACTERS}`,
    });
  const places = lineIndex(text);
  const deep = deepPlace(text);
  if (deep !== undefined)
    return fail("yaml-syntax", "the YAML is nested too deeply", { range: places(deep, deep + 1), expected: `at most ${MAX_DEPTH} levels` });
  const document = parseDocument(text, { version: "1.1", prettyErrors: false });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) {
    const { code, message } = syntaxProblem(problem.code, problem.message);
    return fail(code, message, { range: places(...problem.pos), remedy: SYNTAX_REMEDIES[code] });
  }
  const { targets, orphan } = aliasTargets(document.contents);
  if (orphan !== undefined) return fail("yaml-syntax", "this alias has no anchor before it", { range: places(...orphan) });
  const rangeOf = (node: Node) => places(node.range?.[0] ?? 0, node.range?.[1] ?? 0);
  const follow = (node: unknown) => (isAlias(node) ? targets.get(node) : isNode(node) ? node : undefined);
  return { source: { root: document.contents, text, placeOf: places, rangeOf, follow }, diagnostics: [] };
}

const SYNTAX_REMEDIES: Readonly<Record<string, string>> = {
  "duplicate-key": "remove or rename one of the two",
  "multiple-documents": "keep one document per file, without a second ---",
};

function syntaxProblem(code: string, message: string): { code: string; message: string } {
  if (code === "DUPLICATE_KEY") return { code: "duplicate-key", message: "this key appears twice in one map" };
  if (code === "MULTIPLE_DOCS") return { code: "multiple-documents", message: "the file holds more than one YAML document" };
  const short = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE - 3)}...` : message;
  return { code: "yaml-syntax", message: short.charAt(0).toLowerCase() + short.slice(1) };
}

/**
 * Where the text is nested deeper than any recipe, judged by its tokens: the parser recurses, and a stack overflow in the
 * middle of it can end the process. Each open bracket counts, and on each line its indentation, dashes and colons.
 */
function deepPlace(text: string): number | undefined {
  let [offset, brackets, line] = [0, 0, 0];
  for (const token of new Lexer().lex(text)) {
    if (CONTROL_TOKENS.has(token)) continue;
    if (token === "[" || token === "{") brackets++;
    else if (token === "]" || token === "}") brackets = Math.max(0, brackets - 1);
    else if (token.startsWith("\n") || token.startsWith("\r")) line = 0;
    else if (brackets === 0 && (/^[-?:]$/.test(token) || (line === 0 && /^ +$/.test(token)))) line += token.length;
    if (brackets + line > MAX_DEPTH) return offset;
    offset += token.length;
  }
  return undefined;
}

/** What the lexer puts between tokens without a counterpart in the text: marks of a document, of a scalar, of a flow error. */
const CONTROL_TOKENS = new Set(["\u0002", "\u0018", "\u001f"]);

interface Aliases {
  readonly targets: ReadonlyMap<unknown, Node>;
  /** Where the first alias without an anchor stands. */
  readonly orphan: readonly [number, number] | undefined;
}

/** What each alias stands for: the latest node before it that carries its anchor. One pass, since resolving each one alone is quadratic. */
function aliasTargets(root: Node | null): Aliases {
  const anchors = new Map<string, Node>();
  const targets = new Map<unknown, Node>();
  let orphan: [number, number] | undefined;
  visit(root, {
    Alias: (_, alias) => {
      const target = anchors.get(alias.source);
      if (target !== undefined) targets.set(alias, target);
      else orphan ??= [alias.range?.[0] ?? 0, alias.range?.[1] ?? 0];
    },
    Value: (_, node) => void (node.anchor !== undefined && anchors.set(node.anchor, node)),
  });
  return { targets, orphan };
}

/** Offsets to lines and columns, both from zero. */
function lineIndex(text: string): (offset: number, end: number) => SourceRange {
  const starts = [0];
  for (let i = text.indexOf("\n"); i >= 0; i = text.indexOf("\n", i + 1)) starts.push(i + 1);
  const place = (offset: number): [number, number] => {
    let [low, high] = [0, starts.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return [low, offset - (starts[low] ?? 0)];
  };
  // The parser puts some errors one letter behind the end.
  return (from, to) => {
    const [offset, end] = [Math.min(from, text.length), Math.min(to, text.length)];
    const [line, column] = place(offset);
    const [endLine, endColumn] = place(Math.max(offset, end));
    return { line, column, endLine, endColumn, offset, end: Math.max(offset, end) };
  };
}
