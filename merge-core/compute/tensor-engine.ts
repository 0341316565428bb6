// The TensorEngine on the compute pool: formulas over the inputs of one output tensor, in tiles, within a memory budget.
import { throwIfCancelled } from "../diagnostics.ts";
import { DTYPE_BYTES, elementCount, type FloatDType } from "../formats/dtypes.ts";
import { BIN_KEYS, splitBoth } from "./both-histograms.ts";
import type { Keep, TensorEngine } from "./engine.ts";
import { type Expr, input as inputValue, type MagnitudeSelection, type Reduction } from "./expr.ts";
import { findParts } from "./formula-parts.ts";
import { joinPasses } from "./join-passes.ts";
import { KeptMasks, KeptValues } from "./kept.ts";
import type { MatrixSpace } from "./linalg/matrix.ts";
import { poolSpace } from "./linalg/pool-space.ts";
import { divergencesOfRows, type LineContext, productsOfLines } from "./line-passes.ts";
import type { Axis } from "./lines.ts";
import { type Pass, type PassInput, type PassResult, runPass } from "./passes.ts";
import type { ComputePool } from "./pool.ts";
import type { Sink } from "./program.ts";
import { BLOCK, joinBlocks } from "./reference.ts";
import { type RandomKey, randomKey } from "./rng.ts";
import type { PlainStore } from "./row-gather.ts";
import { SCRATCH_ELEMENTS, withScratch } from "./scratch-values.ts";
import { NO_KEY, selectByHistogram } from "./selection.ts";
import { isSide, replaceSides, sidesOf } from "./side-exprs.ts";
import { fillSides, sideRange } from "./side-values.ts";
import { countsFromHistogram, patternNumber, type SignedVectors } from "./sign-patterns.ts";
import { TensorInputs, type TensorPlace } from "./tensor-inputs.ts";
import { isMask, type MaskPlan, planMasks } from "./tile-masks.ts";
import { chooseMaskTile, chooseTile, readAheadBelow } from "./tile-size.ts";

export interface TensorTask {
  /** Output tensor name: part of the key of its random numbers. */
  readonly name: string;
  readonly shape: readonly number[];
  /** An integer in [0, 2^53). */
  readonly seed: number;
  readonly inputs: readonly TensorPlace[];
  /**
   * With a file, elements are written at `offset` (the file is made if missing, never truncated); else `write` returns the bytes:
   * those given, or new ones. Given ones may be an input's of the same width, whose elements are then replaced.
   */
  readonly output: { readonly dtype: FloatDType; readonly file?: string; readonly offset?: number; readonly bytes?: Uint8Array<SharedArrayBuffer> | undefined };
  /** What this tensor may use of the shared memory. */
  readonly memoryBytes: number;
  /** Bytes of one tile of the widest input; rounded down to whole blocks of 4096 elements. */
  readonly tileBytes?: number | undefined;
  /** Files that give fewer bytes per millisecond are read while tiles are computed; from others that would take longer. */
  readonly deviceBytesPerMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called now and then with the bytes read and written since the last call. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

export interface WriteResult {
  /** Stored elements that are infinite or NaN. */
  readonly nonFinite: number;
  /** The encoded tensor, if the output is not a file. */
  readonly bytes?: Uint8Array;
}

export interface OpenTensor extends TensorEngine {
  /**
   * Computes and stores every element. @throws WeightsmithError `file-read`, `file-write`, `read-short`, `cancelled`.
   */
  write(expr: Expr): Promise<WriteResult>;
  /** Every element as float32, in memory. */
  values(expr: Expr, first?: number, end?: number): Promise<Float32Array>;
  /**
   * Brings inputs from files to memory, if there is room, so that no pass waits for them; the pool may work on other tensors meanwhile. To
   * be awaited before the first pass, and before closing. @throws WeightsmithError `file-read`, `read-short`, `cancelled`
   */
  load(): Promise<void>;
  /** Gives back memory and files. */
  close(): void;
}

/** Parts that no pass works out with the others. */
const isMadeBefore = (x: Expr): x is Expr => isSide(x) || isMask(x);

/** Samples are taken in pieces that are worth a read, from all over the tensor. */
const SAMPLE_TILE = 2 * BLOCK;
const SAMPLE_SHARE = 16;
/** Enough for a narrow window, whatever the tensor's size. */
const SAMPLE_ELEMENTS = 2 ** 20;
/** @throws WeightsmithError `file-open`, `memory-budget`. */
export function openTensorEngine(pool: ComputePool, task: TensorTask): OpenTensor {
  throwIfCancelled(task.signal);
  return new PoolTensorEngine(pool, task);
}

class PoolTensorEngine implements OpenTensor {
  readonly shape: readonly number[];
  readonly size: number;
  readonly inputCount: number;
  readonly #pool: ComputePool;
  readonly #task: TensorTask;
  readonly #key: RandomKey;
  readonly #tile: number;
  readonly #inputs: TensorInputs;
  /** Values that a later pass will use again; they are inputs behind the tensor's own. */
  readonly #values: KeptValues;
  /** Draws that a later pass will use again. */
  readonly #masks: KeptMasks;

