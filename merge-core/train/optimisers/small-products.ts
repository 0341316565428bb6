// Products with the few rows that gradients are projected to; row by row, sums in float32 order.

/** P^T G for P [rows, r] given as r rows of length `rows`, G [rows, columns] -> [r, columns]. */
export function projectRows(p: Float32Array, r: number, g: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(r * columns);
  for (let k = 0; k < r; k++)
    for (let i = 0; i < rows; i++) {
      const factor = p[k * rows + i] as number;
      for (let j = 0; j < columns; j++) out[k * columns + j] = (out[k * columns + j] as number) + factor * (g[i * columns + j] as number);
    }
  return out;
}

/** The way back: P N for N [r, columns] -> [rows, columns]. */
export function projectBack(p: Float32Array, r: number, n: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let k = 0; k < r; k++) {
      const factor = p[k * rows + i] as number;
      for (let j = 0; j < columns; j++) out[i * columns + j] = (out[i * columns + j] as number) + factor * (n[k * columns + j] as number);
    }
  return out;
}

export function transposed(x: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = x[i * columns + j] as number;
  return out;
}

/** A matrix lying down: its shorter side as rows; a square one turned, as in the authors' code of GaLore and APOLLO. */
export interface Wide {
  readonly turned: boolean;
  readonly rows: number;
  readonly columns: number;
}

export function wideShape(shape: readonly number[]): Wide {
  const [rows = 0, columns = 0] = shape;
  return rows < columns ? { turned: false, rows, columns } : { turned: true, rows: columns, columns: rows };
}

export const lieDown = ({ turned, rows, columns }: Wide, x: Float32Array): Float32Array => (turned ? transposed(x, columns, rows) : x);
export const standUp = ({ turned, rows, columns }: Wide, x: Float32Array): Float32Array => (turned ? transposed(x, rows, columns) : x);
