// The files beside the tensors: a merged folder must load where its parents load.
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { elementCount } from "../formats/dtypes.ts";
import { setJsonValue } from "../formats/json-edit.ts";
import { formatShardIndex } from "../formats/shard-index.ts";
import type { MergePlan } from "../plan/plan.ts";
import { modelCard } from "./model-card.ts";
import { tokenizerFileNames, writeTokenizer } from "./tokenizer-files.ts";

export const RECIPE_FILE = "mergekit_config.yml";

/** The name that the recipe has in an output: the one that mergekit's tool for it would give it. */
export const recipeFileOf = (method: string): string =>
  method === "moe" ? "mergekit_moe_config.yml" : ["tokens", "align", "share"].includes(method) ? `weightsmith_${method}.json` : RECIPE_FILE;

const INDEX_FILE = "model.safetensors.index.json";

/** Names of the files that `writeSideFiles` writes, but for the model card. */
export function sideFileNames({ donor, shards, tokenizer, method }: MergePlan): string[] {
  return [
    ...donor.files,
    ...(tokenizer === undefined ? [] : tokenizerFileNames(tokenizer)),
    ...(donor.hasConfig ? ["config.json"] : []),
    ...(shards.length > 1 ? [INDEX_FILE] : []),
    recipeFileOf(method),
  ];
}

/** Writes config, index, tokenizer files, model card and recipe into `folder`; `out` is the name it will have. */
export async function writeSideFiles(plan: MergePlan, folder: string, out: string): Promise<void> {
  for (const name of plan.donor.files) await copyFile(join(plan.donor.folder, name), join(folder, name));
  if (plan.tokenizer !== undefined) await writeTokenizer(plan.tokenizer, folder);
  if (plan.donor.hasConfig) await writeFile(join(folder, "config.json"), await outputConfig(plan));
  if (plan.shards.length > 1) await writeFile(join(folder, INDEX_FILE), shardIndexText(plan));
  await writeFile(join(folder, "README.md"), modelCard(plan, basename(resolve(out))));
  await writeFile(join(folder, recipeFileOf(plan.method)), plan.recipe.text);
}

/** The donor's config as it was written, but for the values that the merge changed. */
export async function outputConfig(plan: MergePlan): Promise<string> {
  const text = await readFile(join(plan.donor.folder, "config.json"), "utf8");
  return plan.config.reduce((config, { path, value }) => setJsonValue(config, path, value), text);
}

function shardIndexText(plan: MergePlan): string {
  const all = plan.shards.flatMap((shard) => shard.tensors.map((tensor) => ({ ...tensor, file: shard.file })));
  const bytes = all.reduce((sum, tensor) => sum + tensor.byteLength, 0);
  const parameters = all.reduce((sum, tensor) => sum + elementCount(tensor.shape), 0);
  return formatShardIndex(new Map(all.map((tensor) => [tensor.name, tensor.file])), bytes, parameters);
}