  constructor(pool: ComputePool, task: TensorTask) {
    this.shape = task.shape;
    this.size = elementCount(task.shape);
    this.inputCount = task.inputs.length;
    this.#pool = pool;
    this.#task = task;
    this.#key = randomKey(task.seed, task.name);
    this.#tile = chooseTile(task, this.size, pool.threads);
    const kept = { arena: pool.arena, size: this.size, memoryBytes: task.memoryBytes };
    this.#values = new KeptValues(kept, this.inputCount);
    this.#masks = new KeptMasks(kept);
    this.#inputs = new TensorInputs(pool, { ...task, size: this.size, isShared: pool.threads > 1 && this.size > this.#tile });
  }

  async reduce(reductions: readonly Reduction[]): Promise<number[]> {
    return (await this.survey(reductions, [])).results;
  }

  async survey(reductions: readonly Reduction[], counted: readonly Expr[], signed: readonly SignedVectors[] = []) {
    // A GPU has no bits to count, but can write down the pattern's number.
    const asNumbers = this.#pool.gpu?.elementwise === true;
    const sinks = signed.map((vectors): Sink => (asNumbers ? { kind: "histogramHigh", x: patternNumber(vectors) } : { kind: "patterns", vectors }));
    const { results, counts, gathered } = await this.#survey(reductions, counted, sinks);
    const patterns = asNumbers ? signed.map((vectors, i) => countsFromHistogram(vectors, gathered[i] as Float64Array)) : gathered;
    return { results, counts, patterns };
  }

