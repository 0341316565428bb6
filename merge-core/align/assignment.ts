// The linear assignment problem, exactly: Hungarian method by shortest augmenting paths with potentials (Kuhn and Munkres; in the row by
// row form of Jonker and Volgenant, 1987). O(n^3) in float64.
import { atOnce, type Steps } from "../compute/linalg/steps.ts";

/**
 * The permutation that maximises the sum of `gain[i * n + order[i]]`. Ties fall to the lower column, so that the result is always the same.
 * @param gain [n, n] row by row, finite
 */
export const assign = (gain: Float64Array, n: number): Int32Array => atOnce(assignSteps(gain, n));

/** The same in steps: at ten thousand it takes minutes. */
export function* assignSteps(gain: Float64Array, n: number): Steps<Int32Array> {
  // Columns count from 1; column 0 stands for the row that is being placed.
  const rowOf = new Int32Array(n + 1).fill(-1);
  const rowPrice = new Float64Array(n);
  const columnPrice = new Float64Array(n + 1);
  for (let row = 0; row < n; row++) {
    place(row, { gain, n, rowOf, rowPrice, columnPrice });
    yield undefined;
  }
  const order = new Int32Array(n);
  for (let column = 1; column <= n; column++) order[rowOf[column] as number] = column - 1;
  return order;
}

interface Matching {
  readonly gain: Float64Array;
  readonly n: number;
  readonly rowOf: Int32Array;
  readonly rowPrice: Float64Array;
  readonly columnPrice: Float64Array;
}

/** Grows a tree of cheapest paths from `row` until it meets a free column, then moves every row on the path one column on. */
function place(row: number, { gain, n, rowOf, rowPrice, columnPrice }: Matching): void {
  const slack = new Float64Array(n + 1).fill(Number.POSITIVE_INFINITY);
  const cameFrom = new Int32Array(n + 1);
  const inTree = new Uint8Array(n + 1);
  rowOf[0] = row;
  let column = 0;
  while ((rowOf[column] as number) >= 0) {
    inTree[column] = 1;
    const from = rowOf[column] as number;
    let [least, next] = [Number.POSITIVE_INFINITY, 0];
    for (let j = 1; j <= n; j++) {
      if (inTree[j] === 1) continue;
      const cost = -(gain[from * n + j - 1] as number) - (rowPrice[from] as number) - (columnPrice[j] as number);
      if (cost < (slack[j] as number)) {
        slack[j] = cost;
        cameFrom[j] = column;
      }
      if ((slack[j] as number) < least) {
        least = slack[j] as number;
        next = j;
      }
    }
    for (let j = 0; j <= n; j++) {
      if (inTree[j] === 1) {
        const at = rowOf[j] as number;
        rowPrice[at] = (rowPrice[at] as number) + least;
        columnPrice[j] = (columnPrice[j] as number) - least;
      } else slack[j] = (slack[j] as number) - least;
    }
    column = next;
  }
  while (column !== 0) {
    const before = cameFrom[column] as number;
    rowOf[column] = rowOf[before] as number;
    column = before;
  }
  rowOf[0] = -1;
}

/** Sum of the gains that a permutation picks. */
export function gainOf(gain: Float64Array, order: Int32Array): number {
  let sum = 0;
  for (let i = 0; i < order.length; i++) sum += gain[i * order.length + (order[i] as number)] as number;
  return sum;
}
