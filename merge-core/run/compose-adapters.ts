// Makes one orthogonal adapter of several, module by module. Node only.
import type { AdapterModule } from "../adapters/family.ts";
import type { ComposedModule, CompositionPlan } from "../adapters/plan-composition.ts";
import { moduleSettings } from "../adapters/read-adapter.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import type { FloatDType } from "../formats/dtypes.ts";
import type { AdapterTensor, WriteTensor } from "./adapter-output.ts";
import { readTensors } from "./read-terms.ts";

/** All tensors in the order in which they are written. */
export const composedOutput = ({ modules }: CompositionPlan, dtype: FloatDType): AdapterTensor[] => modules.map(({ name, shape }) => ({ name, shape, dtype }));

interface ComposeOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number, module: string) => void) | undefined;
}

interface Composed {
  readonly module: string;
  /** Mirrors, or entries of a block's generator. */
  readonly rank: number;
  readonly relativeError: number;
}

/** @throws WeightsmithError `adapter-turn-without-generator`, `adapter-settings-differ`, `cancelled`, what reading throws */
export async function writeComposition(
  plan: CompositionPlan,
  output: readonly AdapterTensor[],
  options: ComposeOptions,
  write: WriteTensor,
): Promise<Composed[]> {
  const files = new TensorReader();
  const told: Composed[] = [];
  try {
    for (const [i, module] of plan.modules.entries()) {
      throwIfCancelled(options.signal);
      options.onProgress?.(i, plan.modules.length, module.path);
      const { values, error } = plan.rule.product(await modulesOf(plan, module, files), module.shape);
      await write(output[i] as AdapterTensor, values);
      told.push({ module: module.path, rank: module.shape[1] ?? 0, relativeError: error });
    }
    options.onProgress?.(plan.modules.length, plan.modules.length, "");
    return told;
  } finally {
    await files.close();
  }
}

/** The adapters' parts in a module. What is made of them does not depend on the layer's sides. */
async function modulesOf({ adapters }: CompositionPlan, { path, sources }: ComposedModule, files: TensorReader): Promise<(AdapterModule | undefined)[]> {
  const modules: (AdapterModule | undefined)[] = [];
  for (const [i, adapter] of adapters.entries()) {
    const entries = sources[i];
    const layer = { inFeatures: 0, outFeatures: 0 };
    modules.push(entries === undefined ? undefined : { layer, settings: moduleSettings(adapter, path), tensors: await readTensors(entries, files) });
  }
  return modules;
}
