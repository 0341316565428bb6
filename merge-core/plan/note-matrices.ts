// Tensors that a method on whole matrices merges by its rule for the others.
import type { Diagnostic } from "../diagnostics.ts";
import { findMethod } from "../methods/registry.ts";
import { isMatrix } from "../methods/whole-matrices.ts";
import type { Recipe } from "../recipe/recipe.ts";
import type { TensorJob } from "./plan.ts";

/** Methods that work by layers' inputs have no differences, and say themselves what they average. */
const mergesDifferences = (id: string): boolean => {
  const method = findMethod(id);
  return method?.kind === "matrix" && method.data === undefined;
};

/** Lists them in one warning, so that the result says which tensors were averaged. */
export function noteMatrices(jobs: readonly TensorJob[], { file, methodRange: range }: Recipe, report: (d: Diagnostic) => void): void {
  const others = jobs.filter((job) => job.kind === "merge" && mergesDifferences(job.method) && !isMatrix(job));
  if (others.length === 0) return;
  report({
    code: "not-matrices",
    severity: "warning",
    message: `${others.length} tensors are no matrices: the mean of their differences is added to the base`,
    file,
    range,
    notes: [others.map(({ name }) => name).join(", ")],
  });
}
