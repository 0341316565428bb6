// Rows for tokens that a model does not know, a batch at a time. Node only.
import { poolSpace } from "../compute/linalg/pool-space.ts";
import { createPool } from "../compute/pool.ts";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { narrowFromFloat32 } from "../formats/dtype-codecs.ts";
import type { FloatDType } from "../formats/dtypes.ts";
import { readTextCodec } from "../nn/tokenizer.ts";
import { ARENA_SLACK_BYTES } from "../run/memory.ts";
import { GramRows } from "./gram-rows.ts";
import { nearestCombination } from "./nearest.ts";
import { type Combination, matchingPursuit } from "./omp.ts";
import type { Party, TokenMatrix } from "./plan-transplant.ts";
import { readTokenRows } from "./read-rows.ts";
import type { TransplantSettings } from "./settings.ts";
import { textOf } from "./vocabulary.ts";

export interface NewRowsContext {
  readonly model: Party;
  readonly donor: Party;
  readonly settings: TransplantSettings;
  readonly memoryBytes: number;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onRows?: ((count: number) => void) | undefined;
}

/** New rows of a matrix as its stored bytes, in the order of `missing`. @throws WeightsmithError `transplant-nothing-shared`, `memory-budget`, `cancelled` */
export async function* newRows(matrix: TokenMatrix, context: NewRowsContext): AsyncGenerator<Uint8Array> {
  if (matrix.missing.length === 0) return;
  const dtype = matrix.own.dtype as FloatDType;
  const batches =
    context.settings.method === "omp" || context.settings.method === "common_interpolation" ? combined(matrix, context) : fromOwnRows(matrix, context);
  for await (const rows of batches) {
    context.onRows?.(rows.length / (matrix.own.shape[1] ?? 1));
    yield narrowFromFloat32(dtype, rows);
    await breathe(context.signal);
  }
}

/** Lets the event loop turn, so that Ctrl-C is heard. */
async function breathe(signal: AbortSignal | undefined): Promise<void> {
  await new Promise((resume) => setImmediate(resume));
  throwIfCancelled(signal);
}

/** What one batch may take for products and for the bases of its fits. */
const BATCH_BYTES = 64 * 2 ** 20;
const MAX_BATCH = 512;
/** Targets at a time for which there must be room, and most room for Gram rows. */
const MIN_BATCH = 4;
const MOST_GRAM_BYTES = 1.5 * 2 ** 30;

/** Found among the donor's rows of tokens that both know; the same combinations of the model's rows are the result. */
async function* combined(matrix: TokenMatrix, { model, donor, settings, memoryBytes, threads, signal }: NewRowsContext): AsyncGenerator<Float32Array> {
  const { own, donors, missing } = matrix;
  const shared = sharedTokens(matrix, model, donor);
  if (shared.length === 0) throw inputError("transplant-nothing-shared", "the two vocabularies have no token in common", { file: model.checkpoint.path });
  const [width = 0, ownWidth = 0] = [donors.shape[1], own.shape[1]];
  const k = Math.min(settings.k, shared.length);
  const most = Math.max(1, Math.min(MAX_BATCH, missing.length, Math.floor(BATCH_BYTES / Math.max(shared.length * 4, k * width * 8))));
  const least = Math.min(shared.length, MIN_BATCH * k);
  const fixed = shared.length * (width + ownWidth) * 4 + 4 * BATCH_BYTES;
  const needed = fixed + (settings.method === "omp" ? least * shared.length * 4 : 0);
  if (needed > memoryBytes)
    throw inputError("memory-budget", `the memory budget is too small for the ${shared.length} rows that both models have`, {
      file: model.checkpoint.path,
      found: `${memoryBytes} bytes`,
      expected: `at least ${needed}`,
      remedy: "raise --memory, or choose the method subword",
    });
  const pool = createPool({ ...(threads === undefined ? {} : { threads }), maxMemoryBytes: memoryBytes + ARENA_SLACK_BYTES });
  const space = poolSpace(pool, signal);
  try {
    const points = space.zeros(shared.length, width);
    const ids = (side: "own" | "donor") => shared.map((pair) => pair[side]);
    await readTokenRows(donors, ids("donor"), points.data, signal);
    const rows = new Float32Array(shared.length * ownWidth);
    await readTokenRows(own, ids("own"), rows, signal);
    // They lie with the points in a memory of 4 GiB.
    const room = Math.min(memoryBytes - fixed, MOST_GRAM_BYTES, 2 ** 32 - shared.length * width * 4 - 4 * BATCH_BYTES);
    const affordable = Math.floor(room / (shared.length * 4));
    const gram = settings.method === "omp" ? new GramRows(space, points, Math.max(least, affordable)) : undefined;
    // Every target needs the Gram rows of what it is made of, unless all are there.
    const batch = gram === undefined || gram.capacity === shared.length ? most : Math.min(most, Math.floor(gram.capacity / k));
    for (let first = 0; first < missing.length; first += batch) {
      const part = missing.slice(first, first + batch).map(({ id }) => id);
      const targets = space.zeros(part.length, width);
      await readTokenRows(donors, part, targets.data, signal);
      const found =
        gram !== undefined
          ? await matchingPursuit(space, targets, points, k, { gram, pause: () => breathe(signal) })
          : nearestCombination(space, targets, points, { ...settings, k });
      space.free(targets);
      yield combineRows(found, rows, ownWidth, k);
    }
  } finally {
    space.close();
    await pool.close();
  }
}

