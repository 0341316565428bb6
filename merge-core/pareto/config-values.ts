// Reading a search's configuration: YAML whose parts are free in form (a recipe, metrics), with checks of the rest. Node only.
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { LineCounter, parseDocument } from "yaml";
import { openError } from "../bytes/file-source.ts";
import { inputError, nearestName, WeightsmithError } from "../diagnostics.ts";

export interface ConfigPlace {
  /** As the user gave it. */
  readonly file: string;
  /** Makes a path of the configuration absolute. */
  readonly resolve: (path: string) => string;
}

export type ConfigValues = Readonly<Record<string, unknown>>;

export const configPlace = (file: string): ConfigPlace => ({ file, resolve: (path) => resolve(dirname(file), path) });

/** @throws WeightsmithError `file-missing` */
export async function readConfigText(file: string): Promise<string> {
  return readFile(file, "utf8").catch((error: unknown) => {
    throw openError(file, error);
  });
}

/** @throws WeightsmithError `yaml-syntax`, `config-not-a-map`, `config-unknown-key` */
export function parseConfigValues(text: string, file: string, keys: readonly string[]): ConfigValues {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [problem] = document.errors;
  if (problem !== undefined) {
    const [from, to] = [lines.linePos(problem.pos[0]), lines.linePos(problem.pos[1])];
    const range = { line: from.line - 1, column: from.col - 1, endLine: to.line - 1, endColumn: to.col - 1, offset: problem.pos[0], end: problem.pos[1] };
    throw inputError("yaml-syntax", problem.message, { file, range });
  }
  const values = asObject(document.toJS({ maxAliasCount: 100 }));
  if (values === undefined) throw inputError("config-not-a-map", "the file is not a mapping", { file, expected: "lines of key: value" });
  const unknown = Object.keys(values).filter((key) => !keys.includes(key));
  if (unknown.length > 0)
    throw new WeightsmithError(
      unknown.map((key) => {
        const near = nearestName(key, keys);
        const remedy = near === undefined ? {} : { remedy: `did you mean ${near}?` };
        return { code: "config-unknown-key", severity: "error" as const, message: `unknown key ${key}`, file, expected: keys.join(", "), ...remedy };
      }),
    );
  return values;
}

export function asObject(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, unknown>>) : undefined;
}

export function configError(place: ConfigPlace, key: string, found: unknown, expected: string): WeightsmithError {
  const message = found === undefined ? `${key} is missing` : `${key} is not usable`;
  return inputError("config-invalid-value", message, { file: place.file, ...(found === undefined ? {} : { found: JSON.stringify(found) }), expected });
}

export function countIn(values: ConfigValues, place: ConfigPlace, key: string, fallback: number | undefined, min: number): number {
  const value = values[key] ?? fallback;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min) throw configError(place, key, value, `a whole number of at least ${min}`);
  return value;
}

export function choiceIn<T extends string>(values: ConfigValues, place: ConfigPlace, key: string, fallback: T, choices: readonly T[]): T {
  const value = values[key] ?? fallback;
  const chosen = choices.find((choice) => choice === value);
  if (chosen === undefined) throw configError(place, key, value, choices.join(", "));
  return chosen;
}

/** A list of `count` finite numbers; undefined where the key is absent. */
export function numbersIn(values: ConfigValues, place: ConfigPlace, key: string, count: number): readonly number[] | undefined {
  const value = values[key];
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.length !== count || !value.every((item): item is number => typeof item === "number" && Number.isFinite(item)))
    throw configError(place, key, value, `a list of ${count} numbers`);
  return value;
}
