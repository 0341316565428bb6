// The TensorEngine on the compute pool: formulas over the inputs of one output tensor, in tiles, within a memory budget.
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { DTYPE_BYTES, elementCount, type FloatDType } from "../formats/dtypes.ts";
import type { Keep, TensorEngine } from "./engine.ts";
import { type Expr, input as inputValue, type MagnitudeSelection, type Reduction } from "./expr.ts";
import { findParts, replaceParts } from "./formula-parts.ts";
import { joinPasses } from "./join-passes.ts";
import type { MatrixSpace } from "./linalg/matrix.ts";
import { poolSpace } from "./linalg/pool-space.ts";
import { divergencesOfRows, type LineContext, productsOfLines } from "./line-passes.ts";
import type { Axis } from "./lines.ts";
import { type Pass, type PassInput, type PassResult, paddedBytes, runPass } from "./passes.ts";
import type { ComputePool } from "./pool.ts";
import type { Sink } from "./program.ts";
import { BLOCK, joinBlocks } from "./reference.ts";
import { type RandomKey, randomKey } from "./rng.ts";
import type { PlainStore, RowPicks } from "./row-gather.ts";
import { BIN_KEYS, NO_KEY, selectByHistogram } from "./selection.ts";
import { replaceSides, sidesOf } from "./side-exprs.ts";
import { fillSides, keptMaskBytes, keptValueBytes, sideRange } from "./side-values.ts";
import { type KeptMask, type MaskPlan, planMasks } from "./tile-masks.ts";
import type { TileStore } from "./tiles.ts";

/** Elements of one tensor, row by row: in a file, in memory (`offset` then counts from the start of `bytes`), or picked from several tensors. */
export interface TensorPlace {
  readonly dtype: FloatDType;
  readonly offset?: number;
  readonly file?: string;
  readonly bytes?: Uint8Array;
  readonly picks?: RowPicks & { readonly sources: readonly TensorPlace[] };
}

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
  /** Gives back memory and files. */
  close(): void;
}

