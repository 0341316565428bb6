// A workspace as a user has it: a base and two experts, a sharded model, a damaged file, a very long one, and recipes.
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { layoutFile } from "../../merge-core/formats/safetensors-write.ts";
import { rawFile } from "../helpers/hostile.ts";
import { writeModel } from "../helpers/models.ts";
import { tinyConfig, tinyConfigJson, tinyTensors } from "../helpers/tiny-decoder.ts";

/** Rows of the long table. */
export const MANY_TENSORS = 100_000;

/** A recipe with a slip of the keyboard that has a quick fix. */
export const RECIPE_WITH_ERROR = `merge_method: tise
base_model: ./models/base
models:
  - model: ./models/expert-a
    parameters:
      weight: 0.5
  - model: ./models/expert-b
    parameters:
      weight: 0.5
dtype: float32
`;

export const RECIPE = RECIPE_WITH_ERROR.replace("tise", "ties");

export function writeWorkspace(folder: string): void {
  const model = (name: string, seed: number) => {
    const tensors = [...tinyTensors(tinyConfig(), seed)].map(([tensor, { dtype, shape, data }]) => ({ name: tensor, dtype, shape, data }));
    writeModel(tensors, { folder: join(folder, "models", name), config: tinyConfigJson() });
    return tensors;
  };
  const base = model("base", 1);
  model("expert-a", 2);
  model("expert-b", 3);
  writeModel([base.slice(0, 9), base.slice(9)], { folder: join(folder, "models", "sharded"), config: tinyConfigJson() });
  mkdirSync(join(folder, "files"));
  writeFileSync(join(folder, "files", "cut.safetensors"), rawFile('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', 7));
  writeFileSync(join(folder, "files", "many.safetensors"), manyTensors());
  writeFileSync(join(folder, "data.jsonl"), '{"text": "abc"}\n');
  writeFileSync(join(folder, "good.merge.yml"), RECIPE);
  writeFileSync(join(folder, "planted.merge.yml"), RECIPE_WITH_ERROR);
  writeFileSync(join(folder, "missing.merge.yml"), RECIPE.replace("expert-a", "expert-x"));
}

/** One row per tensor, each empty, so that the file is its header. Names hold what a page must show as text. */
function manyTensors(): Uint8Array {
  const specs = Array.from({ length: MANY_TENSORS }, (_, i) => ({
    name: i === 0 ? "<img src=x onerror=alert(1)>" : `model.layers.${Math.floor(i / 100)}.mlp.experts.${i % 100}.weight`,
    dtype: "BF16" as const,
    shape: [0, 4],
  }));
  return layoutFile(specs).header;
}

/** A model of 70 GB in shards, which take no room on disk: only their headers are written. */
export function writeLargeModel(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const weights: Record<string, string> = {};
  for (let shard = 0; shard < 14; shard++) {
    const file = `model-${String(shard + 1).padStart(5, "0")}-of-00014.safetensors`;
    const tensors = Array.from({ length: 40 }, (_, i) => ({
      name: `model.layers.${shard}.mlp.experts.${i}.up_proj.weight`,
      dtype: "BF16" as const,
      shape: [8192, 7630],
    }));
    const { header, sizeBytes } = layoutFile(tensors);
    writeFileSync(join(folder, file), header);
    truncateSync(join(folder, file), sizeBytes);
    for (const { name } of tensors) weights[name] = file;
  }
  writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map: weights }));
}

/** Models of zeros that take no room on disk but some time to merge, and their recipe. */
export function writeSlowMerge(folder: string): void {
  const tensors = Array.from({ length: 40 }, (_, i) => ({ name: `model.layers.${i}.mlp.up_proj.weight`, dtype: "BF16" as const, shape: [2048, 2048] }));
  const { header, sizeBytes } = layoutFile(tensors);
  for (const name of ["base", "expert-a", "expert-b"]) {
    const model = join(folder, "large", name);
    mkdirSync(model, { recursive: true });
    writeFileSync(join(model, "model.safetensors"), header);
    truncateSync(join(model, "model.safetensors"), sizeBytes);
  }
  writeFileSync(join(folder, "slow.merge.yml"), RECIPE.replaceAll("./models/", "./large/"));
}
