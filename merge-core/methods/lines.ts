// Geometry of single rows or columns of a tensor.
import type { TensorEngine } from "../compute/engine.ts";
import type { Expr } from "../compute/expr.ts";
import { type Axis, pairsOf } from "../compute/lines.ts";
import type { Gram } from "./gram.ts";

/** Inner products of all pairs of vectors, for each row or each column of its own. */
export async function lineGrams(engine: TensorEngine, xs: readonly Expr[], axis: Axis): Promise<Gram[]> {
  const products = await engine.lineProducts(xs, axis);
  const places = xs.map(() => xs.map(() => 0));
  for (const [at, [i, j]] of pairsOf(xs.length).entries())
    for (const [row, column] of [
      [i, j],
      [j, i],
    ] as const)
      (places[row] as number[])[column] = at;
  return Array.from({ length: products[0]?.length ?? 0 }, (_, line) => places.map((row) => row.map((at) => products[at]?.[line] ?? 0)));
}
