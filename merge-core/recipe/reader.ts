// Reading typed values out of a YAML tree: every mismatch becomes a diagnostic with its place, and reading goes on.
import { isMap, isScalar, isSeq, type Node, type YAMLMap } from "yaml";
import { type Diagnostic, type Fix, nearestName, type SourceRange } from "../diagnostics.ts";
import type { YamlSource } from "./yaml-source.ts";

/** Map entries and list items read in all, aliases unfolded; real recipes stay below a thousandth of it. */
const MAX_ITEMS = 200_000;
/** Problems of one file beyond this are of no use to anyone. */
const MAX_DIAGNOSTICS = 100;
/** Depth of `<<` merges within `<<` merges. */
const MAX_MERGES = 8;

/** One entry of a map; `value` is undefined where nothing, or null, is written. */
export interface Field {
  readonly key: string;
  readonly keyRange: SourceRange;
  readonly value: Node | undefined;
}

export type Fields = ReadonlyMap<string, Field>;

/** Which keys a map may have. `ignored` keys are legal but without effect here, each with the reason. */
export interface KnownKeys {
  readonly keys: readonly string[];
  readonly ignored?: Readonly<Record<string, string>>;
  /** More about a key that is neither, for the reader of the message. */
  hint?(key: string): string | undefined;
}

export class Reader {
  readonly diagnostics: Diagnostic[] = [];
  private items = 0;

  constructor(
    readonly file: string,
    readonly source: YamlSource,
  ) {}

  report(code: string, message: string, range: SourceRange | undefined, details: Partial<Diagnostic> = {}): void {
    if (this.diagnostics.length < MAX_DIAGNOSTICS)
      this.diagnostics.push({ code, severity: "error", message, file: this.file, ...(range && { range }), ...details });
  }

  get failed(): boolean {
    return this.diagnostics.some(({ severity }) => severity === "error");
  }

  rangeOf(node: Node): SourceRange {
    return this.source.rangeOf(node);
  }

  /** The entries of a map, with unknown keys reported and left out. */
  fields(node: Node | undefined, what: string, place: SourceRange, known: KnownKeys): Fields | undefined {
    const fields = this.entries(node, what, place);
    if (fields === undefined) return undefined;
    for (const field of [...fields.values()]) {
      if (known.keys.includes(field.key)) continue;
      fields.delete(field.key);
      this.reportKey(field, what, known);
    }
    return fields;
  }

  /** The entries of a map with keys of the user's choice. */
  entries(node: Node | undefined, what: string, place: SourceRange): Map<string, Field> | undefined {
    if (isMap(node)) {
      const fields = new Map<string, Field>();
      this.collect(node, fields, 0);
      return fields;
    }
    this.wrongType(node, what, "a map of keys and values", place);
    return undefined;
  }

  private collect(map: YAMLMap, fields: Map<string, Field>, merges: number): void {
    const merged: Node[] = [];
    for (const pair of map.items) {
      if (!this.spend()) return;
      const key = this.source.follow(pair.key);
      const value = this.source.follow(pair.value);
      if (isScalar(key) && key.source === "<<" && key.type === "PLAIN")
        merged.push(...(isSeq(value) ? value.items.flatMap((v) => this.source.follow(v) ?? []) : value ? [value] : []));
      else if (isScalar(key)) this.addField(fields, String(key.source ?? key.value), this.rangeOf(key), value);
      else this.report("wrong-type", "a key must be plain text", key && this.rangeOf(key), { found: describe(key) });
    }
    for (const node of merged) {
      if (isMap(node) && merges < MAX_MERGES) this.collect(node, fields, merges + 1);
      else this.report("wrong-type", "only maps can be merged with <<", this.rangeOf(node), { found: describe(node) });
    }
  }

  private addField(fields: Map<string, Field>, key: string, keyRange: SourceRange, value: Node | undefined): void {
    const absent = value === undefined || (isScalar(value) && value.value === null);
    if (!fields.has(key)) fields.set(key, { key, keyRange, value: absent ? undefined : value });
  }

