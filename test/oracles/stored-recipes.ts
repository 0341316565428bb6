// The recipes whose results by mergekit are stored (mergekit_goldens.py): planned, and with the values that each tensor is made from.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { FamilyPatch, LoraPatch, TensorSpan } from "../../merge-core/checkpoints/checkpoint.ts";
import { ROW_ZERO } from "../../merge-core/compute/row-gather.ts";
import { WeightsmithError } from "../../merge-core/diagnostics.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import type { MergePlan, RowMap, TensorJob } from "../../merge-core/plan/plan.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { readTensors, type StoredTensor, valuesOf } from "./read-tensors.ts";

export const FOLDER = "test/fixtures/oracles/mergekit";

export const recipeNames = (): string[] => readdirSync(`${FOLDER}/recipes`).map((file) => file.slice(0, -4));

function recipeText(name: string): string {
  return readFileSync(`${FOLDER}/recipes/${name}.yml`, "utf8");
}

export async function planOf(name: string): Promise<MergePlan> {
  // The recipes name models relative to the folder above theirs; the path is what they are resolved against.
  const file = `${FOLDER}/${name}.yml`;
  const { recipe, diagnostics } = parseRecipe(recipeText(name), file);
  if (recipe === undefined) throw new WeightsmithError(diagnostics);
  const { plan, diagnostics: findings } = await planMerge(recipe, modelOpener(file));
  if (plan === undefined) throw new WeightsmithError(findings.filter(({ severity }) => severity === "error"));
  return plan;
}

const files = new Map<string, Promise<Map<string, StoredTensor>>>();

/** The values that the tensor is made from; those of cropped embeddings begin with the rows that are kept. */
export async function operandsOf(job: TensorJob | undefined): Promise<Float32Array[]> {
  const refs: readonly (TensorSpan & { readonly lora?: LoraPatch | FamilyPatch; readonly rows?: RowMap })[] =
    job === undefined ? [] : job.kind === "copy" ? [job.source] : job.inputs;
  const own = refs.map((ref) => ("rows" in ref && ref.rows !== undefined ? readPicked(ref.rows, ref.shape[1] ?? 1) : readOnce(ref)));
  const products = refs
    .flatMap(({ lora }) => (lora !== undefined && "a" in lora ? lora : []))
    .map(async ({ a, b, scale }) => sumOfSizes(await readOnce(a), await readOnce(b), a.shape, scale));
  return Promise.all([...own, ...products]);
}

/** The values of a stored tensor. */
export async function readOnce({ file, name }: Pick<TensorSpan, "file" | "name">): Promise<Float32Array> {
  const tensors = files.get(file) ?? readTensors(file);
  files.set(file, tensors);
  return valuesOf((await tensors).get(name));
}

/** Rows of other tensors in the order of the output; where rows are computed the largest value of the column, which bounds what is added up. */
async function readPicked({ sources, runs }: RowMap, columns: number): Promise<Float32Array> {
  const values = await Promise.all(sources.map(readOnce));
  const largest = (i: number) => Math.max(...values.flatMap((tensor) => [...tensor.filter((_, k) => k % columns === i)]).map(Math.abs));
  const valueAt = (source: number, row: number, i: number) => (source < ROW_ZERO ? largest(i) : (values[source]?.[row * columns + i] ?? 0));
  const rows = runs.flatMap(([source, first, count]) =>
    Array.from({ length: count }, (_, k) => Array.from({ length: columns }, (_, i) => valueAt(source, first + k, i))),
  );
  return Float32Array.from(rows.flat());
}

/** scale |B| |A|: as large as anything that is added up in the product of an adapter's factors. */
function sumOfSizes(a: Float32Array, b: Float32Array, [rank = 0, columns = 0]: readonly number[], scale: number): Float32Array {
  const sizeAt = (o: number, i: number) => Array.from({ length: rank }, (_, k) => Math.abs((b[o * rank + k] ?? 0) * (a[k * columns + i] ?? 0)));
  return Float32Array.from({ length: (b.length / rank) * columns }, (_, i) =>
    sizeAt(Math.floor(i / columns), i % columns).reduce((sum, size) => sum + scale * size, 0),
  );
}

/** All tensors of a folder's files. */
export async function readFolder(folder: string): Promise<Map<string, StoredTensor>> {
  const shards = readdirSync(folder).filter((file) => file.endsWith(".safetensors"));
  const tensors = await Promise.all(shards.map((file) => readTensors(join(folder, file))));
  return new Map(tensors.flatMap((map) => [...map]));
}
