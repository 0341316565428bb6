// `weightsmith align`: finds the permutations of B that bring it nearest to A, and writes B so permuted. What B computes stays the same.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openFile } from "../bytes/file-source.ts";
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { poolSpace } from "../compute/linalg/pool-space.ts";
import { createPool } from "../compute/pool.ts";
import { type Diagnostic, inputError } from "../diagnostics.ts";
import { DTYPE_BYTES, isFloat } from "../formats/dtypes.ts";
import { ARENA_SLACK_BYTES, defaultMemoryBytes } from "../run/memory.ts";
import { writeModel } from "../run/write-model.ts";
import { matchExperts } from "./experts.ts";
import { type Matched, matchWeights } from "./match.ts";
import { axisOrder, type Orders, permuteBytes } from "./permute.ts";
import { type SingularReport, singularAlignment } from "./singular.ts";
import { findSymmetries, type Symmetries } from "./symmetries.ts";

export const ALIGN_METHOD = "align";
export const ALIGNMENT_FILE = "alignment.json";

export interface AlignRequest {
  readonly a: Checkpoint;
  readonly b: Checkpoint;
  readonly out: string;
  /** The residual stream is permuted too. */
  readonly residual?: boolean;
  /** Experts of mixtures are permuted too, with the rows of their routers. */
  readonly experts?: boolean;
  /** Also measure how singular vectors line up, with these shares of the largest singular value as thresholds. */
  readonly gammas?: readonly number[] | undefined;
  readonly seed?: number;
  readonly overwrite?: boolean;
  readonly shardBytes?: number | undefined;
  readonly threads?: number;
  readonly memoryBytes?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (stage: string, done: number, total: number, unit: "items" | "bytes", detail: string) => void;
}

export interface Alignment {
  readonly out: string;
  readonly groups: Matched["groups"];
  readonly sweeps: number;
  /** L2 norm of A - B over all float tensors. */
  readonly distance: { readonly before: number; readonly after: number };
  readonly singular?: SingularReport;
  readonly warnings: readonly Diagnostic[];
}

/** @throws WeightsmithError `align-*`, `non-finite`, `output-*`, `cancelled` */
export async function align(request: AlignRequest): Promise<Alignment & { readonly orders: Orders; readonly symmetries: Symmetries }> {
  const { a, out, residual = false, experts = false, seed = 0, signal, onProgress } = request;
  checkAlike(a, request.b);
  if (experts && residual)
    throw inputError("usage", "experts are matched by what they read and write, which --residual permutes", { remedy: "use one of the two" });
  const { b, symmetries, matched, singular } = await compute(request, findSymmetries(request.b, { residual }));
  const distance = { before: 0, after: 0 };
  const reader = new TensorReader();
  const make = async (entry: TensorEntry): Promise<Uint8Array> => {
    const bytes = await readBytes(entry);
    const axes = symmetries.axes.get(entry.name);
    const permuted = axes === undefined ? bytes : permuteBytes(bytes, entry.shape, DTYPE_BYTES[entry.dtype], axes, matched.orders);
    await addDistance(distance, entry, a, reader, axes?.map((axis) => axisOrder(axis, matched.orders)) ?? []);
    return permuted;
  };
  const settings = { align: b.path, to: a.path, residual, ...(experts && { experts }), seed };
  const report = () => ({ groups: matched.groups, sweeps: matched.sweeps, distance, ...(singular === undefined ? {} : { singular }) });
  const orders = () => Object.fromEntries([...matched.orders].map(([space, order]) => [space, [...order]]));
  try {
    const write = {
      method: ALIGN_METHOD,
      settings,
      seed,
      models: [b, a] as const,
      out,
      overwrite: request.overwrite ?? false,
      shardBytes: request.shardBytes,
      signal,
    };
    const warnings = await writeModel(
      { ...write, onProgress: (done, total, tensor) => onProgress?.("align", done, total, "bytes", tensor) },
      make,
      async (folder) => {
        distance.before = Math.sqrt(distance.before);
        distance.after = Math.sqrt(distance.after);
        await writeFile(join(folder, ALIGNMENT_FILE), `${JSON.stringify({ ...report(), orders: orders() }, null, 1)}\n`);
      },
    );
    return { out, ...report(), warnings, orders: matched.orders, symmetries };
  } finally {
    await reader.close();
  }
}