  private reportKey({ key, keyRange }: Field, what: string, known: KnownKeys): void {
    const reason = known.ignored !== undefined && Object.hasOwn(known.ignored, key) ? known.ignored[key] : undefined;
    if (reason !== undefined) {
      this.report("ignored-key", `${key} has no effect`, keyRange, { severity: "warning", notes: [reason] });
      return;
    }
    const hint = known.hint?.(key);
    // Slips of known keys are refused; what resembles none is taken for a note of the author, which other tools pass over.
    const slip = hint !== undefined || nearestName(key, known.keys) !== undefined;
    this.report("unknown-key", `${what} has no key of this name${slip ? "" : ": it has no effect"}`, keyRange, {
      severity: slip ? "error" : "warning",
      found: key,
      expected: known.keys.join(", "),
      ...(hint === undefined ? suggestion(key, known.keys, keyRange) : { remedy: hint }),
    });
  }

  /** The items of a list that must have some. */
  list(node: Node | undefined, what: string, place: SourceRange): Node[] | undefined {
    if (!isSeq(node)) {
      this.wrongType(node, what, "a list", place);
      return undefined;
    }
    if (node.items.length === 0) this.report("empty-list", `${what} is empty`, this.rangeOf(node), { expected: "at least one entry" });
    return node.items.flatMap((item) => (this.spend() ? [this.source.follow(item)] : [])).filter((item) => item !== undefined);
  }

  /** Text; a number or yes/no where text is expected is taken as written. */
  text(node: Node | undefined, what: string, place: SourceRange): string | undefined {
    if (isScalar(node) && node.value !== null) {
      const text = typeof node.value === "string" ? node.value : (node.source ?? String(node.value));
      if (text !== "") return text;
    }
    this.wrongType(node, what, "text", place);
    return undefined;
  }

  wrongType(node: Node | undefined, what: string, expected: string, place: SourceRange): void {
    this.report("wrong-type", `${what} is not ${expected}`, node === undefined ? place : this.rangeOf(node), { found: describe(node), expected });
  }

  private spend(): boolean {
    this.items++;
    if (this.items === MAX_ITEMS) this.report("recipe-too-large", "the recipe unfolds to too many entries", undefined, { expected: `fewer than ${MAX_ITEMS}` });
    return this.items < MAX_ITEMS;
  }
}

/** A finite or other float as recipes write it: numbers, true and false as 1 and 0, numbers in quotes. */
export function numberIn(node: Node | undefined): number | undefined {
  if (!isScalar(node)) return undefined;
  const { value } = node;
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return value ? 1 : 0;
  return typeof value === "string" ? parseFloatStrictly(value.trim()) : undefined;
}

/** Yes or no in quotes, which YAML reads as text: 1 and 0; undefined for anything else. */
export function flagIn(node: Node | undefined): number | undefined {
  const word = isScalar(node) && typeof node.value === "string" ? node.value.trim().toLowerCase() : "";
  if (/^(true|yes|on|y|t)$/.test(word)) return 1;
  return /^(false|no|off|n|f)$/.test(word) ? 0 : undefined;
}

function parseFloatStrictly(text: string): number | undefined {
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return Number(text);
  const special = /^([+-]?)(nan|inf|infinity)$/i.exec(text);
  if (special === null) return undefined;
  return special[2]?.toLowerCase() === "nan" ? Number.NaN : special[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

/** A value in a message, short. */
export function describe(node: Node | undefined): string {
  if (node === undefined) return "nothing";
  if (isMap(node)) return "a map";
  if (isSeq(node)) return "a list";
  const text = isScalar(node) ? String(node.source ?? node.value) : String(node);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** Remedy and edit for a word that is near a known one. */
export function suggestion(word: string, known: Iterable<string>, range: SourceRange): { remedy?: string; fix?: Fix } {
  const near = nearestName(word, known);
  return near === undefined ? {} : { remedy: `did you mean ${near}?`, fix: { title: `Change to ${near}`, range, text: near } };
}
