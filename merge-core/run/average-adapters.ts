// Averages adapters of one family into one of it, tensor by tensor. Node only.
import type { AveragedTensor, AveragePlan } from "../adapters/plan-average.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import type { FloatDType } from "../formats/dtypes.ts";
import type { AdapterTensor, WriteTensor } from "./adapter-output.ts";
import { meanOf, wholeTensors } from "./whole-tensors.ts";

/** All tensors in the order in which they are written. @param dtype of those that belong to modules */
export const averagedOutput = ({ tensors, replacements }: AveragePlan, dtype: FloatDType): AdapterTensor[] => [
  ...tensors.map(({ name, shape }) => ({ name, shape, dtype })),
  ...wholeTensors(replacements),
];

export interface AverageOptions {
  /** One per adapter. */
  readonly weights: readonly number[];
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number, tensor: string) => void) | undefined;
}

/** @throws WeightsmithError `adapter-weights-cancel`, `cancelled`, what reading throws */
export async function writeAverage(plan: AveragePlan, output: readonly AdapterTensor[], options: AverageOptions, write: WriteTensor): Promise<void> {
  const files = new TensorReader();
  try {
    for (const [i, tensor] of plan.tensors.entries()) {
      throwIfCancelled(options.signal);
      options.onProgress?.(i, plan.tensors.length, tensor.name);
      await write(output[i] as AdapterTensor, await aroundNeutral(tensor, options.weights, files));
    }
    options.onProgress?.(plan.tensors.length, plan.tensors.length, "");
    for (const tensor of wholeTensors(plan.replacements)) await write(tensor, await meanOf(tensor, options.weights, files));
  } finally {
    await files.close();
  }
}

/** neutral + sum of w (x - neutral): an adapter without the module counts as one that changes nothing. */
async function aroundNeutral({ sources, neutral }: AveragedTensor, weights: readonly number[], files: TensorReader): Promise<Float64Array> {
  let mean = new Float64Array(0);
  for (const { index, entry } of sources) {
    const values = await files.read(entry);
    if (mean.length === 0) mean = new Float64Array(values.length).fill(neutral);
    for (let i = 0; i < mean.length; i++) mean[i]! += (weights[index] ?? 0) * ((values[i] as number) - neutral);
  }
  return mean;
}
