// One pass over a tensor's inputs: compile, place in memory, run on the pool, collect what the sinks gathered.
import { throwIfCancelled } from "../diagnostics.ts";
import { DTYPE_BYTES, type FloatDType } from "../formats/dtypes.ts";
import { addTable, type BothHistograms, countsLength, HIGH_BINS, splitBoth, tableWords } from "./both-histograms.ts";
import { codeOf } from "./code-cache.ts";
import { compileProgram } from "./compile.ts";
import type { GpuEngine } from "./gpu/engine.ts";
import { programBytes } from "./layout.ts";
import { linkProgram } from "./link.ts";
import type { ComputePool } from "./pool.ts";
import type { InputType, Program, Sink } from "./program.ts";
import { BLOCK } from "./reference.ts";
import type { RandomKey } from "./rng.ts";
import type { PlainStore, TileStore } from "./row-gather.ts";
import { countsLength as countsOfSigns } from "./sign-patterns.ts";
import { createControl, TILES_DONE, type TileInput, type TileJob, type TilePart, type TileResult } from "./tile-job.ts";
import { type MaskJob, type MaskPart, maskScratchBytes, type TileMask, typesOfMask } from "./tile-masks.ts";

/** Kernels read and write up to this much past the end of a buffer. */
const PADDING_BYTES = 64;
/** A window's table starts with four words, of which the first counts the keys above it; its width is a multiple of four. */
const WINDOW_HEAD = 4;
/** Counters, then bits of five vectors for a chunk; see kernels/patterns.ts. */
const PATTERNS_BYTES = 1024 + 5 * 256;

export interface PassInput {
  readonly dtype: FloatDType;
  readonly store: TileStore;
  readonly resident?: number | undefined;
  readonly load: boolean;
}

