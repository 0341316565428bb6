// Inner products of rows in float64, and what follows from them alone. The Gram matrix of a few long rows costs less than
// any decomposition of the rows, and in float64 it tells apart all that float32 rows can.

/** Rows taken together: each of their elements is loaded once for four products. */
const SIDE = 4;

/** X Y^T [rowsX, rowsY] of X [rowsX, n] and Y [rowsY, n]. */
export function rowProducts(x: Float64Array, rowsX: number, y: Float64Array, rowsY: number, n: number): Float64Array {
  const out = new Float64Array(rowsX * rowsY);
  for (let i = 0; i < rowsX; i += SIDE) for (let j = 0; j < rowsY; j += SIDE) block(x, rowsX, y, rowsY, n, i, j, out);
  return out;
}

/** X X^T [rows, rows]. */
export function gramOf(x: Float64Array, rows: number, n: number): Float64Array {
  const out = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i += SIDE) for (let j = 0; j <= i; j += SIDE) block(x, rows, x, rows, n, i, j, out);
  for (let i = 0; i < rows; i++) for (let j = i + 1; j < rows; j++) out[i * rows + j] = out[j * rows + i] as number;
  return out;
}

/** The products of up to four rows by up to four others. */
function block(x: Float64Array, rowsX: number, y: Float64Array, rowsY: number, n: number, i: number, j: number, out: Float64Array): void {
  if (i + SIDE > rowsX || j + SIDE > rowsY) {
    for (let p = i; p < Math.min(rowsX, i + SIDE); p++)
      for (let q = j; q < Math.min(rowsY, j + SIDE); q++) {
        let sum = 0;
        for (let k = 0; k < n; k++) sum += (x[p * n + k] as number) * (y[q * n + k] as number);
        out[p * rowsY + q] = sum;
      }
    return;
  }
  let [s00, s01, s02, s03, s10, s11, s12, s13] = [0, 0, 0, 0, 0, 0, 0, 0];
  let [s20, s21, s22, s23, s30, s31, s32, s33] = [0, 0, 0, 0, 0, 0, 0, 0];
  const [x0, y0] = [i * n, j * n];
  for (let k = 0; k < n; k++) {
    const a0 = x[x0 + k] as number;
    const a1 = x[x0 + n + k] as number;
    const a2 = x[x0 + 2 * n + k] as number;
    const a3 = x[x0 + 3 * n + k] as number;
    const b0 = y[y0 + k] as number;
    const b1 = y[y0 + n + k] as number;
    const b2 = y[y0 + 2 * n + k] as number;
    const b3 = y[y0 + 3 * n + k] as number;
    s00 += a0 * b0;
    s01 += a0 * b1;
    s02 += a0 * b2;
    s03 += a0 * b3;
    s10 += a1 * b0;
    s11 += a1 * b1;
    s12 += a1 * b2;
    s13 += a1 * b3;
    s20 += a2 * b0;
    s21 += a2 * b1;
    s22 += a2 * b2;
    s23 += a2 * b3;
    s30 += a3 * b0;
    s31 += a3 * b1;
    s32 += a3 * b2;
    s33 += a3 * b3;
  }
  out.set([s00, s01, s02, s03], i * rowsY + j);
  out.set([s10, s11, s12, s13], (i + 1) * rowsY + j);
  out.set([s20, s21, s22, s23], (i + 2) * rowsY + j);
  out.set([s30, s31, s32, s33], (i + 3) * rowsY + j);
}

export interface PivotedCholesky {
  /** Rows that are independent of each other, `rank` of them, the one that adds most each time. */
  readonly pivots: readonly number[];
  /** L [n, rank] in the rows' own order: G = L L^T. The rows of the pivots are lower triangular. */
  readonly lower: Float64Array;
}

/** Of a Gram matrix [n, n]; rows whose remainder is below `tolerance` times the largest diagonal count as dependent. */
export function pivotedCholesky(gram: Float64Array, n: number, tolerance = 1e-14): PivotedCholesky {
  const left = Float64Array.from({ length: n }, (_, i) => gram[i * n + i] as number);
  const least = tolerance * left.reduce((most, x) => Math.max(most, x), 0);
  const columns: Float64Array[] = [];
  const pivots: number[] = [];
  while (pivots.length < n) {
    const pivot = left.reduce((best, x, i) => (x > (left[best] as number) ? i : best), 0);
    const remainder = left[pivot] as number;
    if (!(remainder > least)) break;
    const root = Math.sqrt(remainder);
    const column = Float64Array.from({ length: n }, (_, i) => {
      if (pivots.includes(i)) return 0;
      const known = columns.reduce((sum, earlier) => sum + (earlier[i] as number) * (earlier[pivot] as number), 0);
      return i === pivot ? root : ((gram[i * n + pivot] as number) - known) / root;
    });
    for (let i = 0; i < n; i++) left[i] = i === pivot ? 0 : Math.max(0, (left[i] as number) - (column[i] as number) ** 2);
    columns.push(column);
    pivots.push(pivot);
  }
  const rank = pivots.length;
  return { pivots, lower: Float64Array.from({ length: n * rank }, (_, at) => columns[at % rank]?.[Math.floor(at / rank)] as number) };
}
