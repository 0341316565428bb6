// MatrixSpace in plain TypeScript, sums in float64: the specification, and the way to compute without a pool.
import { cholesky, solveRow } from "./cholesky.ts";
import { gramOf } from "./gram.ts";
import { plainLowerFactor } from "./householder.ts";
import { type Matrix, type MatrixSpace, mirrorLower, type ProductOptions } from "./matrix.ts";
import { orthogonalizePair, sweepUntilOrthogonal, tournament } from "./one-sided-jacobi.ts";
import { type Steps, turns } from "./steps.ts";

export function plainSpace(): MatrixSpace {
  const zeros = (rows: number, columns: number): Matrix => ({ rows, columns, data: new Float32Array(rows * columns) });
  return {
    zeros,
    free: () => {},
    product: (a, b, options = {}) => multiply(a, b, options, zeros),
    *gram(a, into = zeros(a.rows, a.rows)) {
      yield undefined;
      return multiply(a, a, { transposeB: true, into }, zeros);
    },
    orthogonalizeRows: (work, rows, columns) => orthogonalize(work, rows, columns),
    doubles: (length) => new Float64Array(length),
    *gramDoubles(y, rows, columns, into) {
      yield undefined;
      into.set(gramOf(y, rows, columns));
    },
    *lowerFactor(y, rows, columns) {
      yield undefined;
      plainLowerFactor(y, rows, columns);
    },
    productDoubles: (a, rows, depth, b, columns, into) => {
      into.fill(0);
      for (let i = 0; i < rows; i++)
        for (let k = 0; k < depth; k++)
          for (let j = 0; j < columns; j++)
            into[i * columns + j] = (into[i * columns + j] as number) + (a[i * depth + k] as number) * (b[k * columns + j] as number);
    },
    addWeightedRows: (sums) => {
      for (const { into, rows, weights } of sums)
        for (const [j, row] of rows.entries())
          for (let k = 0; k < into.length; k++) into[k] = (into[k] as number) + (weights[j] as number) * (row[k] as number);
    },
    largestInRows: ({ rows, columns, data }) =>
      Uint32Array.from({ length: rows }, (_, i) => {
        const row = data.subarray(i * columns, (i + 1) * columns);
        return row.reduce((best, value, k) => (Math.abs(value) > Math.abs(row[best] as number) ? k : best), 0);
      }),
    *symmetricProduct(a, b, into = zeros(a.rows, a.rows)) {
      yield undefined;
      mirrorLower(multiply(a, b, { into }, zeros));
      return into;
    },
    solvePositive: async (s, size, b, columns) => {
      const factor = Float64Array.from(s);
      if (!cholesky(factor, size)) return false;
      for (let j = 0; j < columns; j++) {
        const column = Float64Array.from({ length: size }, (_, i) => b[i * columns + j] as number);
        solveRow(factor, size, column);
        for (let i = 0; i < size; i++) b[i * columns + j] = column[i] as number;
      }
      return true;
    },
    pause: turns(),
  };
}

function orthogonalize(work: Float64Array, rows: number, columns: number): Steps<number> {
  const pairs = tournament(rows);
  const row = (i: number): Float64Array => work.subarray(i * columns, (i + 1) * columns);
  return sweepUntilOrthogonal(pairs.length / 2, Math.max(1, Math.floor(STEP_ELEMENTS / columns)), (from, to) => {
    let worst = 0;
    for (let at = 2 * from; at < 2 * to; at += 2) worst = Math.max(worst, orthogonalizePair(row(pairs[at] as number), row(pairs[at + 1] as number)));
    return worst;
  });
}

/** Elements of rows that are rotated between two pauses. */
const STEP_ELEMENTS = 1 << 24;

function multiply(a: Matrix, b: Matrix, options: ProductOptions, zeros: (rows: number, columns: number) => Matrix): Matrix {
  const { transposeA = false, transposeB = false, accumulate = false } = options;
  const [rows, depth] = transposeA ? [a.columns, a.rows] : [a.rows, a.columns];
  const [inner, columns] = transposeB ? [b.columns, b.rows] : [b.rows, b.columns];
  if (depth !== inner) throw new RangeError(`cannot multiply ${rows} x ${depth} by ${inner} x ${columns}`);
  const into = options.into ?? zeros(rows, columns);
  const [stepA, nextA] = transposeA ? [1, a.columns] : [a.columns, 1];
  const [nextB, stepB] = transposeB ? [1, b.columns] : [b.columns, 1];
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      let sum = accumulate ? (into.data[i * columns + j] as number) : 0;
      for (let k = 0; k < depth; k++) sum += (a.data[i * stepA + k * nextA] as number) * (b.data[k * nextB + j * stepB] as number);
      into.data[i * columns + j] = sum;
    }
  return into;
}
