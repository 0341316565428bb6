// Householder reflections of single rows, in float64.
import { dotOf } from "./cholesky.ts";

/** L in the lower triangle of Y [rows, columns], rows <= columns; what lies beyond means nothing. */
export function plainLowerFactor(y: Float64Array, rows: number, columns: number): void {
  for (let i = 0; i < rows; i++) {
    const v = y.slice(i * columns + i, (i + 1) * columns);
    const { left, factor } = reflector(v);
    for (let k = i + 1; k < rows; k++) reflect(y.subarray(k * columns + i, (k + 1) * columns), v, factor);
    y[i * columns + i] = left;
  }
}

/** Makes v of x, in its place: I - factor v v^T leaves of x nothing but its first element, as `left`. */
export function reflector(x: Float64Array): { left: number; factor: number } {
  const length = Math.sqrt(dotOf(x, x, x.length));
  if (!(length > 0)) return { left: 0, factor: 0 };
  const first = x[0] as number;
  const left = first > 0 ? -length : length;
  x[0] = first - left;
  return { left, factor: 1 / (length * (length + Math.abs(first))) };
}

/** y <- y (I - factor v v^T). */
export function reflect(y: Float64Array, v: Float64Array, factor: number): void {
  const share = factor * dotOf(y, v, y.length);
  for (let i = 0; i < y.length; i++) y[i] = (y[i] as number) - share * (v[i] as number);
}
