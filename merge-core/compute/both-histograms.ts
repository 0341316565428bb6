// Tables of the sink `histogramBoth`: of every thread a cell per bin of keys with the same upper 16 bits, but in place of those in the window one per
// key; see kernels/select.ts. Gathered are the counts of all bins, what a window gathers, and by block the elements with the guessed key.
import type { Sink } from "./program.ts";

/** Keys with the same upper 16 bits. */
export const BIN_KEYS = 1 << 16;
/** Such bins; NaN is in the last. */
export const HIGH_BINS = 0x7f81;

export type BothHistograms = Extract<Sink, { readonly kind: "histogramBoth" }>;

/** 32-bit words of a thread's table. */
export const tableWords = ({ width }: BothHistograms): number => 2 * (HIGH_BINS + width);

/** Counts gathered before those of blocks. */
export const countsLength = ({ width }: BothHistograms): number => HIGH_BINS + 1 + width;

export interface GatheredBoth {
  /** As of `histogramHigh`. */
  readonly counts: Float64Array;
  /** As of `histogramWindow`. */
  readonly window: Float64Array;
  /** As of `countTies`. */
  readonly ties: Float64Array;
}

export function splitBoth(sink: BothHistograms, gathered: Float64Array): GatheredBoth {
  const end = countsLength(sink);
  return { counts: gathered.subarray(0, HIGH_BINS), window: gathered.subarray(HIGH_BINS, end), ties: gathered.subarray(end) };
}

/** Adds a thread's table. */
export function addTable(sink: BothHistograms, words: Uint32Array, { counts, window }: GatheredBoth): void {
  const first = sink.low / BIN_KEYS;
  const end = first + sink.width / BIN_KEYS;
  const cell = (at: number): number => (words[2 * at] as number) + (words[2 * at + 1] as number);
  for (let bin = 0; bin < HIGH_BINS; bin++) {
    const count = bin < first ? cell(bin) : bin < end ? addKeys(sink, bin - first, words, window) : cell(bin + sink.width);
    counts[bin] = (counts[bin] as number) + count;
    if (bin >= end) window[0] = (window[0] as number) + count;
  }
}

/** Adds the keys of one of the window's bins; returns how many elements they have. Few keys occur; what is never written takes no memory. */
function addKeys({ low }: BothHistograms, bin: number, words: Uint32Array, window: Float64Array): number {
  const from = 2 * (low / BIN_KEYS + bin * (BIN_KEYS + 1));
  let total = 0;
  for (let at = from; at < from + 2 * BIN_KEYS; at += 4) {
    if (((words[at] as number) | (words[at + 1] as number) | (words[at + 2] as number) | (words[at + 3] as number)) === 0) continue;
    for (let i = at; i < at + 4; i++) {
      const place = 1 + bin * BIN_KEYS + ((i - from) >> 1);
      window[place] = (window[place] as number) + (words[i] as number);
      total += words[i] as number;
    }
  }
  return total;
}
