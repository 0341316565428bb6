// Geometry of a few very long vectors: all angles, norms and means within their span follow from their inner products,
// which one pass over the data gives.
import type { TensorEngine } from "../compute/engine.ts";
import type { Expr } from "../compute/expr.ts";

/** Inner products of all pairs; `gram[i][j]` is x_i . x_j. */
export type Gram = readonly (readonly number[])[];

export async function gramMatrix(engine: TensorEngine, xs: readonly Expr[]): Promise<Gram> {
  const pairs = xs.flatMap((_, i) => xs.slice(i).map((_, k) => [i, i + k] as const));
  const dots = await engine.reduce(
    pairs.map(([i, j]) => (i === j ? { op: "sumSquares", x: xs[i] as Expr } : { op: "dot", x: xs[i] as Expr, y: xs[j] as Expr })),
  );
  const gram = xs.map(() => xs.map(() => 0));
  for (const [k, [i, j]] of pairs.entries())
    for (const [a, b] of [
      [i, j],
      [j, i],
    ] as const)
      (gram[a] as number[])[b] = dots[k] ?? Number.NaN;
  return gram;
}

/** Inner product of two vectors given by their coefficients over the x_i. */
export function dotOf(gram: Gram, a: readonly number[], b: readonly number[]): number {
  return gram.reduce((sum, row, i) => sum + (a[i] ?? 0) * row.reduce((inner, g, j) => inner + g * (b[j] ?? 0), 0), 0);
}

/** Length of a vector given by its coefficients; rounding below zero counts as zero. */
export const lengthOf = (gram: Gram, a: readonly number[]): number => Math.sqrt(Math.max(0, dotOf(gram, a, a)));

export const normsOf = (gram: Gram): number[] => gram.map((row, i) => Math.sqrt(row[i] ?? 0));

export const clampCosine = (x: number): number => Math.min(1, Math.max(-1, x));
