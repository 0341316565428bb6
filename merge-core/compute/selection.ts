// The k elements of largest magnitude without sorting. A sample tells between which keys the k-th largest must lie; one pass over
// all elements counts those above that window and, inside it, each key by itself. Should the window miss, or the tensor be too small for a
// sample, a histogram of the upper key bits finds the window instead. If only some of several equal elements are kept, the last one kept
// is found from counts per block. Sampling decides how much is read, never what is found.
import { BIN_KEYS, splitBoth } from "./both-histograms.ts";
import type { Expr, MagnitudeSelection } from "./expr.ts";
import type { Sink } from "./program.ts";
import { BLOCK, KEEP_ALL, KEEP_NONE, keyToValue, magnitudeKeys, withoutTies } from "./reference.ts";
import { selectInMemory } from "./select-in-memory.ts";

type Run = (sinks: readonly Sink[]) => Promise<readonly Float64Array[]>;

export interface SelectionPasses {
  readonly size: number;
  readonly memoryBytes: number;
  readonly threads: number;
  readonly run: Run;
  /** The same over a sample, where that is possible. */
  readonly sample: Run | undefined;
  readonly values: (x: Expr, first: number, end: number) => Promise<Float32Array>;
  /** Whether the histogram of all elements is wanted for itself, which the pass over a window then counts along. */
  readonly isCounted?: (x: Expr) => boolean;
}

/** A formula, and how many of its elements to keep. */
export interface Item {
  readonly x: Expr;
  readonly keep: number;
  /** Which of equal elements are kept does not matter. */
  readonly ties?: false;
}

/** Up to this many elements, clearing and adding up histograms costs more than looking at the values themselves. */
const IN_MEMORY_UP_TO = 1 << 16;
/** Below this many elements a sample says too little. */
const SAMPLE_FROM = 1 << 22;
/** Above every key. */
export const NO_KEY = 0x7fffffff;
/** A wider window costs more to clear and add up than it saves: where values are few and far apart, as between two bf16 numbers, the likeliest will do. */
const MAX_WINDOW_BINS = 6;
/** How far the sample's order statistics are trusted: standard deviations, and a share for neighbours being alike. */
const DEVIATIONS = 4;
const SHARE = 0.001;
/** Share of the elements from which on counting a key by itself is worth a look at the sample. */
const FREQUENT = 1 / 32;

/** See TensorEngine.selectLargest. @throws RangeError if `keep` is no whole number from 0 to the size. */
export async function selectByHistogram(items: readonly Item[], passes: SelectionPasses): Promise<MagnitudeSelection[]> {
  const selections = await selectAll(items, passes);
  return items.map((item, i) => withoutTies(item, selections[i] as MagnitudeSelection));
}

async function selectAll(items: readonly Item[], passes: SelectionPasses): Promise<MagnitudeSelection[]> {
  for (const { keep } of items)
    if (!Number.isInteger(keep) || keep < 0 || keep > passes.size) throw new RangeError(`cannot keep ${keep} of ${passes.size} elements`);
  const hard = items.filter(({ keep }) => keep > 0 && keep < passes.size);
  const found = new Map<Item, MagnitudeSelection>();
  if (passes.size <= IN_MEMORY_UP_TO) {
    const known = new Map<Expr, Float32Array>();
    for (const item of hard) {
      const values = known.get(item.x) ?? (await passes.values(item.x, 0, passes.size));
      known.set(item.x, values);
      found.set(item, selectInMemory(values, item.keep));
    }
    return items.map((item) => found.get(item) ?? (item.keep === 0 ? KEEP_NONE : KEEP_ALL));
  }
  // Each item needs a table per thread; when there are many, they take turns.
  const tableBytes = MAX_WINDOW_BINS * BIN_KEYS * (passes.isCounted === undefined ? 4 : 8);
  const batch = Math.max(1, Math.floor(passes.memoryBytes / 4 / (tableBytes * passes.threads)));
  for (let at = 0; at < hard.length; at += batch) {
    const some = hard.slice(at, at + batch);
    const selections = await selectBatch(some, passes);
    some.forEach((item, i) => {
      found.set(item, selections[i] as MagnitudeSelection);
    });
  }
  return items.map((item) => found.get(item) ?? (item.keep === 0 ? KEEP_NONE : KEEP_ALL));
}