/** Small enough that a tile of each of a few inputs stays in the second-level cache; larger ones were measured slower. */
const DEFAULT_TILE_BYTES = 1 << 18;
/** Samples are taken in pieces that are worth a read, from all over the tensor. */
const SAMPLE_TILE = 4 * BLOCK;
const SAMPLE_SHARE = 16;
/** Enough for a narrow window, whatever the tensor's size. */
const SAMPLE_ELEMENTS = 2 ** 21;
/** Elements of a tile with masks: its values as float32 should stay in the second-level cache. */
const MASK_TILE = 1 << 15;
/** Where rows are so long that tiles would be larger, masks are worked out for ranges of rows instead. */
const MOST_MASK_TILE = 1 << 19;

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
  readonly #stores: readonly TileStore[];
  readonly #files: { readonly file: string; readonly writable: boolean }[] = [];
  /** Addresses of inputs kept in memory between passes, and how many elements of each, from the first on, are there. */
  #residents: readonly number[] = [];
  readonly #filled: number[];
  /** Values that a later pass will use again; each is one more input, behind the tensor's own. */
  readonly #keptValues: { readonly node: Expr; readonly address: number; isFilled: boolean }[] = [];
  /** Draws that a later pass will use again, and where they are kept. */
  readonly #keptMasks = new Map<Expr, KeptMask>();

  constructor(pool: ComputePool, task: TensorTask) {
    this.shape = task.shape;
    this.size = elementCount(task.shape);
    this.inputCount = task.inputs.length;
    this.#pool = pool;
    this.#task = task;
    this.#key = randomKey(task.seed, task.name);
    this.#filled = task.inputs.map(() => 0);
    this.#tile = chooseTile(task, this.size, pool.threads);
    this.#stores = task.inputs.map((input) => this.#store(input));
  }

  async reduce(reductions: readonly Reduction[]): Promise<number[]> {
    return (await this.survey(reductions, [])).results;
  }

  async survey(reductions: readonly Reduction[], counted: readonly Expr[]): Promise<{ results: number[]; counts: Float64Array[] }> {
    const { results, counts } = await this.#survey(reductions, counted, []);
    return { results, counts };
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
      const placeOf = (x: Expr): number => sinks.findIndex((sink) => sink.kind === "histogramHigh" && sink.x === x);
      const { gathered, ...rest } = await this.#survey(
        reductions,
        counted.filter((x) => placeOf(x) < 0),
        sinks,
      );
      surveyed = { ...rest, counts: counted.map((x) => gathered[placeOf(x)] ?? (rest.counts.shift() as Float64Array)) };
      return gathered;
    };
    // Values of rows and columns are worked out in ranges, not in samples.
    const canSample = sidesOf(items.map(({ x }) => ({ kind: "histogramHigh", x }))).length === 0;
    const sample = canSample ? async (sinks: readonly Sink[]) => (await this.#sample(sinks)).gathered : undefined;
    const passes = { size: this.size, memoryBytes, threads: this.#pool.threads, run, sample, values: this.values.bind(this) };
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
    const store = bytes === undefined ? this.#open(file as string, offset, true) : { bytes };
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

  /** Room for values on their way to the caller. Only workers need shared memory, which is used again: the garbage collector is slow to take it back. */
  async #scratch(elements: number, use: (values: Float32Array) => Promise<void>): Promise<void> {
    if (elements <= this.#tile) return use(new Float32Array(elements));
    const free = scratchOf(this.#pool);
    const buffer = free.pop() ?? new SharedArrayBuffer(SCRATCH_ELEMENTS * 4);
    try {
      await use(new Float32Array(buffer, 0, elements));
    } finally {
      free.push(buffer);
    }
  }

  close(): void {
    for (const { address } of [...this.#keptMasks.values(), ...this.#keptValues]) this.#pool.arena.free(address);
    for (const address of this.#residents) this.#pool.arena.free(address);
    this.#keptMasks.clear();
    this.#keptValues.length = 0;
    for (const { file, writable } of this.#files) this.#pool.files.release(file, writable);
    this.#residents = [];
    this.#files.length = 0;
  }

  async #statistics(sinks: readonly Sink[]): Promise<PassResult> {
    this.#reserveValues(findParts(sinks, isKept));
    const fresh = this.#keptValues.filter(({ isFilled }) => !isFilled);
    const keeps = fresh.map((value): Sink => ({ kind: "keep", x: value.node, slot: this.inputCount + this.#keptValues.indexOf(value) }));
    const result = await this.#run([...sinks, ...keeps], undefined, 0, this.size, true);
    for (const value of fresh) value.isFilled = true;
    return result;
  }

  #reserveValues(nodes: readonly Expr[]): void {
    const fresh = nodes.filter((node) => this.#keptValues.every((value) => value.node !== node));
    const bytes = keptValueBytes(this.#keptValues.length + fresh.length, this.size, this.#task.memoryBytes);
    if (bytes === 0 || this.#pool.gpu?.elementwise === true) return;
    for (const node of fresh) this.#keptValues.push({ node, address: this.#pool.arena.alloc(paddedBytes(this.size * 4)), isFilled: false });
  }

  /** The same sinks with what is kept as an input. */
  #withKept(sinks: readonly Sink[]): readonly Sink[] {
    if (this.#keptValues.every(({ isFilled }) => !isFilled)) return sinks;
    return replaceParts(sinks, (x) => {
      const at = this.#keptValues.findIndex(({ node, isFilled }) => node === x && isFilled);
      return at < 0 ? undefined : inputValue(this.inputCount + at);
    });
  }

  /** The tensor's inputs and what is kept. */
  get #slots(): number {
    return this.inputCount + this.#keptValues.length;
  }

  /** A pass over one part in sixteen, of large tensors over fewer. What it reads is not counted: the plan knows whole passes only. */
  #sample(sinks: readonly Sink[]): Promise<PassResult> {
    const inputs = this.#task.inputs.map(({ dtype }, i) => this.#passInput(dtype, i, 0, this.size, false));
    const tile = Math.min(this.#tile, SAMPLE_TILE);
    const share = Math.max(SAMPLE_SHARE, Math.floor(this.size / SAMPLE_ELEMENTS));
    return runPass(this.#pool, { sinks, inputs, key: this.#key, first: 0, end: this.size, tile, stride: tile * share, signal: this.#task.signal });
  }

  /** Room for every input, if that is at most half of the budget. */
  #reserve(): number[] {
    const sizes = this.#task.inputs.map((input) => this.size * DTYPE_BYTES[input.dtype]);
    const total = sizes.reduce((sum, bytes) => sum + bytes, 0);
    return total <= this.#task.memoryBytes / 2 ? sizes.map((bytes) => this.#pool.arena.alloc(paddedBytes(bytes))) : [];
  }

  /** With `keeps` a later pass will follow: what it reads stays in memory if all inputs fit. */
  async #run(formulas: readonly Sink[], output: Output | undefined, first: number, end: number, keeps = false): Promise<PassResult> {
    const sinks = this.#withKept(formulas);
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
    const tile = Math.ceil(MASK_TILE / plan.unit) * plan.unit;
    const bytes = Math.min(tile, this.size) * (elementBytes(this.#task) + 4 * vectors) * this.#pool.threads;
    return Math.min(tile, this.size) > MOST_MASK_TILE || bytes > this.#task.memoryBytes / 4 ? undefined : { ...plan, tile };
  }

  async #passWithMasks(
    plan: MaskPlan & { readonly tile: number },
    output: Output | undefined,
    first: number,
    end: number,
    keeps: boolean,
  ): Promise<PassResult> {
    const draws = plan.masks.flatMap(({ draw }) => draw ?? []);
    if (keeps && first === 0 && end === this.size) this.#reserveMasks(draws);
    const masks = plan.masks.map((mask) => ({ ...mask, kept: mask.draw && this.#keptMasks.get(mask.draw) }));
    const result = await this.#pass(plan.sinks, output, first, end, [], keeps, { masks, tile: plan.tile });
    for (const draw of draws) {
      const kept = this.#keptMasks.get(draw);
      if (kept !== undefined) this.#keptMasks.set(draw, { ...kept, isFilled: true });
    }
    return result;
  }

  #reserveMasks(draws: readonly Expr[]): void {
    const fresh = draws.filter((draw) => !this.#keptMasks.has(draw));
    const one = keptMaskBytes(1, this.size, this.#task.memoryBytes);
    if (keptMaskBytes(this.#keptMasks.size + fresh.length, this.size, this.#task.memoryBytes) === 0) return;
    for (const draw of fresh) this.#keptMasks.set(draw, { address: this.#pool.arena.alloc(one), isFilled: false });
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
    if (keeps && this.#residents.length === 0) this.#residents = this.#reserve();
    const kept = this.#keptValues.map(({ address }) => ({ ...KEPT, resident: address }));
    const inputs = [...this.#task.inputs.map(({ dtype }, i) => this.#passInput(dtype, i, first, end, keeps)), ...kept, ...sides];
    const result = await runPass(this.#pool, { sinks, inputs, key: this.#key, first, end, ...tiles, output, signal, onBytes });
    for (const i of result.used) if (inputs[i]?.resident !== undefined && i < this.#filled.length) this.#filled[i] = Math.max(this.#filled[i] as number, end);
    return result;
  }

  /** A resident copy grows from its start; the others read the file where there is none yet. */
  #passInput(dtype: FloatDType, index: number, first: number, end: number, keeps: boolean): PassInput {
    const filled = this.#filled[index] as number;
    const isThere = end <= filled;
    const resident = isThere || (keeps && first <= filled) ? this.#residents[index] : undefined;
    return { dtype, store: this.#stores[index] as TileStore, resident, load: !isThere };
  }

  #store({ picks, ...place }: TensorPlace): TileStore {
    if (picks === undefined) return this.#plain(place, this.size * DTYPE_BYTES[place.dtype]);
    return { gather: { ...picks, sources: picks.sources.map((source) => ({ dtype: source.dtype, store: this.#plain(source) })) } };
  }

  #plain({ bytes, file, offset = 0 }: TensorPlace, byteLength?: number): PlainStore {
    if (bytes === undefined) return this.#open(file ?? "", offset, false);
    const own = bytes.subarray(offset, byteLength === undefined ? undefined : offset + byteLength);
    return { bytes: this.#pool.threads > 1 && this.size > this.#tile ? toShared(own) : own };
  }

  #open(file: string, offset: number, writable: boolean): PlainStore {
    const fd = this.#pool.files.acquire(file, writable);
    this.#files.push({ file, writable });
    return { file, fd, offset };
  }
}

/** Elements of a formula that are worked out at a time for a caller; whole blocks. */
const SCRATCH_ELEMENTS = 2 ** 20;

const scratchByPool = new WeakMap<ComputePool, SharedArrayBuffer[]>();

/** Buffers of `SCRATCH_ELEMENTS` values that nobody uses at the moment. */
function scratchOf(pool: ComputePool): SharedArrayBuffer[] {
  const known = scratchByPool.get(pool) ?? [];
  scratchByPool.set(pool, known);
  return known;
}

type Kept = Extract<Expr, { readonly op: "kept" }>;
const isKept = (x: Expr): x is Kept => x.op === "kept";
/** Kept values as an input, but for where they are. They are never loaded. */
const KEPT = { dtype: "F32", store: { bytes: new Uint8Array(0) }, load: false } as const;

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

function toShared(bytes: Uint8Array): Uint8Array {
  if (bytes.buffer instanceof SharedArrayBuffer) return bytes;
  const shared = sharedBytes(bytes.byteLength);
  shared.set(bytes);
  return shared;
}

/** Bytes of an element of all inputs and the output. */
const elementBytes = ({ inputs, output }: TensorTask): number =>
  inputs.reduce((sum, { dtype }) => sum + DTYPE_BYTES[dtype], DTYPE_BYTES[output.dtype] as number);

/** Elements per tile: the wanted size, halved until the tiles of all threads take at most a quarter of the budget. */
function chooseTile(task: TensorTask, size: number, threads: number): number {
  const widths: readonly number[] = task.inputs.map((input) => DTYPE_BYTES[input.dtype]);
  const perElement = elementBytes(task);
  const wanted = Math.floor((task.tileBytes ?? DEFAULT_TILE_BYTES) / Math.max(1, ...widths) / BLOCK) * BLOCK;
  let tile = Math.max(BLOCK, wanted);
  const fits = (): boolean => paddedBytes(Math.min(tile, size) * perElement) * threads <= task.memoryBytes / 4;
  while (tile > BLOCK && !fits()) tile = Math.max(BLOCK, Math.floor(tile / 2 / BLOCK) * BLOCK);
  if (fits()) return tile;
  throw inputError("memory-budget", `the memory budget is too small for tensor ${task.name} with ${task.inputs.length} inputs`, {
    found: `${task.memoryBytes} bytes`,
    expected: `at least ${4 * threads * paddedBytes(BLOCK * perElement)}`,
    remedy: "raise the memory budget or use fewer threads",
  });
}
