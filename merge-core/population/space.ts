// The space of a population on disk: mean, deviation and components of every tensor, coordinates of the members, and space.json beside them.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openError } from "../bytes/file-source.ts";
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { inputError } from "../diagnostics.ts";
import { isRecord, parseJsonBytes } from "../formats/json.ts";
import { scratchTensors, writeScratch } from "../run/scratch-tensors.ts";
import { checkDiskSpace, checkOutput, JOURNAL_FILE, MANIFEST_FILE, openWorkFolder } from "../run/work-folder.ts";
import { VERSION } from "../version.ts";
import { type Slot, sizeOf } from "./members.ts";

export const SPACE_FILE = "space.json";
const TENSORS_FILE = "space.safetensors";
const FORMAT = "weightsmith-population";

export interface SpaceFacts {
  readonly members: readonly string[];
  /** adapter_config.json of the first member. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly slots: readonly Slot[];
  readonly canonical: boolean;
  /** Singular values of the standardised population, descending, one for each component. */
  readonly singular: readonly number[];
  /** Share of the standardised variance that each component explains. */
  readonly explained: readonly number[];
}

/** One slot's part of the space. */
export interface SlotSpace {
  readonly mean: Float32Array;
  /** Sample standard deviation; 0 where all members agree, and such coordinates stay at the mean. */
  readonly std: Float32Array;
  /** [components, size], rows of V^T. */
  readonly components: Float32Array;
}

const LIMITS = { maxBytes: 100_000_000, maxDepth: 16 };

/** Writes a space's folder; it appears when it is complete. @param coordinates [members, components] */
export async function writeSpace(
  facts: SpaceFacts,
  coordinates: Float64Array,
  parts: (slot: Slot) => Promise<SlotSpace>,
  request: { readonly out: string; readonly overwrite: boolean; readonly inputs: readonly string[] },
): Promise<void> {
  const count = facts.singular.length;
  const specs = facts.slots.flatMap((slot) => [
    { name: `mean.${slot.name}`, dtype: "F32", shape: [sizeOf(slot)] } as const,
    { name: `std.${slot.name}`, dtype: "F32", shape: [sizeOf(slot)] } as const,
    { name: `components.${slot.name}`, dtype: "F32", shape: [count, sizeOf(slot)] } as const,
  ]);
  await checkOutput(request);
  const tensors = [{ name: "coordinates", dtype: "F64", shape: [facts.members.length, count] } as const, ...specs];
  await checkDiskSpace(request.out, scratchTensors("", FORMAT, tensors).layout.sizeBytes);
  const work = await openWorkFolder(request, () => false);
  try {
    await writeFile(join(work.path, JOURNAL_FILE), `${JSON.stringify({ weightsmith: VERSION, writes: "population" })}\n`);
    const bytes = (values: Float32Array | Float64Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const stream = async function* () {
      yield bytes(coordinates);
      for (const slot of facts.slots) {
        const { mean, std, components } = await parts(slot);
        yield* [mean, std, components].map(bytes);
      }
    };
    await writeScratch(scratchTensors(join(work.path, TENSORS_FILE), FORMAT, tensors), stream());
    await writeFile(join(work.path, SPACE_FILE), `${JSON.stringify({ format: FORMAT, version: 1, ...facts }, null, 1)}\n`);
    await writeFile(join(work.path, MANIFEST_FILE), `${JSON.stringify({ format: 1, weightsmith: VERSION, command: "population fit" }, null, 2)}\n`);
    await work.finish();
  } finally {
    await work.release();
  }
}

export interface Space extends SpaceFacts {
  readonly folder: string;
  /** [members, components] */
  readonly coordinates: Float64Array;
  read(slot: Slot): Promise<SlotSpace>;
  close(): Promise<void>;
}

/** @throws WeightsmithError `population-invalid`, `file-missing`, `json-*` */
export async function openSpace(folder: string): Promise<Space> {
  const file = join(folder, SPACE_FILE);
  const text = await readFile(file).catch((error: unknown) => {
    throw openError(file, error);
  });
  const json = parseJsonBytes(text, file, LIMITS);
  const facts = factsOf(json);
  if (facts === undefined) throw inputError("population-invalid", "this is no space of a population", { file, expected: `format ${FORMAT}, version 1` });
  const { tensors } = await openCheckpoint(join(folder, TENSORS_FILE));
  const reader = new TensorReader();
  const read = async (name: string, size: number): Promise<Float32Array | Float64Array> => {
    const entry = tensors.get(name) as TensorEntry | undefined;
    if (entry === undefined || entry.shape.reduce((product, side) => product * side, 1) !== size)
      throw inputError("population-invalid", `the space has no tensor ${name} of the size that it says`, {
        file: join(folder, TENSORS_FILE),
        expected: `${size} numbers`,
      });
    return reader.read(entry);
  };
  const count = facts.singular.length;
  return {
    ...facts,
    folder,
    coordinates: Float64Array.from(await read("coordinates", facts.members.length * count)),
    read: async (slot) => ({
      mean: Float32Array.from(await read(`mean.${slot.name}`, sizeOf(slot))),
      std: Float32Array.from(await read(`std.${slot.name}`, sizeOf(slot))),
      components: Float32Array.from(await read(`components.${slot.name}`, count * sizeOf(slot))),
    }),
    close: () => reader.close(),
  };
}

function factsOf(json: unknown): SpaceFacts | undefined {
  if (!isRecord(json) || json.format !== FORMAT || json.version !== 1) return undefined;
  const { members, config, slots, canonical, singular, explained } = json;
  const numbers = (list: unknown): list is number[] => Array.isArray(list) && list.every(Number.isFinite);
  const isSlot = (slot: unknown): slot is Slot =>
    isRecord(slot) && typeof slot.name === "string" && numbers(slot.shape) && /^(F64|F32|F16|BF16)$/.test(String(slot.dtype));
  if (!Array.isArray(members) || !members.every((name) => typeof name === "string") || !isRecord(config) || !Array.isArray(slots) || !slots.every(isSlot))
    return undefined;
  if (!numbers(singular) || !numbers(explained) || singular.length === 0) return undefined;
  return { members, config, slots, canonical: canonical === true, singular, explained };
}
