// What can be measured, as data: our own metrics on files, tasks of the evaluation harness, and users' programs.
import { inputError, nearestName } from "../diagnostics.ts";
import type { CommandLine } from "./external-command.ts";
import type { HarnessRequest } from "./harness.ts";

/** Our own metrics, and whether more or less of them is better. */
export const BUILTIN_METRICS = {
  loss: "min",
  perplexity: "min",
  exact_match: "max",
  multiple_choice: "max",
  multiple_choice_norm: "max",
  entropy: "min",
} as const;

export type BuiltinMetric = keyof typeof BUILTIN_METRICS;
export type Direction = "min" | "max";

interface NamedMetric {
  /** What results call it. */
  readonly name: string;
  readonly direction: Direction;
}

export interface BuiltinSpec extends NamedMetric {
  readonly kind: "builtin";
  readonly metric: BuiltinMetric;
  /** JSONL files, measured together. */
  readonly data: readonly string[];
  /** Only the first so many examples. */
  readonly limit?: number;
}

export type MetricSpec =
  | BuiltinSpec
  | ({ readonly kind: "harness" } & NamedMetric & HarnessRequest)
  | ({
      readonly kind: "command";
      readonly command: CommandLine;
      readonly timeoutSeconds: number;
      /** What counts is not the number that it prints but the one that it exits with. */
      readonly value?: "exit";
    } & NamedMetric);

/** An evaluator that takes longer hangs, unless the user says otherwise. */
export const DEFAULT_TIMEOUT_SECONDS = 3600;

/**
 * One of our metrics on data, named after metric and file. @throws WeightsmithError `metric-unknown`, `data-missing`
 */
export function builtinMetric(metric: string, data: readonly string[], options: { name?: string; limit?: number } = {}): BuiltinSpec {
  const { limit } = options;
  if (!isBuiltin(metric)) {
    const near = nearestName(metric, Object.keys(BUILTIN_METRICS));
    throw inputError("metric-unknown", "there is no such metric", {
      found: metric,
      expected: Object.keys(BUILTIN_METRICS).join(", "),
      ...(near === undefined ? {} : { remedy: `did you mean ${near}?` }),
    });
  }
  if (data.length === 0) throw inputError("data-missing", `no data to measure ${metric} on`, { expected: "one JSONL file or more" });
  const direction = BUILTIN_METRICS[metric];
  return { kind: "builtin", name: options.name ?? metric, metric, direction, data, ...(limit === undefined ? {} : { limit }) };
}

const isBuiltin = (name: string): name is BuiltinMetric => Object.hasOwn(BUILTIN_METRICS, name);

const KEYS = ["name", "metric", "data", "limit", "command", "harness", "args", "timeout", "direction", "value"];

/**
 * A metric from a configuration:
 *   {metric: exact_match, data: F.jsonl or [F, ...], limit?: N}
 *   {harness: TASK, metric: "acc,none", args?: [...], timeout?: seconds}
 *   {command: [program, ..., "{model}"] or "a line for the shell", timeout?: seconds, value?: exit, the status instead of what is printed}
 * each with `name` and `direction: min | max` where the default is not meant.
 * @param place makes paths absolute @param where what diagnostics call the configuration
 * @throws WeightsmithError `metric-invalid`, `metric-unknown`, `data-missing`
 */
export function readMetric(value: unknown, place: (path: string) => string, where: string): MetricSpec {
  const refuse = (message: string, found: unknown, expected: string) =>
    inputError("metric-invalid", message, { file: where, found: JSON.stringify(found) ?? "nothing", expected });
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw refuse("a metric is not a mapping", value, "keys such as metric and data");
  const map = value as Readonly<Record<string, unknown>>;
  const unknown = Object.keys(map).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw refuse("a metric has an unknown key", unknown, KEYS.join(", "));
  const { metric, harness, command, args = [], timeout = DEFAULT_TIMEOUT_SECONDS, limit, direction } = map;
  const data = typeof map.data === "string" ? [map.data] : (map.data ?? []);
  if (!isTexts(data)) throw refuse("data is not a file or a list of files", data, "text");
  if (!isTexts(args)) throw refuse("args is not a list of arguments", args, "a list of text");
  if (typeof timeout !== "number" || !(timeout > 0)) throw refuse("timeout is no time", timeout, "seconds above 0");
  if (limit !== undefined && (!Number.isSafeInteger(limit) || Number(limit) < 1)) throw refuse("limit is no count", limit, "a whole number of at least 1");
  if (direction !== undefined && direction !== "min" && direction !== "max") throw refuse("direction is neither", direction, "min, max");
  const { value: counted } = map;
  if (counted !== undefined && (counted !== "exit" || command === undefined))
    throw refuse("value is not what counts of a command", counted, "exit, beside command");
  const exit = counted === "exit" ? ({ value: "exit" } as const) : {};
  const named = (name: string): NamedMetric => ({ name: typeof map.name === "string" ? map.name : name, direction: direction ?? "max" });
  if (typeof command === "string" && command !== "") return { kind: "command", ...named(command), command, timeoutSeconds: timeout, ...exit };
  if (isTexts(command) && command.length > 0) return { kind: "command", ...named(command.join(" ")), command, timeoutSeconds: timeout, ...exit };
  if (typeof harness === "string") {
    const measure = typeof metric === "string" ? metric : "acc,none";
    return { kind: "harness", ...named(harness), task: harness, measure, args, timeoutSeconds: timeout };
  }
  if (typeof metric !== "string") throw refuse("a metric names nothing to measure", value, "metric with data, harness, or command");
  const spec = builtinMetric(metric, data.map(place), {
    ...(typeof map.name === "string" ? { name: map.name } : {}),
    ...(limit === undefined ? {} : { limit: Number(limit) }),
  });
  return direction === undefined ? spec : { ...spec, direction };
}

const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every((item) => typeof item === "string");
