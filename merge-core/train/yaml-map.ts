// Typed reading of a YAML mapping in which every refusal has a line and a column, and every unknown key a nearest known one.
import { isMap, isScalar, isSeq, LineCounter, type Node, type Pair, parseDocument, type YAMLMap } from "yaml";
import { type Diagnostic, inputError, nearestName, type SourceRange, WeightsmithError } from "../diagnostics.ts";

export interface NumberRange {
  readonly min: number;
  readonly max?: number;
  /** The minimum itself is refused. */
  readonly minOpen?: boolean;
}

/** One mapping of a YAML file. */
export class YamlMap {
  private readonly map: YAMLMap;
  private readonly file: string;
  private readonly lines: LineCounter;
  private readonly prefix: string;

  private constructor(map: YAMLMap, file: string, lines: LineCounter, prefix: string) {
    this.map = map;
    this.file = file;
    this.lines = lines;
    this.prefix = prefix;
  }

  /** @throws WeightsmithError `yaml-syntax`, `config-not-a-map` */
  static parse(text: string, file: string): YamlMap {
    const lines = new LineCounter();
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
    const problems = document.errors.map(
      ({ message, pos }): Diagnostic => ({ code: "yaml-syntax", severity: "error", message, file, range: rangeOf(lines, ...pos) }),
    );
    if (problems.length > 0) throw new WeightsmithError(problems);
    if (!isMap(document.contents)) throw inputError("config-not-a-map", "the file is not a mapping", { file, expected: "lines of key: value" });
    return new YamlMap(document.contents, file, lines, "");
  }

  /** Refuses keys outside `known`, all of them at once. */
  allow(known: readonly string[]): this {
    const diagnostics = this.unknown(known);
    if (diagnostics.length > 0) throw new WeightsmithError(diagnostics);
    return this;
  }

  /** An error for each key outside `known`. */
  unknown(known: readonly string[]): Diagnostic[] {
    const unknown = this.map.items.filter((pair) => !known.includes(keyText(pair)));
    return unknown.map((pair): Diagnostic => {
      const near = nearestName(keyText(pair), known);
      const range = this.range(pair.key as Node);
      return {
        code: "config-unknown-key",
        severity: "error",
        message: `unknown key ${this.prefix}${keyText(pair)}`,
        file: this.file,
        ...(range === undefined ? {} : { range }),
        expected: known.join(", "),
        ...(near === undefined ? {} : { remedy: `did you mean ${near}?` }),
      };
    });
  }

  has(key: string): boolean {
    return this.map.has(key);
  }

  /** @throws WeightsmithError `config-invalid-value`, pointing at the value, or at the mapping if the key is missing */
  refuse(key: string, expected: string, remedy?: string): WeightsmithError {
    const node = this.map.get(key, true) as Node | undefined;
    const range = this.range(node ?? this.map);
    return inputError("config-invalid-value", node === undefined ? `${this.prefix}${key} is missing` : `${this.prefix}${key} is not usable`, {
      file: this.file,
      ...(range === undefined ? {} : { range }),
      ...(node === undefined ? {} : { found: JSON.stringify(isScalar(node) ? node.value : node) }),
      expected,
      ...(remedy === undefined ? {} : { remedy }),
    });
  }

  number(key: string, fallback: number | undefined, range: NumberRange): number {
    const value = this.scalar(key) ?? fallback;
    const { min, max = Number.POSITIVE_INFINITY, minOpen = false } = range;
    const fits = typeof value === "number" && value >= min && value <= max && !(minOpen && value === min) && Number.isFinite(value);
    if (!fits) throw this.refuse(key, `a number ${minOpen ? "above" : "of at least"} ${min}${Number.isFinite(max) ? ` and at most ${max}` : ""}`);
    return value;
  }

  count(key: string, fallback: number | undefined, min: number): number {
    const value = this.scalar(key) ?? fallback;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min) throw this.refuse(key, `a whole number of at least ${min}`);
    return value;
  }

  flag(key: string): boolean {
    const value = this.scalar(key);
    if (typeof value !== "boolean") throw this.refuse(key, "true or false");
    return value;
  }

  text(key: string): string {
    const value = this.scalar(key);
    if (typeof value !== "string" || value === "") throw this.refuse(key, "text");
    return value;
  }

  choice<T extends string>(key: string, fallback: T | undefined, choices: readonly T[]): T {
    const value = this.scalar(key) ?? fallback;
    const chosen = choices.find((choice) => choice === value);
    if (chosen === undefined) throw this.refuse(key, choices.join(", "));
    return chosen;
  }

  /** One item or a list of them. */
  list(key: string, expected: string): unknown[] {
    const node = this.map.get(key, true);
    if (isScalar(node) && node.value !== null) return [node.value];
    if (!isSeq(node) || node.items.length === 0 || !node.items.every(isScalar)) throw this.refuse(key, expected);
    return node.items.map((item) => (isScalar(item) ? item.value : undefined));
  }

  /** A nested mapping. */
  child(key: string): YamlMap | undefined {
    if (!this.has(key)) return undefined;
    const node = this.map.get(key, true);
    if (!isMap(node)) throw this.refuse(key, "a mapping");
    return new YamlMap(node, this.file, this.lines, `${this.prefix}${key}.`);
  }

  /** The key is missing, or holds null or an empty list. */
  isEmpty(key: string): boolean {
    const node = this.map.get(key, true);
    return node === undefined || (isScalar(node) && node.value === null) || (isSeq(node) && node.items.length === 0);
  }

  /** A list of nested mappings, empty if the key is missing or null. */
  children(key: string): YamlMap[] {
    if (this.isEmpty(key)) return [];
    const node = this.map.get(key, true);
    if (!isSeq(node)) throw this.refuse(key, "a list");
    return node.items.map((item, i) => {
      if (!isMap(item)) throw this.refuse(key, "a list of mappings");
      return new YamlMap(item, this.file, this.lines, `${this.prefix}${key}[${i}].`);
    });
  }

  /** Where the value of a key stands, or the mapping if the key is missing. */
  placeOf(key: string): SourceRange | undefined {
    return this.range((this.map.get(key, true) as Node | undefined) ?? this.map);
  }

  private scalar(key: string): unknown {
    if (!this.has(key)) return undefined;
    const node = this.map.get(key, true);
    // An empty value is a slip of the pen, not a wish for the default.
    if (!isScalar(node) || node.value === null) throw this.refuse(key, "a value");
    return node.value;
  }

  private range(node: Node): SourceRange | undefined {
    return node.range ? rangeOf(this.lines, node.range[0], node.range[1]) : undefined;
  }
}

function keyText(pair: Pair): string {
  return isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
}

function rangeOf(lines: LineCounter, offset: number, end: number): SourceRange {
  const start = lines.linePos(offset);
  const stop = lines.linePos(end);
  return { line: start.line - 1, column: start.col - 1, endLine: stop.line - 1, endColumn: stop.col - 1, offset, end };
}
