// The k elements of largest magnitude without sorting: a histogram of the upper half of the magnitude bits, one of the lower
// half inside the bin where the k-th lies, then, only if a tie has to be cut, tie counts by block and a look at one block.
import type { Expr, MagnitudeSelection } from "./expr.ts";
import { HISTOGRAM_BYTES } from "./passes.ts";
import type { Sink } from "./program.ts";
import { BLOCK, KEEP_ALL, KEEP_NONE, keyToValue, magnitudeKeys } from "./reference.ts";

export interface SelectionPasses {
  readonly size: number;
  readonly memoryBytes: number;
  readonly threads: number;
  readonly run: (sinks: readonly Sink[]) => Promise<readonly Float64Array[]>;
  readonly values: (x: Expr, first: number, end: number) => Promise<Float32Array>;
}

interface Item {
  readonly x: Expr;
  readonly keep: number;
}

/** See TensorEngine.selectLargest. @throws RangeError if `keep` is no whole number from 0 to the size. */
export async function selectByHistogram(items: readonly Item[], passes: SelectionPasses): Promise<MagnitudeSelection[]> {
  for (const { keep } of items)
    if (!Number.isInteger(keep) || keep < 0 || keep > passes.size) throw new RangeError(`cannot keep ${keep} of ${passes.size} elements`);
  const hard = items.filter(({ keep }) => keep > 0 && keep < passes.size);
  const found = new Map<Item, MagnitudeSelection>();
  // Each item needs a histogram per thread; when there are many, they take turns.
  const batch = Math.max(1, Math.floor(passes.memoryBytes / 4 / (HISTOGRAM_BYTES * passes.threads)));
  for (let at = 0; at < hard.length; at += batch) {
    const some = hard.slice(at, at + batch);
    const selections = await selectBatch(some, passes);
    some.forEach((item, i) => {
      found.set(item, selections[i] as MagnitudeSelection);
    });
  }
  return items.map((item) => found.get(item) ?? (item.keep === 0 ? KEEP_NONE : KEEP_ALL));
}

/** The k-th largest: its key, how many of the elements with that key are kept, and whether that is all of them. */
interface Threshold {
  readonly key: number;
  readonly keepTies: number;
  readonly cut: boolean;
}

async function selectBatch(items: readonly Item[], passes: SelectionPasses): Promise<MagnitudeSelection[]> {
  const high = await passes.run(items.map(({ x }) => ({ kind: "histogramHigh", x })));
  const bins = items.map(({ keep }, i) => findBin(high[i] as Float64Array, keep));
  const low = await passes.run(items.map(({ x }, i) => ({ kind: "histogramLow", x, bin: bins[i]?.bin ?? 0 })));
  const thresholds = bins.map(({ bin, rank }, i): Threshold => {
    const last = findBin(low[i] as Float64Array, rank);
    return { key: bin * 0x10000 + last.bin, keepTies: last.rank, cut: last.rank < last.count };
  });
  const limits = await tieLimits(items, thresholds, passes);
  return thresholds.map(({ key }, i) => ({ threshold: keyToValue(key), tieLimit: limits[i] ?? Number.POSITIVE_INFINITY }));
}

/** The bin, from the top, that holds the element of this rank (1 is the largest), and the rank inside it. */
function findBin(counts: Float64Array, rank: number): { bin: number; rank: number; count: number } {
  let left = rank;
  for (let bin = counts.length - 1; bin >= 0; bin--) {
    const count = counts[bin] as number;
    if (left <= count) return { bin, rank: left, count };
    left -= count;
  }
  throw new RangeError(`a histogram of fewer than ${rank} elements`);
}

/** For each threshold that cuts ties, the element after the last tie kept. */
async function tieLimits(items: readonly Item[], thresholds: readonly Threshold[], passes: SelectionPasses): Promise<(number | undefined)[]> {
  const cut = thresholds.flatMap((threshold, i) => (threshold.cut ? [{ i, threshold, x: (items[i] as Item).x }] : []));
  const limits = new Array<number | undefined>(items.length);
  if (cut.length === 0) return limits;
  const counts = await passes.run(cut.map(({ x, threshold }) => ({ kind: "countTies", x, key: threshold.key })));
  for (const [n, { i, threshold, x }] of cut.entries()) {
    const { block, left } = findBlock(counts[n] as Float64Array, threshold.keepTies);
    const first = block * BLOCK;
    const values = await passes.values(x, first, Math.min(first + BLOCK, passes.size));
    limits[i] = first + nthTie(values, threshold.key, left) + 1;
  }
  return limits;
}

function findBlock(counts: Float64Array, rank: number): { block: number; left: number } {
  let left = rank;
  for (let block = 0; block < counts.length; block++) {
    if (left <= (counts[block] as number)) return { block, left };
    left -= counts[block] as number;
  }
  throw new RangeError(`fewer than ${rank} ties`);
}

function nthTie(values: Float32Array, key: number, n: number): number {
  let left = n;
  return magnitudeKeys(values).findIndex((k) => k === key && --left === 0);
}