  /** What other sinks gather is given back as it is. */
  async #survey(reductions: readonly Reduction[], counted: readonly Expr[], others: readonly Sink[]) {
    const { gathered } = await this.#statistics([
      ...others,
      ...reductions.map((reduction): Sink => ({ kind: "reduce", reduction })),
      ...counted.map((x): Sink => ({ kind: "histogramHigh", x })),
    ]);
    const [first, end] = [others.length, others.length + reductions.length];
    const results = reductions.map(({ op }, i) => joinBlocks(op, gathered[first + i] ?? []));
    return { results, counts: gathered.slice(end, end + counted.length), gathered: gathered.slice(0, first) };
  }

  async selectLargest(items: readonly Keep[]): Promise<MagnitudeSelection[]> {
    return (await this.selectAndSurvey(items, [])).selections;
  }

  async selectAndSurvey(items: readonly Keep[], reductions: readonly Reduction[], counted: readonly Expr[] = []) {
    const { memoryBytes } = this.#task;
    // What else is wanted goes along with the first pass over all elements, which may count some of it anyway.
    let surveyed: { results: number[]; counts: Float64Array[] } | undefined;
    const run = async (sinks: readonly Sink[]): Promise<readonly Float64Array[]> => {
      if (surveyed !== undefined) return (await this.#statistics(sinks)).gathered;
      const placeOf = (x: Expr): number => sinks.findIndex((sink) => (sink.kind === "histogramHigh" || sink.kind === "histogramBoth") && sink.x === x);
      const { gathered, ...rest } = await this.#survey(
        reductions,
        counted.filter((x) => placeOf(x) < 0),
        sinks,
      );
      const countsOf = (x: Expr): Float64Array => {
        const [sink, found] = [sinks[placeOf(x)], gathered[placeOf(x)]];
        if (sink === undefined || found === undefined) return rest.counts.shift() as Float64Array;
        return sink.kind === "histogramBoth" ? splitBoth(sink, found).counts : found;
      };
      surveyed = { ...rest, counts: counted.map(countsOf) };
      return gathered;
    };
    // Values of rows and columns are worked out in ranges, not in samples.
    const canSample = sidesOf(items.map(({ x }) => ({ kind: "histogramHigh", x }))).length === 0;
    const sample = canSample ? async (sinks: readonly Sink[]) => (await this.#sample(sinks)).gathered : undefined;
    const isCounted = (x: Expr): boolean => surveyed === undefined && counted.includes(x);
    const countsAlong = counted.length > 0 && this.#pool.gpu?.elementwise !== true ? { isCounted } : {};
    const passes = { size: this.size, memoryBytes, threads: this.#pool.threads, run, sample, values: this.values.bind(this), ...countsAlong };
    const selections = await selectByHistogram(items, passes);
    if (surveyed === undefined && reductions.length + counted.length > 0) await run([]);
    return { selections, ...(surveyed ?? { results: [], counts: [] }) };
  }

  async magnitudeCounts(xs: readonly Expr[], bins?: readonly number[]): Promise<Float64Array[]> {
    if (bins !== undefined) {
      const { gathered } = await this.#statistics(
        xs.map((x, i) => ({ kind: "histogramWindow", x, low: (bins[i] ?? 0) * BIN_KEYS, width: BIN_KEYS, guess: NO_KEY })),
      );
      return gathered.map((table) => table.slice(1));
    }
    return (await this.survey([], xs)).counts;
  }

  lineProducts(xs: readonly Expr[], axis: Axis): Promise<Float64Array[]> {
    return productsOfLines(this.#lineContext(), xs, axis);
  }

  rowDivergences(a: Expr, b: Expr): Promise<Float64Array> {
    return divergencesOfRows(this.#lineContext(), a, b);
  }

  #lineContext(): LineContext {
    return { pool: this.#pool, columns: this.shape.at(-1) ?? 1, size: this.size, memoryBytes: this.#task.memoryBytes, store: this.#storeAt.bind(this) };
  }

  async withMatrices<T>(use: (space: MatrixSpace) => T | Promise<T>): Promise<T> {
    const space = poolSpace(this.#pool, this.#task.signal);
    try {
      return await use(space);
    } finally {
      space.close();
    }
  }

  async write(expr: Expr): Promise<WriteResult> {
    const { dtype, file, offset = 0, bytes: given } = this.#task.output;
    const bytes = file === undefined ? (given ?? sharedBytes(this.size * DTYPE_BYTES[dtype])) : undefined;
    const store = bytes === undefined ? this.#inputs.open(file as string, offset, true) : { bytes };
    const { nonFinite } = await this.#run([{ kind: "store", x: expr, dtype }], { dtype, store }, 0, this.size);
    return bytes === undefined ? { nonFinite } : { nonFinite, bytes };
  }

  async values(expr: Expr, first = 0, end = this.size): Promise<Float32Array> {
    const result = new Float32Array(end - first);
    for (let start = first - (first % BLOCK); start < end; start += SCRATCH_ELEMENTS) {
      const stop = Math.min(end, start + SCRATCH_ELEMENTS);
      const skipped = Math.max(0, first - start);
      await this.#scratch(stop - start, async (values) => {
        const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
        await this.#run([{ kind: "store", x: expr, dtype: "F32" }], { dtype: "F32", store: { bytes } }, start, stop);
        result.set(values.subarray(skipped), start + skipped - first);
      });
    }
    return result;
  }

  /** Room for values; only workers need what is shared. */
  #scratch(elements: number, use: (values: Float32Array) => Promise<void>): Promise<void> {
    return elements <= this.#tile ? use(new Float32Array(elements)) : withScratch(this.#pool, elements, use);
  }

  load(): Promise<void> {
    // A GPU reads files itself.
    if (this.#pool.gpu?.elementwise === true) return Promise.resolve();
    return this.#inputs.load(this.#task.signal, (bytes) => this.#task.onBytes?.(bytes));
  }

  close(): void {
    for (const kept of [this.#values, this.#masks]) kept.free();
    this.#inputs.close();
  }

  async #statistics(sinks: readonly Sink[]): Promise<PassResult> {
    const keeps = this.#pool.gpu?.elementwise === true ? [] : this.#values.reserve(sinks);
    const result = await this.#run([...sinks, ...keeps], undefined, 0, this.size, true);
    this.#values.fill();
    return result;
  }

  /** The tensor's inputs and what is kept. */
  get #slots(): number {
    return this.inputCount + this.#values.count;
  }

  /** A pass over one part in sixteen, of large tensors over fewer. What it reads is not counted: the plan knows whole passes only. */
  #sample(sinks: readonly Sink[]): Promise<PassResult> {
    const inputs = this.#inputs.forPass(0, this.size, false);
    const tile = Math.min(this.#tile, SAMPLE_TILE);
    const share = Math.max(SAMPLE_SHARE, Math.floor(this.size / SAMPLE_ELEMENTS));
    const range = { first: 0, end: this.size, tile, stride: tile * share, aheadBelow: readAheadBelow(this.#task, tile, this.size, this.#pool.threads) };
    return runPass(this.#pool, { sinks, inputs, key: this.#key, ...range, signal: this.#task.signal });
  }

  /** With `keeps` a later pass will follow: what it reads stays in memory if all inputs fit. */
  async #run(formulas: readonly Sink[], output: Output | undefined, first: number, end: number, keeps = false): Promise<PassResult> {
    const sinks = this.#values.use(formulas);
    if (findParts(sinks, isMadeBefore).length === 0) return this.#pass(sinks, output, first, end, [], keeps);
    const plan = this.#maskPlan(sinks, first, end);
    if (plan !== undefined) return this.#passWithMasks(plan, output, first, end, keeps);
    const sides = sidesOf(sinks);
    if (sides.length === 0) return this.#pass(sinks, output, first, end, [], keeps);
    const replaced = replaceSides(sinks, (side) => inputValue(this.#slots + sides.indexOf(side)));
    const results: PassResult[] = [];
    const step = Math.min(end - first, sideRange(this.#task.memoryBytes, sides.length));
    const columns = this.shape.at(-1) ?? 1;
    const context = { pool: this.#pool, columns, size: this.size, store: this.#storeAt.bind(this) };
    for (let start = first; start < end; start += step) {
      const stop = Math.min(end, start + step);
      const filled = await fillSides(sides, start, stop, context);
      try {
        const inputs = filled.origins.map((origin) => this.#sideInput(origin, start, stop));
        results.push(await this.#pass(replaced, output && outputFrom(output, start - first), start, stop, inputs, keeps));
      } finally {
        filled.free();
      }
    }
    return joinPasses(sinks, results, this.inputCount);
  }

  /** Masks that threads work out for their tiles, if tiles of whole rows and blocks are small enough. */
  #maskPlan(sinks: readonly Sink[], first: number, end: number): (MaskPlan & { readonly tile: number }) | undefined {
    if (this.#pool.gpu?.elementwise === true) return undefined;
    const plan = planMasks(sinks, { inputCount: this.#slots, columns: this.shape.at(-1) ?? 1, key: this.#key });
    if (plan === undefined || first % plan.unit !== 0 || (end !== this.size && end % plan.unit !== 0)) return undefined;
    const vectors = plan.masks.reduce((sum, mask) => sum + mask.vectors.length, 0);
    if (vectors === 0) return { ...plan, tile: this.#tile };
    const tile = chooseMaskTile(this.#task, this.size, this.#pool.threads, plan.unit, vectors);
    return tile === undefined ? undefined : { ...plan, tile };
  }

  async #passWithMasks(
    { masks, sinks, tile }: MaskPlan & { readonly tile: number },
    output: Output | undefined,
    first: number,
    end: number,
    keeps: boolean,
  ): Promise<PassResult> {
    const isWhole = keeps && first === 0 && end === this.size;
    if (isWhole) this.#masks.reserve(masks.flatMap(({ draw }) => draw ?? []));
    const kept = masks.map((mask) => ({ ...mask, kept: mask.draw && this.#masks.get(mask.draw) }));
    const result = await this.#pass(sinks, output, first, end, [], keeps, { masks: kept, tile });
    if (isWhole) this.#masks.fill(masks.flatMap(({ draw }) => draw ?? []));
    return result;
  }

  /** Side values as one more input: they are in the shared memory, where kernels read them. */
  #sideInput(origin: number, first: number, end: number): PassInput {
    const bytes = new Uint8Array(this.#pool.memory.buffer, origin + first * 4, (end - first) * 4);
    return { dtype: "F32", store: { bytes, first: first * 4 }, resident: origin, load: false };
  }

  /** Writes elements of a formula to the shared memory. */
  async #storeAt(x: Expr, first: number, end: number, address: number): Promise<void> {
    const bytes = new Uint8Array(this.#pool.memory.buffer, address, (end - first) * 4);
    await this.#run([{ kind: "store", x, dtype: "F32" }], { dtype: "F32", store: { bytes } }, first, end, true);
  }

  async #pass(
    sinks: readonly Sink[],
    output: Output | undefined,
    first: number,
    end: number,
    sides: readonly PassInput[],
    keeps: boolean,
    tiles: Pick<Pass, "masks" | "tile"> = { tile: this.#tile },
  ): Promise<PassResult> {
    const { signal, onBytes } = this.#task;
    const inputs = [...this.#inputs.forPass(first, end, keeps), ...this.#values.inputs, ...sides];
    const vectors = tiles.masks?.reduce((sum, mask) => sum + mask.vectors.length, 0);
    const aheadBelow = readAheadBelow(this.#task, tiles.tile, end - first, this.#pool.threads, vectors);
    const result = await runPass(this.#pool, { sinks, inputs, key: this.#key, first, end, ...tiles, aheadBelow, output, signal, onBytes });
    this.#inputs.noteRead(result.used, inputs, end);
    return result;
  }
}

interface Output {
  readonly dtype: FloatDType;
  readonly store: PlainStore;
}

/** Output in memory begins with the pass's first element; output in a file has its place there. */
function outputFrom({ dtype, store }: Output, skipped: number): Output {
  return { dtype, store: "bytes" in store ? { bytes: store.bytes.subarray(skipped * DTYPE_BYTES[dtype]) } : store };
}

function sharedBytes(length: number): Uint8Array<SharedArrayBuffer> {
  return new Uint8Array(new SharedArrayBuffer(length));
}
