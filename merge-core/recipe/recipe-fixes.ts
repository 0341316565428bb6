// Fixes that add lines to a recipe and leave every other line as it is. Pure. Text that is laid out otherwise than a key a
// line, as `{a: 1, b: 2}` is, gets no fix.
import type { Fix, SourceRange } from "../diagnostics.ts";
import type { ParameterSpec } from "../methods/method.ts";
import type { YamlSource } from "./yaml-source.ts";

type Edit = Omit<Fix, "title">;
type Text = Pick<YamlSource, "text" | "placeOf">;

/** A key of the recipe itself, in a line after `merge_method`. */
export function addKey(source: Text, line: string): Edit | undefined {
  const method = /^merge_method[ \t]*:.*$/m.exec(source.text);
  return method === null ? undefined : insertLines(source, method.index + method[0].length, [line]);
}

/** A parameter of all models together: under the recipe's `parameters`, which are added where there are none. */
export function addSharedParameter(source: Text, line: string): Edit | undefined {
  const head = /^parameters[ \t]*:(.*)$/m.exec(source.text);
  if (head === null) return addLines(source, ["parameters:", `  ${line}`]);
  return opensBlock(head[1]) ? insertLines(source, head.index + head[0].length, [`${" ".repeat(indentAfter(source.text, head) ?? 2)}${line}`]) : undefined;
}

/** A parameter of one model, whose name stands at `place`. */
export function addSourceParameter(source: Text, place: SourceRange, line: string): Edit | undefined {
  const { text } = source;
  const start = text.lastIndexOf("\n", place.offset - 1) + 1;
  const [mention] = /^[ \t]*(?:-[ \t]+)?(?=model[ \t]*:)/.exec(text.slice(start)) ?? [];
  if (mention === undefined) return undefined;
  const column = mention.length;
  // The rest of the entry: lines that stand at least as far in as its first key.
  const rest = new RegExp(`^.*\\n?(?:(?:[ \\t]*| {${column},}[^ \\n].*)\\n)*(?: {${column},}[^ \\n].*)?`).exec(text.slice(start))?.[0] ?? "";
  const head = new RegExp(`^ {${column}}parameters[ \\t]*:(.*)$`, "m").exec(rest);
  const pad = " ".repeat(column);
  if (head === null) return insertLines(source, endOfLine(text, start), [`${pad}parameters:`, `${pad}  ${line}`]);
  if (!opensBlock(head[1])) return undefined;
  return insertLines(source, start + head.index + head[0].length, [`${" ".repeat(indentAfter(rest, head) ?? column + 2)}${line}`]);
}

/** Puts true or false in the place of a flag's value, or adds the flag. @param key where the flag is set, if it is */
export function setFlag(source: Text, key: SourceRange | undefined, name: string, value: boolean): Edit | undefined {
  if (key === undefined) return addSharedParameter(source, `${name}: ${value}`);
  const [, before = "", old] = /^([ \t]*:[ \t]*)([\w.]+)/.exec(source.text.slice(key.end)) ?? [];
  const start = key.end + before.length;
  return old === undefined ? undefined : { range: source.placeOf(start, start + old.length), text: String(value) };
}

/** A value to start from: equal shares for weights; else the middle of the legal range, or 1. */
export function startValue({ name, type, range }: ParameterSpec, models: number): number | boolean {
  if (type === "flag") return true;
  if (name === "weight") return Number((1 / Math.max(1, models)).toFixed(3));
  const middle = range?.min !== undefined && range.max !== undefined ? (range.min + range.max) / 2 : Math.max(1, range?.min ?? 1);
  return type === "integer" ? Math.round(middle) : middle;
}

/** Text as YAML reads it back: plain where that is the same. */
export function yamlText(text: string): string {
  return /^[\w./~][\w./ -]*$/.test(text) && !/^(true|false|yes|no|on|off|null|~|[\d.]+)$/i.test(text) && text === text.trim() ? text : JSON.stringify(text);
}

/** At the end of the recipe, behind its last line that holds anything. */
function addLines(source: Text, lines: readonly string[]): Edit {
  return insertLines(source, source.text.trimEnd().length, lines);
}

/** Whole lines after the one that `offset` ends; the last line of a file may lack its end. */
function insertLines(source: Text, offset: number, lines: readonly string[]): Edit {
  const next = source.text.indexOf("\n", offset);
  const [at, text] = next < 0 ? [source.text.length, `\n${lines.join("\n")}`] : [next + 1, `${lines.join("\n")}\n`];
  return { range: source.placeOf(at, at), text };
}

const endOfLine = (text: string, offset: number): number => {
  const end = text.indexOf("\n", offset);
  return end < 0 ? text.length : end;
};

/** Whether a key's line leaves its value to the next lines. */
const opensBlock = (rest: string | undefined): boolean => /^[ \t]*(#.*)?$/.test(rest ?? "");

/** How far in the lines after a key stand. */
function indentAfter(text: string, head: RegExpExecArray): number | undefined {
  const [, pad] = /^(?:[ \t]*(?:#.*)?\n)*( +)[^\s#]/.exec(text.slice(head.index + head[0].length).replace(/^.*\n/, "")) ?? [];
  const own = /^ */.exec(head[0])?.[0].length ?? 0;
  return pad !== undefined && pad.length > own ? pad.length : undefined;
}
