// What adapters change in one module, from their files. Node only.
import type { Term } from "../adapters/changes.ts";
import { type AdapterFamily, deltaOf, type LayerShape, type LowRank, type ModuleTensor } from "../adapters/family.ts";
import type { BaseWeight, CombinationPlan, CombinedModule } from "../adapters/plan-combination.ts";
import type { ModuleEntries } from "../adapters/read-adapter.ts";
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import type { TensorReader } from "../checkpoints/tensor-reader.ts";

export async function readTensors(entries: ModuleEntries, files: TensorReader): Promise<Record<string, ModuleTensor>> {
  const read = async ([name, entry]: [string, TensorEntry]): Promise<[string, ModuleTensor]> => [name, { shape: entry.shape, values: await files.read(entry) }];
  return Object.fromEntries(await Promise.all(Object.entries(entries).map(read)));
}

/** What each adapter has for a module; nothing behind the last one. */
export async function readTerms(module: CombinedModule | undefined, plan: CombinationPlan, weights: readonly number[], files: TensorReader): Promise<Term[]> {
  const terms: Term[] = [];
  for (const { index, settings, entries, dense } of module?.sources ?? []) {
    const tensors = await readTensors(entries, files);
    const { layer } = module as CombinedModule;
    const family = plan.adapters[index]?.family as AdapterFamily;
    const [held, at] = [
      { layer, settings, tensors },
      { weight: weights[index] ?? 1, index },
    ];
    if (dense !== undefined) terms.push({ ...at, layer, delta: deltaOf(family, held, await weightOf(dense.weight, layer, files)) });
    else terms.push({ ...at, factors: family.factors?.(held) as LowRank });
  }
  return terms;
}

/** W [out, in] of the base; zeros without one. */
async function weightOf(weight: BaseWeight | undefined, { inFeatures, outFeatures }: LayerShape, files: TensorReader): Promise<ArrayLike<number>> {
  if (weight === undefined) return new Float32Array(outFeatures * inFeatures);
  const values = await files.read(weight.entry);
  if (!weight.turned) return values;
  return Float64Array.from({ length: values.length }, (_, at) => values[(at % inFeatures) * outFeatures + Math.floor(at / inFeatures)] as number);
}
