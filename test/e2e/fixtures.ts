// A workspace as a user has it: a base and two experts, a sharded model, a damaged file, a very long one, and recipes.
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
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

/** Copies a model; for tests that change one. */
export function copyModel(folder: string, from: string, to: string): void {
  cpSync(join(folder, "models", from), join(folder, "models", to), { recursive: true });
}
