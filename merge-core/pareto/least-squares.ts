// Small dense systems in float64.

/** Solves A x = b by elimination with partial pivoting; undefined where A is singular to working precision. Inputs are overwritten. */
export function solveSystem(a: number[][], b: number[]): number[] | undefined {
  const n = b.length;
  const scale = Math.max(...a.map((row) => Math.max(...row.map(Math.abs))));
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(a[i]?.[k] ?? 0) > Math.abs(a[pivot]?.[k] ?? 0)) pivot = i;
    [a[k], a[pivot]] = [a[pivot] ?? [], a[k] ?? []];
    [b[k], b[pivot]] = [b[pivot] ?? 0, b[k] ?? 0];
    const row = a[k] ?? [];
    const head = row[k] ?? 0;
    if (!(Math.abs(head) > 1e-14 * scale)) return undefined;
    for (let i = k + 1; i < n; i++) {
      const other = a[i] ?? [];
      const factor = (other[k] ?? 0) / head;
      if (factor === 0) continue;
      for (let j = k; j < n; j++) other[j] = (other[j] ?? 0) - factor * (row[j] ?? 0);
      b[i] = (b[i] ?? 0) - factor * (b[k] ?? 0);
    }
  }
  const x = new Array<number>(n).fill(0);
  for (let k = n - 1; k >= 0; k--) {
    let sum = b[k] ?? 0;
    for (let j = k + 1; j < n; j++) sum -= (a[k]?.[j] ?? 0) * (x[j] ?? 0);
    x[k] = sum / (a[k]?.[k] ?? Number.NaN);
  }
  return x;
}

/** The x that minimises |A x - b|^2 + |R^(1/2) x|^2, R the diagonal `ridge`, by Householder reflections of A stacked on R^(1/2). */
export function leastSquares(rows: readonly (readonly number[])[], target: readonly number[], ridge: readonly number[]): number[] {
  const n = ridge.length;
  const penalty = ridge.map((r, i) => [...ridge.map((_, j) => (i === j ? Math.sqrt(r) : 0)), 0]);
  // The right side is one more column.
  const stacked = [...rows.map((row, i) => [...row, target[i] ?? 0]), ...penalty];
  for (let k = 0; k < n; k++) reflect(stacked, k);
  const x = new Array<number>(n).fill(0);
  for (let k = n - 1; k >= 0; k--) {
    const row = stacked[k] ?? [];
    let sum = row[n] ?? 0;
    for (let j = k + 1; j < n; j++) sum -= (row[j] ?? 0) * (x[j] ?? 0);
    // A column that is zero even with the ridge says nothing about its unknown.
    x[k] = row[k] === 0 ? 0 : sum / (row[k] ?? Number.NaN);
  }
  return x;
}

/** Clears column k below its diagonal. */
function reflect(a: number[][], k: number): void {
  const rows = a.slice(k);
  const v = rows.map((row) => row[k] ?? 0);
  const norm = Math.hypot(...v);
  if (norm === 0) return;
  v[0] = (v[0] ?? 0) + ((v[0] ?? 0) > 0 ? norm : -norm);
  const square = v.reduce((sum, x) => sum + x * x, 0);
  for (let j = k; j < (rows[0]?.length ?? 0); j++) {
    const factor = (2 * rows.reduce((sum, row, i) => sum + (v[i] ?? 0) * (row[j] ?? 0), 0)) / square;
    for (const [i, row] of rows.entries()) row[j] = (row[j] ?? 0) - factor * (v[i] ?? 0);
  }
}