export interface Pass {
  readonly sinks: readonly Sink[];
  readonly inputs: readonly PassInput[];
  /** They are the inputs that follow, in this order. */
  readonly masks?: readonly TileMask[] | undefined;
  readonly key: RandomKey;
  readonly first: number;
  readonly end: number;
  /** Elements per tile, a multiple of 4096. */
  readonly tile: number;
  /** Elements between the starts of tiles, if not all are to be visited. */
  readonly stride?: number | undefined;
  /**
   * Files that give fewer bytes per millisecond than this are read a tile ahead while another is computed. Undefined where memory has no room
   * for two tiles.
   */
  readonly aheadBelow?: number | undefined;
  readonly output?: { readonly dtype: FloatDType; readonly store: PlainStore } | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

export interface PassResult {
  /** The inputs that the pass read. */
  readonly used: readonly number[];
  readonly nonFinite: number;
  /** By sink: block results of a reduction in block order, or the counts of a histogram (a window's after the count above it). */
  readonly gathered: readonly Float64Array[];
}

export const paddedBytes = (bytes: number): number => Math.ceil((bytes + PADDING_BYTES) / 64) * 64;

/** Runs a pass; its memory is returned whatever happens. */
export async function runPass(pool: ComputePool, pass: Pass): Promise<PassResult> {
  const inline = pass.end - pass.first <= pass.tile;
  const threads = inline ? 1 : pool.threads;
  const programs = compile(pass);
  const elsewhere = pool.gpu?.elementwise === true ? await passOnGpu(pool.gpu, pass, programs.main) : undefined;
  if (elsewhere !== undefined) return elsewhere;
  const layout = new Layout(pass, programs, threads, maskScratchBytes(pool.context, pass.masks ?? []));
  const base = pool.arena.alloc(layout.bytes);
  try {
    const job = place(pool.memory, pass, programs, layout, base);
    const results = await withProgress(pass, job, () => pool.run(job, { signal: pass.signal, inline }));
    const nonFinite = results.reduce((sum, result) => sum + result.nonFinite, 0);
    return { used: programs.inputs, nonFinite, gathered: pass.sinks.map((_, i) => gather(pool.memory, pass, layout, base, i)) };
  } finally {
    pool.arena.free(base);
  }
}

/** The program of a pass and those of its masks, which are needed unless the masks are kept. */
interface Programs {
  readonly main: Program;
  /** By mask, by vector. */
  readonly masks: readonly (readonly Program[])[];
  /** The tensor's own inputs that any of them reads. */
  readonly inputs: readonly number[];
}

function compile({ sinks, inputs, masks = [], key }: Pass): Programs {
  const types: InputType[] = [...inputs.map(({ dtype }) => dtype), ...masks.flatMap(typesOfMask)];
  const main = compileProgram(sinks, types, key);
  const ofMasks = masks.map(({ vectors, kept }) =>
    kept?.isFilled ? [] : vectors.map((x) => compileProgram([{ kind: "store", x, dtype: "F32" }], types, key)),
  );
  const used = new Set([
    ...[main, ...ofMasks.flat()].flatMap((program) => program.inputs),
    ...sinks.flatMap((sink) => (sink.kind === "keep" ? sink.slot : [])),
  ]);
  return { main, masks: ofMasks, inputs: inputs.flatMap((_, slot) => (used.has(slot) ? [slot] : [])) };
}

/** Below this many elements a pass is over before a GPU has its inputs. */
const LEAST_ON_GPU = 2 ** 18;

/** The pass on a GPU that takes formulas; undefined if it cannot. What a GPU reads stays in no memory of ours. */
async function passOnGpu(gpu: GpuEngine, pass: Pass, program: Program): Promise<PassResult | undefined> {
  const { first, end, output, stride, signal, onBytes } = pass;
  const isShared = output === undefined || "file" in output.store || output.store.bytes.buffer instanceof SharedArrayBuffer;
  if (stride !== undefined || pass.masks !== undefined || !isShared || end - first < LEAST_ON_GPU) return undefined;
  const inputs = program.inputs.map((slot) => pass.inputs[slot] as PassInput).map(({ dtype, store }) => ({ elementBytes: DTYPE_BYTES[dtype], store }));
  const target = output === undefined ? undefined : { elementBytes: DTYPE_BYTES[output.dtype], store: output.store };
  const result = await gpu.pass(program, { inputs, first, end, output: target });
  throwIfCancelled(signal);
  if (result === undefined) return undefined;
  onBytes?.((end - first) * inputs.reduce((sum, { elementBytes }) => sum + elementBytes, target?.elementBytes ?? 0));
  return { used: [], nonFinite: result.nonFinite, gathered: pass.sinks.map((_, i) => result.gathered.get(i) ?? new Float64Array(0)) };
}

/** Memory of a histogram, of which every thread has its own; 0 for other sinks. */
function histogramBytes(sink: Sink): number {
  // Each bin has two counters.
  if (sink.kind === "histogramHigh") return HIGH_BINS * 8;
  if (sink.kind === "histogramBoth") return paddedBytes(tableWords(sink) * 4);
  if (sink.kind === "patterns") return PATTERNS_BYTES;
  return sink.kind === "histogramWindow" ? paddedBytes((WINDOW_HEAD + sink.width) * 4) : 0;
}

/** Where everything lies, relative to the pass's block of memory: first what threads share, then each thread's part. */
class Layout {
  readonly bytes: number;
  readonly blocks: number;
  readonly sharedBytes: number;
  readonly partBytes: number;
  readonly threads: number;
  readonly tableAt: number;
  readonly histogramsAt: number;
  readonly buffersAt: readonly number[];
  readonly aheadAt: readonly number[] | undefined;
  readonly outputAt: number;
  readonly scratchAt: number;
  /** By mask, by vector. */
  readonly maskProgramsAt: readonly (readonly number[])[];
  readonly maskBuffersAt: readonly (readonly number[])[];
  /** By mask. */
  readonly bitsAt: readonly number[];
  readonly #sinks: readonly Sink[];

