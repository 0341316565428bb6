// Takes slices of data out of an adapter (S3T): every part that has seen them goes, files and all, and the longest chain of parts
// that has not becomes the adapter. It is, byte for byte, what training on the chain's slices alone gives. Node only.
import { cp, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Diagnostic, inputError, throwIfCancelled } from "../diagnostics.ts";
import { writeJson } from "../nn/save.ts";
import { checkOutput, JOURNAL_FILE, openWorkFolder } from "../run/work-folder.ts";
import { VERSION } from "../version.ts";
import { assembleChain } from "./assemble.ts";
import { findSlice, longestChain, type Part, partFolder, provenance, readProvenance, SLICES_FILE, type Slice } from "./provenance.ts";

export interface RemoveRequest {
  readonly adapter: string;
  /** By number or name. */
  readonly slices: readonly string[];
  readonly out: string;
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal;
}

export interface RemoveResult {
  readonly out: string;
  readonly removed: readonly Slice[];
  /** What the adapter has seen now, in order. */
  readonly active: readonly Slice[];
  /** Slices that were not removed and are not in the adapter, as every chain with them has seen a removed one too. */
  readonly idle: readonly Slice[];
  readonly partsLeft: number;
  readonly partsDropped: number;
  readonly warnings: readonly Diagnostic[];
}

/** @throws WeightsmithError `adapter-not-sliced`, `slice-*`, `slices-none-left`, `output-*` */
export async function removeSlices(request: RemoveRequest): Promise<RemoveResult> {
  const { adapter, out, signal } = request;
  const record = await readProvenance(adapter);
  const gone = new Set(request.slices.map((wanted) => findSlice(record, wanted, join(adapter, SLICES_FILE))));
  const parts = record.parts.filter(({ slices }) => !slices.some((number) => gone.has(number)));
  const active = longestChain(parts);
  if (active.length === 0) throw noneLeft(request, record.slices);
  const output = { out, overwrite: request.overwrite ?? false, inputs: [adapter] };
  await checkOutput(output);
  const work = await openWorkFolder(output, () => false);
  try {
    await writeFile(join(work.path, JOURNAL_FILE), `${JSON.stringify({ format: "weightsmith-slices", weightsmith: VERSION })}\n`);
    for (const { slices } of parts) {
      throwIfCancelled(signal);
      await copyPart(adapter, work.path, slices);
    }
    await assembleChain(work.path, active, work.path);
    // Of removed data only the name is kept.
    const slices = record.slices.map((slice): Slice => (gone.has(slice.number) ? { number: slice.number, name: slice.name, removed: true } : slice));
    await writeJson(join(work.path, SLICES_FILE), provenance({ weightsmith: VERSION, slices, parts, active }));
    const warnings = await work.finish();
    const byNumber = (number: number) => slices[number - 1] as Slice;
    const idle = slices.filter(({ number, removed }) => removed !== true && !active.includes(number));
    const counts = { partsLeft: parts.length, partsDropped: record.parts.length - parts.length };
    return { out, removed: [...gone].map(byNumber), active: active.map(byNumber), idle, ...counts, warnings };
  } finally {
    await work.release();
  }
}

async function copyPart(from: string, to: string, slices: Part["slices"]): Promise<void> {
  const target = join(to, partFolder(slices));
  await mkdir(dirname(target), { recursive: true });
  await cp(join(from, partFolder(slices)), target, { recursive: true });
}

const noneLeft = ({ adapter, slices }: RemoveRequest, all: readonly Slice[]) =>
  inputError("slices-none-left", "every part of the adapter has seen the data to be removed", {
    file: adapter,
    found: `${slices.join(", ")} of ${all.filter(({ removed }) => removed !== true).length} slices`,
    remedy: "use the base without an adapter, or train on what is left; with as many orders as slices, any one of them can go",
  });
