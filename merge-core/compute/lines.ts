// Statistics of each row, or each column, of a tensor on its own: what they are, in plain TypeScript. Sums are in float64, in index order.
// The divergence has no WASM twin, since exponentials and logarithms would differ in the last bits: threads run this very code.
export type Axis = "row" | "column";

/** All pairs of `count` vectors, each with itself too: the first with all, the second with those from it on, and so forth. */
export const pairsOf = (count: number): [number, number][] =>
  Array.from({ length: count }, (_, i) => Array.from({ length: count - i }, (_, k): [number, number] => [i, i + k])).flat();

/** Inner products of the rows, or columns, of two tensors. */
export function lineDots(a: Float32Array, b: Float32Array, columns: number, axis: Axis): Float64Array {
  const sums = new Float64Array(axis === "row" ? a.length / Math.max(1, columns) : columns);
  for (let start = 0, row = 0; start < a.length; start += columns, row++)
    for (let k = 0; k < columns; k++) {
      const line = axis === "row" ? row : k;
      sums[line] = (sums[line] as number) + (a[start + k] as number) * (b[start + k] as number);
    }
  return sums;
}

/** Added to probabilities, so that none is zero. */
const SMALLEST_PROBABILITY = 1e-8;

/** Kullback-Leibler divergence of the softmax of a row from that of another; rounding below zero counts as zero. */
export function divergence(a: Float32Array, b: Float32Array): number {
  const [p, q] = [logSumExp(a), logSumExp(b)];
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const pi = Math.exp((a[i] as number) - p) + SMALLEST_PROBABILITY;
    const qi = Math.exp((b[i] as number) - q) + SMALLEST_PROBABILITY;
    sum += pi * Math.log(pi / qi);
  }
  return Math.max(0, sum);
}

function logSumExp(values: Float32Array): number {
  let [most, sum] = [Number.NEGATIVE_INFINITY, 0];
  for (let i = 0; i < values.length; i++) most = Math.max(most, values[i] as number);
  for (let i = 0; i < values.length; i++) sum += Math.exp((values[i] as number) - most);
  return most + Math.log(sum);
}