/** Where the k-th largest key should be. */
interface Window {
  readonly low: number;
  readonly width: number;
  /** The key that it probably is. */
  readonly guess: number;
}

/** The k-th largest: its key, how many of the elements with that key are kept, and whether that leaves some out. */
interface Threshold {
  readonly key: number;
  readonly keepTies: number;
  readonly cut: boolean;
  /** Elements with this key by block, where a right guess has counted them. */
  readonly ties?: Float64Array | undefined;
}

async function selectBatch(items: readonly Item[], passes: SelectionPasses): Promise<MagnitudeSelection[]> {
  const { size, run, sample } = passes;
  const windows = sample === undefined || size < SAMPLE_FROM ? await scanWindows(items, run) : await sampleWindows(items, size, sample);
  const thresholds = await searchWindows(items, windows, passes);
  const missed = items.filter((_, i) => thresholds[i] === undefined);
  const found = missed.length === 0 ? [] : await searchWindows(missed, await scanWindows(missed, run), passes);
  const all = thresholds.map((threshold) => threshold ?? (found.shift() as Threshold));
  const limits = await tieLimits(items, all, passes);
  return all.map(({ key }, i) => ({ threshold: keyToValue(key), tieLimit: limits[i] ?? Number.POSITIVE_INFINITY }));
}

/** Windows from a sample. */
async function sampleWindows(items: readonly Item[], size: number, sample: Run): Promise<Window[]> {
  const upper = await countUpper(items, sample);
  const ranges = items.map(({ keep }, i) => sampleRange(upper[i] as Float64Array, keep / size));
  // Where no key of the bin can be frequent and ties do not matter, it need not be guessed.
  const guessed = items.flatMap(({ x, ties }, i) => {
    const { middle, drawn } = ranges[i] as SampleRange;
    return ties === false && middle.count < FREQUENT * drawn
      ? []
      : [{ i, sink: { kind: "histogramWindow", x, low: middle.bin * BIN_KEYS, width: BIN_KEYS, guess: NO_KEY } as const }];
  });
  const exact = guessed.length === 0 ? [] : await sample(guessed.map(({ sink }) => sink));
  const likely = new Map(guessed.map(({ i }, k) => [i, (exact[k] as Float64Array).subarray(1)]));
  return ranges.map(({ top, middle, bottom }, i) => {
    const counts = likely.get(i);
    const guess = middle.bin * BIN_KEYS + (counts === undefined ? 0 : (findBin(counts, middle.rank)?.bin ?? 0));
    const low = Math.max(bottom, middle.bin - MAX_WINDOW_BINS / 2);
    const bins = Math.min(top - low + 1, MAX_WINDOW_BINS);
    return { low: low * BIN_KEYS, width: bins * BIN_KEYS, guess };
  });
}

interface SampleRange {
  readonly top: number;
  readonly middle: Place;
  readonly bottom: number;
  /** Elements in the sample. */
  readonly drawn: number;
}

/** The bins between which the element at this share from the top should be, from a sample's histogram. */
function sampleRange(counts: Float64Array, share: number): SampleRange {
  let drawn = 0;
  for (const count of counts) drawn += count;
  const margin = DEVIATIONS * Math.sqrt(share * (1 - share) * drawn) + SHARE * drawn;
  const at = (rank: number): Place => findBin(counts, Math.min(drawn, Math.max(1, Math.round(rank)))) as Place;
  return { top: at(share * drawn - margin).bin, middle: at(share * drawn), bottom: at(share * drawn + margin).bin, drawn };
}

