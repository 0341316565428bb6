// Learning that has left the numbers: what it would save is no model.
import { WeightsmithError } from "../diagnostics.ts";

/** @param step from 1 @param values what was learned @throws WeightsmithError `adapt-diverged` */
export function checkLearned(step: number, loss: number, values: readonly ArrayLike<number>[]): void {
  if (Number.isFinite(loss) && values.every((own) => Array.prototype.every.call(own, Number.isFinite))) return;
  throw new WeightsmithError(
    {
      code: "adapt-diverged",
      severity: "error",
      message: `learning diverged at step ${step}`,
      found: `entropy ${loss}`,
      expected: "finite numbers",
      remedy: "lower --lr, --mask-lr or --inner-lr; or look for NaN in the experts",
    },
    { exitCode: 1 },
  );
}
