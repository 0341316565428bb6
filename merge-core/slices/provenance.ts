// Which part of a sliced adapter comes from which data: slices.json, beside the adapter. Node only.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { openError } from "../bytes/file-source.ts";
import { inputError, nearestName } from "../diagnostics.ts";
import { isRecord, parseJsonBytes } from "../formats/json.ts";

export const SLICES_FILE = "slices.json";
const FORMAT = "weightsmith-slices";

/** One file of data. */
export interface Slice {
  /** From 1. */
  readonly number: number;
  readonly name: string;
  /** Of the file; absent once the slice was removed. */
  readonly sha256?: string;
  readonly removed?: true;
}

/** A group of layers, trained on some slices with the parts of all shorter beginnings of them in place. */
export interface Part {
  /** Numbers of the slices, in the order in which they came. */
  readonly slices: readonly number[];
  readonly layers: readonly number[];
  readonly trainLoss: number;
  readonly validationLoss?: number | undefined;
}

export interface Provenance {
  readonly format: typeof FORMAT;
  readonly version: 1;
  readonly weightsmith: string;
  readonly slices: readonly Slice[];
  readonly parts: readonly Part[];
  /** The slices whose parts make up the adapter. */
  readonly active: readonly number[];
}

export const provenance = (facts: Omit<Provenance, "format" | "version">): Provenance => ({ format: FORMAT, version: 1, ...facts });

/** Folder of a part below the adapter's. */
export const partFolder = (slices: readonly number[]): string => join("slices", slices.join("-"));

/** The slices 1 to `count` in each order, every one of them one place on. */
export const cyclicOrders = (count: number, orders: number): number[][] =>
  Array.from({ length: Math.min(orders, count) }, (_, first) => Array.from({ length: count }, (_, i) => ((first + i) % count) + 1));

/** [a], [a, b], [a, b, c] of [a, b, c]. */
export const beginnings = (order: readonly number[]): number[][] => order.map((_, i) => order.slice(0, i + 1));

/** The longest chain of parts that is whole; the first of several. */
export function longestChain(parts: readonly Pick<Part, "slices">[]): readonly number[] {
  const held = new Set(parts.map(({ slices }) => slices.join()));
  const whole = parts.map(({ slices }) => slices).filter((slices) => beginnings(slices).every((beginning) => held.has(beginning.join())));
  return whole.reduce<readonly number[]>((best, slices) => (slices.length > best.length ? slices : best), []);
}

/** @throws WeightsmithError `adapter-not-sliced`, `slices-invalid`, `json-*` */
export async function readProvenance(folder: string): Promise<Provenance> {
  const file = join(folder, SLICES_FILE);
  const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw openError(file, error);
    throw inputError("adapter-not-sliced", "the adapter does not know which part comes from which data", {
      file: folder,
      expected: SLICES_FILE,
      remedy: "train it with slices: see weightsmith train --help",
    });
  });
  const found = parseJsonBytes(bytes, file, { maxBytes: 10_000_000, maxDepth: 64 });
  if (isProvenance(found)) return found;
  throw inputError("slices-invalid", "not a record of slices", { file, expected: `format ${FORMAT}, version 1` });
}

const isNumbers = (value: unknown): value is number[] => Array.isArray(value) && value.every(Number.isSafeInteger);

function isProvenance(found: unknown): found is Provenance {
  if (!isRecord(found) || found.format !== FORMAT || found.version !== 1 || !Array.isArray(found.slices) || !Array.isArray(found.parts)) return false;
  const slices = found.slices.every((slice) => isRecord(slice) && Number.isSafeInteger(slice.number) && typeof slice.name === "string");
  return slices && isNumbers(found.active) && found.parts.every((part) => isRecord(part) && isNumbers(part.slices) && isNumbers(part.layers));
}

/** The number of a slice that is still there, by its number or its name. @throws WeightsmithError `slice-unknown`, `slice-removed`, `slice-ambiguous` */
export function findSlice({ slices }: Provenance, wanted: string, file: string): number {
  const found = slices.filter(({ number, name }) => String(number) === wanted || name === wanted);
  const known = slices.filter(({ removed }) => removed !== true).map(({ number, name }) => `${number} (${name})`);
  const [slice] = found;
  if (slice === undefined) {
    const near = nearestName(
      wanted,
      slices.map(({ name }) => name),
    );
    throw inputError("slice-unknown", "the adapter has no such slice", {
      file,
      found: wanted,
      expected: known.join(", "),
      ...(near === undefined ? {} : { remedy: `did you mean ${near}?` }),
    });
  }
  if (found.length > 1) throw inputError("slice-ambiguous", "several slices have that name", { file, found: wanted, expected: known.join(", ") });
  if (slice.removed === true) throw inputError("slice-removed", "that slice is gone already", { file, found: wanted, expected: known.join(", ") });
  return slice.number;
}
