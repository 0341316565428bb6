// Products of small matrices in float64, in orders of summation that do not depend on how much is taken at a time: eight terms, so that sums
// are read and written less often, or four sums, so that they do not wait for one another.

/** out[at + j] += sum over k < count of factors[first + k stride] rows[k width + j], in the order of k. */
function addRows(
  out: Float64Array,
  at: number,
  { factors, first, stride }: { readonly factors: Float64Array; readonly first: number; readonly stride: number },
  rows: Float64Array,
  count: number,
  width: number,
): void {
  let k = 0;
  for (; k + 8 <= count; k += 8) {
    const [place, row] = [first + k * stride, k * width];
    const f0 = factors[place] as number;
    const f1 = factors[place + stride] as number;
    const f2 = factors[place + 2 * stride] as number;
    const f3 = factors[place + 3 * stride] as number;
    const f4 = factors[place + 4 * stride] as number;
    const f5 = factors[place + 5 * stride] as number;
    const f6 = factors[place + 6 * stride] as number;
    const f7 = factors[place + 7 * stride] as number;
    for (let j = 0; j < width; j++) {
      let sum = out[at + j] as number;
      sum += f0 * (rows[row + j] as number);
      sum += f1 * (rows[row + width + j] as number);
      sum += f2 * (rows[row + 2 * width + j] as number);
      sum += f3 * (rows[row + 3 * width + j] as number);
      sum += f4 * (rows[row + 4 * width + j] as number);
      sum += f5 * (rows[row + 5 * width + j] as number);
      sum += f6 * (rows[row + 6 * width + j] as number);
      sum += f7 * (rows[row + 7 * width + j] as number);
      out[at + j] = sum;
    }
  }
  for (; k < count; k++) {
    const factor = factors[first + k * stride] as number;
    for (let j = 0; j < width; j++) out[at + j] = (out[at + j] as number) + factor * (rows[k * width + j] as number);
  }
}

/** out += X Y for X [n, k], Y [k, m] @param firstRow of X, where it is part of a larger matrix */
export function addProduct(out: Float64Array, x: Float64Array, y: Float64Array, n: number, k: number, m: number, firstRow = 0): void {
  for (let i = 0; i < n; i++) addRows(out, i * m, { factors: x, first: (firstRow + i) * k, stride: 1 }, y, k, m);
}

/** out += X^T Y for X [k, n], Y [k, m] @param firstRow of X, where it is part of a larger matrix */
export function addTransposedProduct(out: Float64Array, x: Float64Array, y: Float64Array, k: number, n: number, m: number, firstRow = 0): void {
  for (let i = 0; i < n; i++) addRows(out, i * m, { factors: x, first: firstRow * n + i, stride: n }, y, k, m);
}

/** X [n, k] Y [k, m] */
export function multiply(x: Float64Array, y: Float64Array, n: number, k: number, m: number): Float64Array {
  const out = new Float64Array(n * m);
  addProduct(out, x, y, n, k, m);
  return out;
}

/** X^T Y for X [k, n], Y [k, m] */
export function multiplyTransposed(x: Float64Array, y: Float64Array, k: number, n: number, m: number): Float64Array {
  const out = new Float64Array(n * m);
  addTransposedProduct(out, x, y, k, n, m);
  return out;
}

/** X Y^T for X [n, k], Y [m, k] */
export function timesTransposed(x: Float64Array, y: Float64Array, n: number, k: number, m: number): Float64Array {
  const out = new Float64Array(n * m);
  for (let i = 0; i < n; i++) dotRows(out, i * m, x, i * k, y, k, m);
  return out;
}

/** out[at + j] = the product of the row of x at `row` and row j of y, for j < m */
function dotRows(out: Float64Array, at: number, x: Float64Array, row: number, y: Float64Array, k: number, m: number): void {
  let j = 0;
  for (; j + 4 <= m; j += 4) {
    const first = j * k;
    let [s0, s1, s2, s3] = [0, 0, 0, 0];
    for (let l = 0; l < k; l++) {
      const factor = x[row + l] as number;
      s0 += factor * (y[first + l] as number);
      s1 += factor * (y[first + k + l] as number);
      s2 += factor * (y[first + 2 * k + l] as number);
      s3 += factor * (y[first + 3 * k + l] as number);
    }
    out[at + j] = s0;
    out[at + j + 1] = s1;
    out[at + j + 2] = s2;
    out[at + j + 3] = s3;
  }
  for (; j < m; j++) {
    let sum = 0;
    for (let l = 0; l < k; l++) sum += (x[row + l] as number) * (y[j * k + l] as number);
    out[at + j] = sum;
  }
}
