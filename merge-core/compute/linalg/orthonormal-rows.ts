// Thin QR by Cholesky, three times over, the first with a shift (Fukaya et al., 2020): products and one small factorisation
// each, stable for any condition that float32 can hold. Works on rows: A = L Q with orthonormal rows in Q.
import { type Matrix, type MatrixSpace, productSteps } from "./matrix.ts";
import type { Steps } from "./steps.ts";

const ROUNDS = 3;
/** Of the trace; makes the first factorisation succeed for dependent rows. */
const SHIFT = 1e-6;

/** Orthonormal rows that span those of `a`, which is given back. */
export function* orthonormalRows(space: MatrixSpace, a: Matrix): Steps<Matrix> {
  let rows = a;
  for (let round = 0; round < ROUNDS; round++) {
    const gram = yield* space.gram(rows);
    gram.data.set(yield* inverseFactor(gram, round === 0 ? SHIFT : 0));
    const next = space.zeros(rows.rows, rows.columns);
    yield* productSteps(space, gram, rows, next);
    space.free(gram, rows);
    rows = next;
  }
  return rows;
}

/** The inverse of the lower Cholesky factor of G + shift tr(G) I, in float64. Rows that depend on earlier ones become zero. */
export function* inverseFactor({ rows: n, data }: Matrix, shift: number): Steps<Float64Array> {
  const lower = Float64Array.from(data);
  let trace = 0;
  for (let i = 0; i < n; i++) trace += lower[i * n + i] as number;
  const least = (trace / n) * 1e-12;
  const inverse = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = (lower[i * n + j] as number) + (i === j ? shift * trace : 0);
      for (let k = 0; k < j; k++) sum -= (lower[i * n + k] as number) * (lower[j * n + k] as number);
      const pivot = lower[j * n + j] as number;
      lower[i * n + j] = i === j ? (sum > least ? Math.sqrt(sum) : 0) : pivot > 0 ? sum / pivot : 0;
    }
    yield undefined;
    const pivot = lower[i * n + i] as number;
    if (pivot === 0) continue;
    inverse[i * n + i] = 1 / pivot;
    for (let j = 0; j < i; j++) {
      let sum = 0;
      for (let k = j; k < i; k++) sum += (lower[i * n + k] as number) * (inverse[k * n + j] as number);
      inverse[i * n + j] = -sum / pivot;
    }
  }
  return inverse;
}