  constructor(pass: Pass, { main, masks, inputs }: Programs, threads: number, scratchBytes: number) {
    this.#sinks = pass.sinks;
    this.threads = threads;
    this.blocks = Math.ceil((pass.end - pass.first) / BLOCK);
    this.sharedBytes = paddedBytes(pass.sinks.length * this.blocks * 8);
    const tile = Math.min(pass.tile, pass.end - pass.first);
    let at = programBytes(main);
    const room = (bytes: number): number => {
      at += bytes;
      return at - bytes;
    };
    const ownMasks = pass.masks ?? [];
    const slots = pass.inputs.length + ownMasks.flatMap(typesOfMask).length;
    this.tableAt = room(paddedBytes(slots * 4));
    this.maskProgramsAt = masks.map((programs) => programs.map((program) => room(programBytes(program))));
    this.histogramsAt = room(pass.sinks.reduce((sum, sink) => sum + histogramBytes(sink), 0));
    const buffers = () =>
      inputs.map((slot) => {
        const input = pass.inputs[slot] as PassInput;
        return room(input.resident === undefined ? paddedBytes(tile * DTYPE_BYTES[input.dtype]) : 0);
      });
    this.buffersAt = buffers();
    this.aheadAt = pass.aheadBelow === undefined ? undefined : buffers();
    this.maskBuffersAt = ownMasks.map(({ vectors }) => vectors.map(() => room(paddedBytes(tile * 4))));
    this.bitsAt = ownMasks.map(({ draw, kept }) => room(draw === undefined || kept !== undefined ? 0 : paddedBytes(tile / 8)));
    this.scratchAt = room(paddedBytes(scratchBytes));
    this.outputAt = room(pass.output === undefined ? 0 : paddedBytes(tile * DTYPE_BYTES[pass.output.dtype]));
    this.partBytes = at;
    this.bytes = this.sharedBytes + threads * this.partBytes;
  }

  part(base: number, thread: number): number {
    return base + this.sharedBytes + thread * this.partBytes;
  }

  partials(base: number, sink: number): number {
    return base + sink * this.blocks * 8;
  }

