// Symmetric positive definite systems in float64: S = L L^T (Cholesky), row by row.

/** A pivot below this share of its diagonal element is rounding: the matrix is singular as far as anyone can tell. */
const LEAST_PIVOT = 1e-13;

/**
 * Factors the lower triangle of `s`, size x size row by row, in place; what lies above the diagonal is neither read nor written.
 * @returns false, with `s` spoilt, if it is not positive definite
 */
export function cholesky(s: Float64Array, size: number): boolean {
  for (let i = 0; i < size; i++) {
    const row = s.subarray(i * size, i * size + i + 1);
    for (let j = 0; j < i; j++) {
      const other = s.subarray(j * size, j * size + j + 1);
      row[j] = ((row[j] as number) - dotOf(row, other, j)) / (other[j] as number);
    }
    const diagonal = row[i] as number;
    const pivot = diagonal - dotOf(row, row, i);
    if (!(pivot > LEAST_PIVOT * diagonal)) return false;
    row[i] = Math.sqrt(pivot);
  }
  return true;
}

/** Replaces x by the solution y of y L L^T = x. @param factor what `cholesky` left */
export function solveRow(factor: Float64Array, size: number, x: Float64Array): void {
  for (let i = 0; i < size; i++) {
    const row = factor.subarray(i * size, i * size + i + 1);
    x[i] = ((x[i] as number) - dotOf(row, x, i)) / (row[i] as number);
  }
  // Backwards by rows of L, so that memory is read in order: each solved element is taken out of those before it.
  for (let i = size - 1; i >= 0; i--) {
    const row = factor.subarray(i * size, i * size + i + 1);
    const value = (x[i] as number) / (row[i] as number);
    x[i] = value;
    for (let j = 0; j < i; j++) x[j] = (x[j] as number) - value * (row[j] as number);
  }
}

/** Four sums side by side: a single one waits for itself. */
export function dotOf(a: Float64Array, b: Float64Array, length: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let i = 0;
  for (; i + 3 < length; i += 4) {
    s0 += (a[i] as number) * (b[i] as number);
    s1 += (a[i + 1] as number) * (b[i + 1] as number);
    s2 += (a[i + 2] as number) * (b[i + 2] as number);
    s3 += (a[i + 3] as number) * (b[i + 3] as number);
  }
  for (; i < length; i++) s0 += (a[i] as number) * (b[i] as number);
  return s0 + s1 + (s2 + s3);
}