interface Computed {
  /** B, its experts in their new places. */
  readonly b: Checkpoint;
  readonly symmetries: Symmetries;
  readonly matched: Matched;
  readonly singular?: SingularReport;
}

async function compute(request: AlignRequest, found: Symmetries): Promise<Computed> {
  const { a, seed = 0, signal, onProgress, gammas } = request;
  const pool = createPool({
    ...(request.threads === undefined ? {} : { threads: request.threads }),
    maxMemoryBytes: (request.memoryBytes ?? defaultMemoryBytes()) + ARENA_SLACK_BYTES,
  });
  const space = poolSpace(pool, signal);
  const reader = new TensorReader();
  try {
    const onLayer = (done: number, total: number, layer: string) => onProgress?.("match experts", done, total, "items", layer);
    const { b, symmetries, orders } =
      request.experts === true
        ? await matchExperts(a, request.b, found, { space, signal, reader, onLayer })
        : { b: request.b, symmetries: found, orders: new Map() };
    const matched = await matchWeights(a, b, symmetries, {
      space,
      seed,
      settled: orders,
      signal,
      onProgress: (done, total, group) => onProgress?.("match", done, total, "items", group),
    });
    if (gammas === undefined) return { b, symmetries, matched };
    const report = { space, signal, onTensor: (done: number, total: number, name: string) => onProgress?.("singular vectors", done, total, "items", name) };
    return { b, symmetries, matched, singular: await singularAlignment(a, b, symmetries.axes, matched.orders, gammas, report) };
  } finally {
    await reader.close();
    space.close();
    await pool.close();
  }
}

function checkAlike(a: Checkpoint, b: Checkpoint): void {
  const names = [...new Set([...a.tensors.keys(), ...b.tensors.keys()])];
  const shape = (model: Checkpoint, name: string) => model.tensors.get(name)?.shape.join(", ");
  const other = names.filter((name) => shape(a, name) !== shape(b, name));
  const [first] = other;
  if (first === undefined) return;
  const written = (model: Checkpoint) => (shape(model, first) === undefined ? "no such tensor" : `[${shape(model, first)}]`);
  throw inputError("align-models-differ", `the models differ in tensor ${first}${other.length > 1 ? ` and ${other.length - 1} more` : ""}`, {
    file: b.path,
    found: written(b),
    expected: `${written(a)}, as ${a.path} has it`,
    remedy: "align models of one architecture and vocabulary",
  });
}

async function readBytes({ file, offset, byteLength }: TensorEntry): Promise<Uint8Array> {
  const source = await openFile(file);
  try {
    return await source.read(offset, byteLength);
  } finally {
    await source.close();
  }
}

/** Adds the squared distances from A's tensor, as B is and as it becomes. */
async function addDistance(
  sums: { before: number; after: number },
  entry: TensorEntry,
  a: Checkpoint,
  reader: TensorReader,
  [rowOrder, columnOrder]: readonly (Int32Array | undefined)[],
): Promise<void> {
  const other = a.tensors.get(entry.name);
  if (other === undefined || !isFloat(entry.dtype) || !isFloat(other.dtype)) return;
  const [x, y] = [await reader.read(other), await reader.read(entry)];
  const rows = entry.shape[0] ?? 1;
  const columns = x.length / Math.max(1, rows);
  for (let i = 0; i < rows; i++) {
    const from = (rowOrder?.[i] ?? i) * columns;
    for (let j = 0; j < columns; j++) {
      const value = x[i * columns + j] as number;
      sums.before += (value - (y[i * columns + j] as number)) ** 2;
      sums.after += (value - (y[from + (columnOrder?.[j] ?? j)] as number)) ** 2;
    }
  }
}