/** For each item how many elements have which upper key bits. Items of one formula are counted once. */
async function countUpper(items: readonly Item[], run: Run): Promise<Float64Array[]> {
  const xs = [...new Set(items.map(({ x }) => x))];
  const counts = await run(xs.map((x) => ({ kind: "histogramHigh", x })));
  return items.map(({ x }) => counts[xs.indexOf(x)] as Float64Array);
}

/** Windows of one bin from a histogram of all elements. */
async function scanWindows(items: readonly Item[], run: Run): Promise<Window[]> {
  const upper = await countUpper(items, run);
  return items.map(({ keep }, i) => {
    const low = (findBin(upper[i] as Float64Array, keep) as Place).bin * BIN_KEYS;
    return { low, width: BIN_KEYS, guess: low };
  });
}

/** One pass over the elements; undefined where a window does not hold the k-th largest. */
async function searchWindows(
  items: readonly Item[],
  windows: readonly Window[],
  { run, isCounted = () => false }: SelectionPasses,
): Promise<(Threshold | undefined)[]> {
  const open = items.map((item, i) => ({ ...item, ...(windows[i] as Window) }));
  const sinks = open.map(({ x, low, width, guess }) => ({ kind: isCounted(x) ? "histogramBoth" : "histogramWindow", x, low, width, guess }) as const);
  const tied = open.filter(({ ties }, i) => ties !== false && sinks[i]?.kind === "histogramWindow");
  const gathered = await run([...sinks, ...tied.map(({ x, guess }): Sink => ({ kind: "countTies", x, key: guess }))]);
  return open.map((item, i) => {
    const [sink, found] = [sinks[i] as Sink, gathered[i] as Float64Array];
    const { window, ties } = sink.kind === "histogramBoth" ? splitBoth(sink, found) : { window: found, ties: gathered[open.length + tied.indexOf(item)] };
    return resolve(item, window, ties);
  });
}

function resolve({ keep, low, guess, ties }: Item & Window, table: Float64Array, counted: Float64Array | undefined): Threshold | undefined {
  const place = findBin(table.subarray(1), keep - (table[0] as number));
  if (place === undefined) return undefined;
  const key = low + place.bin;
  return { key, keepTies: place.rank, cut: ties !== false && place.rank < place.count, ties: key === guess ? counted : undefined };
}

interface Place {
  readonly bin: number;
  readonly rank: number;
  readonly count: number;
}

/** The bin, from the top, that holds the element of this rank (1 is the largest), and the rank inside it; undefined if none does. */
function findBin(counts: Float64Array, rank: number): Place | undefined {
  let left = rank;
  for (let bin = counts.length - 1; bin >= 0 && left > 0; bin--) {
    const count = counts[bin] as number;
    if (left <= count) return { bin, rank: left, count };
    left -= count;
  }
  return undefined;
}

/** For each threshold that cuts ties, the element after the last tie kept. */
async function tieLimits(items: readonly Item[], thresholds: readonly Threshold[], passes: SelectionPasses): Promise<(number | undefined)[]> {
  const cut = thresholds.flatMap((threshold, i) => (threshold.cut ? [{ i, threshold, x: (items[i] as Item).x }] : []));
  const unknown = cut.filter(({ threshold }) => threshold.ties === undefined);
  const counted = unknown.length === 0 ? [] : await passes.run(unknown.map(({ x, threshold }) => ({ kind: "countTies", x, key: threshold.key })));
  const limits = new Array<number | undefined>(items.length);
  for (const { i, threshold, x } of cut) {
    const ties = threshold.ties ?? counted[unknown.findIndex((other) => other.i === i)];
    limits[i] = await tieLimit(x, threshold, ties as Float64Array, passes);
  }
  return limits;
}

async function tieLimit(x: Expr, { key, keepTies }: Threshold, ties: Float64Array, { size, values }: SelectionPasses): Promise<number> {
  let left = keepTies;
  let block = 0;
  for (; left > (ties[block] as number); block++) left -= ties[block] as number;
  const first = block * BLOCK;
  const keys = magnitudeKeys(await values(x, first, Math.min(first + BLOCK, size)));
  return first + keys.findIndex((k) => k === key && --left === 0) + 1;
}
