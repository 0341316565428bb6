// Command-line arguments: every option is declared, everything undeclared is refused by name.
import { availableParallelism } from "node:os";
import { inputError, nearestName } from "../diagnostics.ts";

export interface OptionSpec {
  readonly name: string;
  /** `flag` takes no value; `list` may be given several times, or take several values. */
  readonly type: "flag" | "string" | "list" | "integer" | "size";
  /** How help shows the value, e.g. `N` or `FILE`. */
  readonly value?: string;
  readonly short?: string;
  readonly choices?: readonly string[];
  /** Of integers. Default 0. */
  readonly least?: number;
  readonly doc: string;
}

export interface Arguments {
  readonly positionals: readonly string[];
  readonly options: ReadonlyMap<string, string | number | boolean | readonly string[]>;
}

/** Options that every command takes. */
export const COMMON_OPTIONS: readonly OptionSpec[] = [
  { name: "json", type: "flag", doc: "print one JSON document on stdout and nothing else there" },
  { name: "progress-json", type: "flag", doc: "print progress on stderr as JSON, one record a line" },
  { name: "quiet", type: "flag", short: "q", doc: "no progress on stderr" },
  { name: "debug", type: "flag", doc: "print stack traces" },
  { name: "help", type: "flag", short: "h", doc: "show this help" },
];

export const THREADS: OptionSpec = {
  name: "threads",
  type: "integer",
  value: "N",
  doc: "worker threads (default: all cores, at most 8); never changes a result",
};
export const MEMORY: OptionSpec = { name: "memory", type: "size", value: "SIZE", doc: "memory budget, e.g. 512MiB (default: a quarter of RAM, at most 4GiB)" };
export const SEED: OptionSpec = { name: "seed", type: "integer", value: "N", doc: "seed of every random choice (default: 0)" };
export const OVERWRITE: OptionSpec = { name: "overwrite", type: "flag", doc: "replace an existing output" };

/** Wrong use of the command line. */
export const usage = (message: string, details: { found?: string; expected?: string; remedy?: string } = {}) => inputError("usage", message, details);

/** Parses `argv` against the declared options. @throws WeightsmithError `usage`, with a near-miss suggestion. */
export function parseArguments(argv: readonly string[], specs: readonly OptionSpec[]): Arguments {
  const positionals: string[] = [];
  const options = new Map<string, string | number | boolean | string[]>();
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? "";
    if (word === "--") {
      positionals.push(...argv.slice(i + 1));
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      positionals.push(word);
      continue;
    }
    const [name, inline] = splitInline(word);
    const spec = findSpec(name, word, specs);
    if (spec.type === "flag") {
      if (inline !== undefined) throw usage(`option --${spec.name} takes no value`, { found: inline });
      options.set(spec.name, true);
      continue;
    }
    const text = inline ?? argv[++i];
    if (text === undefined || (inline === undefined && text.startsWith("--")))
      throw usage(`option --${spec.name} needs a value`, { expected: spec.value ?? "a value" });
    if (spec.type === "list") options.set(spec.name, [...((options.get(spec.name) as string[] | undefined) ?? []), text]);
    else options.set(spec.name, parseValue(spec, text));
  }
  return { positionals, options };
}

function splitInline(word: string): [string, string | undefined] {
  const equals = word.indexOf("=");
  return equals < 0 ? [word, undefined] : [word.slice(0, equals), word.slice(equals + 1)];
}

function findSpec(name: string, word: string, specs: readonly OptionSpec[]): OptionSpec {
  const spec = specs.find((s) => `--${s.name}` === name || (s.short !== undefined && `-${s.short}` === name));
  if (spec !== undefined) return spec;
  const near = nearestName(
    name.replace(/^-+/, ""),
    specs.map((s) => s.name),
  );
  throw usage("unknown option", { found: word, remedy: near === undefined ? "see --help" : `did you mean --${near}?` });
}

function parseValue(spec: OptionSpec, text: string): string | number {
  if (spec.type === "size") return parseSize(text, `--${spec.name}`);
  if (spec.type === "integer") {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < 0)
      throw usage(`option --${spec.name} is not a whole number`, { found: text, expected: `${spec.least ?? 0} or more` });
    if (value < (spec.least ?? 0)) throw usage(`option --${spec.name} must be at least ${spec.least}`, { found: text });
    return value;
  }
  if (spec.choices !== undefined && !spec.choices.includes(text)) {
    throw usage(`option --${spec.name} has no such choice`, { found: text, expected: spec.choices.join(", ") });
  }
  return text;
}

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  K: 1e3,
  KB: 1e3,
  KIB: 2 ** 10,
  M: 1e6,
  MB: 1e6,
  MIB: 2 ** 20,
  G: 1e9,
  GB: 1e9,
  GIB: 2 ** 30,
  T: 1e12,
  TB: 1e12,
  TIB: 2 ** 40,
};

/** Bytes in a size such as `512MiB`, `4 GB` or `1000`. @throws WeightsmithError `usage`. */
export function parseSize(text: string, what: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text);
  const unit = UNITS[match?.[2]?.toUpperCase() ?? "?"];
  const bytes = Math.floor(Number(match?.[1]) * (unit ?? Number.NaN));
  if (!Number.isSafeInteger(bytes) || bytes <= 0)
    throw usage(`${what} is not a size`, { found: text, expected: "a number with a unit, such as 512MiB or 4GB" });
  return bytes;
}

/** Typed access to parsed options, with the defaults that all commands share. */
export function flag(args: Arguments, name: string): boolean {
  return args.options.get(name) === true;
}

export function text(args: Arguments, name: string): string | undefined {
  const value = args.options.get(name);
  return typeof value === "string" ? value : undefined;
}

export function list(args: Arguments, name: string): readonly string[] {
  const value = args.options.get(name);
  return Array.isArray(value) ? value : [];
}

export function number(args: Arguments, name: string): number | undefined {
  const value = args.options.get(name);
  return typeof value === "number" ? value : undefined;
}

/** Worker threads to use: what was asked, else all cores up to 8 (merging saturates memory long before that). */
export function threads(args: Arguments): number {
  const asked = number(args, "threads");
  if (asked === 0) throw usage("option --threads must be at least 1", { found: "0" });
  return asked ?? Math.min(8, availableParallelism());
}

/** Positionals by name. @throws WeightsmithError `usage` when one is missing or there are too many. */
export function positionals(args: Arguments, names: readonly string[]): string[] {
  if (args.positionals.length > names.length)
    throw usage("too many arguments", { found: args.positionals.slice(names.length).join(" "), expected: names.join(" ") || "none" });
  const missing = names[args.positionals.length];
  if (missing !== undefined) throw usage(`argument ${missing} is missing`, { expected: names.join(" "), remedy: "see --help" });
  return [...args.positionals];
}