/** Numbers of the tokens that both know in either model, by the donor's. */
function sharedTokens({ own, donors }: TokenMatrix, model: Party, donor: Party): { own: number; donor: number }[] {
  const pairs = [...donor.vocabulary.ids].map(([form, id]) => ({ own: model.vocabulary.ids.get(form) ?? Number.POSITIVE_INFINITY, donor: id }));
  return pairs.filter((pair) => pair.own < (own.shape[0] ?? 0) && pair.donor < (donors.shape[0] ?? 0)).sort((a, b) => a.donor - b.donor);
}

function combineRows({ rows: chosen, weights }: Combination, rows: Float32Array, width: number, k: number): Float32Array {
  const out = new Float32Array((chosen.length / k) * width);
  const sum = new Float64Array(width);
  for (let b = 0; b < chosen.length / k; b++) {
    sum.fill(0);
    for (let i = b * k; i < (b + 1) * k; i++) {
      const [weight, from] = [weights[i] as number, (chosen[i] as number) * width];
      if (weight === 0) continue;
      for (let j = 0; j < width; j++) sum[j]! += weight * (rows[from + j] as number);
    }
    out.set(sum, b * width);
  }
  return out;
}

/** Needs the model alone: its rows of the token's text, their mean, or nothing. */
async function* fromOwnRows(matrix: TokenMatrix, { model, settings, memoryBytes, signal }: NewRowsContext): AsyncGenerator<Float32Array> {
  const { own, missing, kind } = matrix;
  const [count = 0, width = 0] = own.shape;
  const needed = count * width * 4;
  if (settings.method !== "zero" && needed > memoryBytes)
    throw inputError("memory-budget", `the memory budget is too small for tensor ${own.name}`, {
      file: own.file,
      found: `${memoryBytes} bytes`,
      expected: `at least ${needed}`,
      remedy: "raise --memory",
    });
  const rows = new Float32Array(settings.method === "zero" ? 0 : count * width);
  if (rows.length > 0) await readTokenRows(own, [...Array(count).keys()], rows, signal);
  const mean = meanRow(rows, width);
  const codec = settings.method === "subword" ? await readTextCodec(model.checkpoint.folder) : undefined;
  for (const { form } of missing) {
    const text = textOf(form);
    if (settings.method === "zero") yield new Float32Array(width);
    else if (codec === undefined || text === undefined) yield mean;
    else yield fromPieces(codec.encodeMore(text), rows, width, settings.subword, kind);
  }
}

function meanRow(rows: Float32Array, width: number): Float32Array {
  const sum = new Float64Array(width);
  for (let i = 0; i < rows.length; i++) sum[i % width]! += rows[i] as number;
  return Float32Array.from(sum, (x) => (x * width) / Math.max(1, rows.length));
}

/** An input row leans on the last piece, which the text ends with; a row of the head on the first, which comes next. */
function fromPieces(ids: readonly number[], rows: Float32Array, width: number, how: TransplantSettings["subword"], kind: TokenMatrix["kind"]): Float32Array {
  const n = ids.length;
  const place = (i: number): number => (kind === "embed" ? i + 1 : n - i);
  const weight = (i: number): number => (how === "weighted_mean" ? place(i) : how === "first_last" ? Number(place(i) === n) : 1);
  const total = how === "sum" ? 1 : ids.reduce((sum, _, i) => sum + weight(i), 0);
  const row = new Float64Array(width);
  for (const [i, id] of ids.entries()) for (let j = 0; j < width; j++) row[j]! += (weight(i) / total) * (rows[id * width + j] ?? 0);
  return Float32Array.from(row);
}
