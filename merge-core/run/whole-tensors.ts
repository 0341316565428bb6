// Tensors that adapters bring whole, as they go into one adapter. Node only.
import type { CombinedTensor } from "../adapters/common-ground.ts";
import type { TensorReader } from "../checkpoints/tensor-reader.ts";
import { inputError } from "../diagnostics.ts";
import { isFloat } from "../formats/dtypes.ts";
import type { AdapterTensor } from "./adapter-output.ts";

export function wholeTensors(replacements: readonly CombinedTensor[]): (AdapterTensor & CombinedTensor)[] {
  return replacements.flatMap((tensor) => {
    const entry = tensor.sources[0]?.entry;
    return entry !== undefined && isFloat(entry.dtype) ? [{ ...tensor, dtype: entry.dtype, shape: entry.shape }] : [];
  });
}

/** One adapter's tensor as it is; of several the mean by weight. @throws WeightsmithError `adapter-weights-cancel` */
export async function meanOf({ name, sources }: CombinedTensor, weights: readonly number[], files: TensorReader): Promise<ArrayLike<number>> {
  const [first] = sources;
  if (first !== undefined && sources.length === 1) return files.read(first.entry);
  const total = sources.reduce((sum, { index }) => sum + (weights[index] ?? 0), 0);
  if (total === 0)
    throw inputError("adapter-weights-cancel", `the weights add up to zero, so ${name}, which several adapters bring whole, has no mean`, {
      found: weights.join(", "),
      remedy: "change the weights, or fold the adapters one by one",
    });
  let mean = new Float64Array(0);
  for (const { index, entry } of sources) {
    const values = await files.read(entry);
    if (mean.length === 0) mean = new Float64Array(values.length);
    for (let i = 0; i < values.length; i++) mean[i] = (mean[i] as number) + ((weights[index] ?? 0) / total) * (values[i] as number);
  }
  return mean;
}
