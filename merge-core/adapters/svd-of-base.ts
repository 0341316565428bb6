// Singular directions of base weights, the same whenever they are asked for: families that train in them store no copy.
import { plainSpace } from "../compute/linalg/plain-space.ts";
import { svdAtOnce } from "../compute/linalg/svd.ts";
import { inputError } from "../diagnostics.ts";
import type { LayerShape } from "./family-types.ts";

export interface Triplets {
  /** [count, out] */
  readonly left: Float32Array;
  /** Descending. */
  readonly values: ArrayLike<number>;
  /** [count, in] */
  readonly right: Float32Array;
}

/** The `count` largest of W [out, in]; the largest element of each left vector is positive. @throws WeightsmithError `adapter-rank-too-high` */
export function leadingTriplets(weight: ArrayLike<number>, { inFeatures, outFeatures }: LayerShape, count: number): Triplets {
  const space = plainSpace();
  const matrix = space.zeros(outFeatures, inFeatures);
  matrix.data.set(Float32Array.from(weight));
  const { left, values, right } = svdAtOnce(space, matrix, count);
  if (values.length < count)
    throw inputError("adapter-rank-too-high", "a weight has fewer singular directions than the adapter's rank", {
      found: `${values.length} of [${outFeatures}, ${inFeatures}]`,
      expected: `at least ${count}`,
    });
  for (let k = 0; k < count; k++) {
    const vector = left.data.subarray(k * outFeatures, (k + 1) * outFeatures);
    const largest = vector.reduce((best, x) => (Math.abs(x) > Math.abs(best) ? x : best), 0);
    if (largest > 0) continue;
    for (const [side, width] of [
      [left, outFeatures],
      [right, inFeatures],
    ] as const)
      for (let i = k * width; i < (k + 1) * width; i++) side.data[i] = -(side.data[i] as number);
  }
  return { left: left.data, values, right: right.data };
}