  histogram(part: number, sink: number): number {
    return part + this.histogramsAt + this.#sinks.slice(0, sink).reduce((sum, other) => sum + histogramBytes(other), 0);
  }
}

function place(memory: WebAssembly.Memory, pass: Pass, programs: Programs, layout: Layout, base: number): TileJob {
  const parts = Array.from({ length: layout.threads }, (_, thread) => placePart(memory, pass, programs, layout, base, thread));
  const { first, end, tile, stride = tile, aheadBelow } = pass;
  const output = pass.output === undefined ? undefined : { elementBytes: DTYPE_BYTES[pass.output.dtype], store: pass.output.store };
  const inputs = programs.inputs.map((slot) => tileInput(pass.inputs[slot] as PassInput, slot));
  const elements = { first, end, tile, stride };
  return { control: createControl(), ...elements, aheadBelow, code: codeOf(programs.main), inputs, masks: maskJobs(pass, programs), output, parts };
}

function placePart(memory: WebAssembly.Memory, pass: Pass, { main, masks }: Programs, layout: Layout, base: number, thread: number): TilePart {
  const part = layout.part(base, thread);
  const absolute = (at: number): number => part + at;
  // Partial results are indexed by the block's place in the tensor, histograms are the thread's own.
  const blocksAddress = (sink: number): number => layout.partials(base, sink) - (pass.first / BLOCK) * 8;
  const sinkAddress = (sink: number): number => (histogramBytes(pass.sinks[sink] as Sink) > 0 ? layout.histogram(part, sink) : blocksAddress(sink));
  linkProgram(main, memory.buffer, part, sinkAddress, blocksAddress);
  const maskParts = masks.map((programs, mask): MaskPart => {
    const addresses = (layout.maskProgramsAt[mask] ?? []).map(absolute);
    for (const [vector, program] of programs.entries()) linkProgram(program, memory.buffer, addresses[vector] as number, () => 0);
    return { programs: addresses, buffers: (layout.maskBuffersAt[mask] ?? []).map(absolute), bits: absolute(layout.bitsAt[mask] as number) };
  });
  const [table, output, scratch] = [layout.tableAt, layout.outputAt, layout.scratchAt].map(absolute) as [number, number, number];
  const buffers = { buffers: layout.buffersAt.map(absolute), buffersAhead: layout.aheadAt?.map(absolute) };
  const counters: [number, number] = [absolute(layout.histogramsAt), absolute(layout.buffersAt[0] ?? layout.outputAt)];
  return { program: part, table, counters, ...buffers, output, masks: maskParts, scratch };
}

function maskJobs({ inputs, masks = [] }: Pass, programs: Programs): MaskJob[] {
  let slot = inputs.length;
  return masks.map((mask, i) => ({
    codes: (programs.masks[i] ?? []).map(codeOf),
    slots: typesOfMask(mask).map(() => slot++),
    work: mask.work,
    kept: mask.kept,
  }));
}

function tileInput(input: PassInput, slot: number): TileInput {
  return { slot, elementBytes: DTYPE_BYTES[input.dtype], store: input.store, resident: input.resident, load: input.load };
}

/** What a sink gathered, copied out of the pass's memory. */
function gather(memory: WebAssembly.Memory, pass: Pass, layout: Layout, base: number, index: number): Float64Array {
  const sink = pass.sinks[index] as Sink;
  if (sink.kind === "store" || sink.kind === "keep") return new Float64Array(0);
  if (histogramBytes(sink) === 0) return new Float64Array(memory.buffer, layout.partials(base, index), layout.blocks).slice();
  if (sink.kind === "histogramBoth") return gatherBoth(memory, sink, layout, base, index);
  const [words, bins] = sizesOf(sink);
  const total = new Float64Array(bins);
  for (let thread = 0; thread < layout.threads; thread++) {
    const counts = ownCopy(new Uint32Array(memory.buffer, layout.histogram(layout.part(base, thread), index), words));
    if (sink.kind === "histogramWindow") addWindow(total, counts);
    else if (sink.kind === "patterns") for (let number = 0; number < bins; number++) total[number] = (total[number] as number) + (counts[number] as number);
    else for (let bin = 0; bin < bins; bin++) total[bin] = (total[bin] as number) + (counts[2 * bin] as number) + (counts[2 * bin + 1] as number);
  }
  return total;
}

/** Words of a thread's counters, and how many counts are gathered. */
function sizesOf(sink: Sink): readonly [number, number] {
  if (sink.kind === "histogramWindow") return [WINDOW_HEAD + sink.width, 1 + sink.width];
  if (sink.kind !== "patterns") return [2 * HIGH_BINS, HIGH_BINS];
  const counts = countsOfSigns(sink.vectors);
  return [counts, counts];
}

function gatherBoth(memory: WebAssembly.Memory, sink: BothHistograms, layout: Layout, base: number, index: number): Float64Array {
  const gathered = new Float64Array(countsLength(sink) + layout.blocks);
  const parts = splitBoth(sink, gathered);
  for (let thread = 0; thread < layout.threads; thread++)
    addTable(sink, ownCopy(new Uint32Array(memory.buffer, layout.histogram(layout.part(base, thread), index), tableWords(sink))), parts);
  parts.ties.set(new Float64Array(memory.buffer, layout.partials(base, index), layout.blocks));
  return gathered;
}

/** Adds a window's table without the unused words after the count of keys above. Few keys occur; what is never written takes no memory. */
function addWindow(total: Float64Array, counts: Uint32Array): void {
  total[0] = (total[0] as number) + (counts[0] as number);
  const shift = WINDOW_HEAD - 1;
  for (let at = WINDOW_HEAD; at < counts.length; at += 4) {
    if (((counts[at] as number) | (counts[at + 1] as number) | (counts[at + 2] as number) | (counts[at + 3] as number)) === 0) continue;
    for (let i = at; i < at + 4; i++) total[i - shift] = (total[i - shift] as number) + (counts[i] as number);
  }
}

let room = new Uint32Array(0);

/** Words in memory of our own until the next call: what threads share is slow to read word by word. */
function ownCopy(words: Uint32Array): Uint32Array {
  if (room.length < words.length) room = new Uint32Array(words.length);
  room.set(words);
  return room.subarray(0, words.length);
}

const PROGRESS_MS = 100;

/** Reports bytes read and written while the job runs, and what is left of its exact total at the end. */
async function withProgress(pass: Pass, job: TileJob, run: () => Promise<TileResult[]>): Promise<TileResult[]> {
  const { onBytes } = pass;
  if (onBytes === undefined) return run();
  const perElement = job.inputs.reduce((sum, input) => sum + (input.load ? input.elementBytes : 0), job.output?.elementBytes ?? 0);
  const total = (job.end - job.first) * perElement;
  let told = 0;
  const tell = (bytes: number): void => {
    if (bytes > told) onBytes(bytes - told);
    told = Math.max(told, bytes);
  };
  // All of a single tile comes at once.
  if (job.end - job.first <= job.tile) {
    const results = await run();
    tell(total);
    return results;
  }
  const timer = setInterval(() => tell(Math.min(total, Atomics.load(job.control, TILES_DONE) * job.tile * perElement)), PROGRESS_MS);
  try {
    const results = await run();
    tell(total);
    return results;
  } finally {
    clearInterval(timer);
  }
}
