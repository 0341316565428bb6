// What transformers computed with models that this program had merged (merged_logits.py): the program still writes those
// bytes, and our own forward pass gives the same logits.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { WeightsmithError } from "../../merge-core/diagnostics.ts";
import { makeMoe } from "../../merge-core/moe/make-moe.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { parseDecoderConfig } from "../../merge-core/nn/config.ts";
import { forwardLogits } from "../../merge-core/nn/llama.ts";
import { createDecoder, disposeDecoder } from "../../merge-core/nn/load.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { makeTransplant } from "../../merge-core/transplant/make-transplant.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors } from "./read-tensors.ts";

const FOLDER = "test/fixtures/oracles/merged";

interface Golden {
  /** Text, or the path of a file in this repository. */
  readonly recipe?: string;
  /** Words of another command. */
  readonly command?: readonly string[];
  readonly sha256: string;
  readonly input_ids: number[][];
  readonly logits: number[][][];
}

describe("Merged models in transformers", () => {
  before(() => initBackend({ threads: 1 }));
  const names = readdirSync(FOLDER).filter((file) => file.endsWith(".json"));

  it("are all here", () => {
    assert.deepEqual(
      names.sort(),
      ["gpt2", "llama", "mixtral", "moe-mixtral", "moe-qwen", "qwen2", "tokens", "zoo-linear", "zoo-ties"].map((name) => `${name}.json`),
    );
  });

  for (const name of names.map((file) => file.slice(0, -5))) {
    it(`${name}: the file that was loaded, and its logits`, async () => {
      const golden = JSON.parse(readFileSync(join(FOLDER, `${name}.json`), "utf8")) as Golden;
      const { out, sha256 } = golden.command === undefined ? await merged(golden.recipe ?? "") : await made(golden.command);
      assert.equal(sha256, golden.sha256, "other bytes than transformers loaded; if that is right, run test/oracles/merged_logits.py again");
      const ours = await logitsOf(out, golden.input_ids);
      const worst = golden.logits.flat(2).reduce((most, value, i) => Math.max(most, Math.abs(value - (ours[i] ?? Number.NaN))), 0);
      assert.ok(worst <= 1e-4, `logits differ by up to ${worst}`);
    });
  }
});

async function merged(recipeOrFile: string): Promise<{ out: string; sha256: string | undefined }> {
  const isFile = recipeOrFile.endsWith(".yml");
  const file = isFile ? recipeOrFile : "recipe.yml";
  const { recipe, diagnostics } = parseRecipe(isFile ? readFileSync(file, "utf8") : recipeOrFile, file);
  if (recipe === undefined) throw new WeightsmithError(diagnostics);
  const { plan, diagnostics: findings } = await planMerge(recipe, modelOpener(file));
  if (plan === undefined) throw new WeightsmithError(findings);
  const out = join(temporaryFolder(), "out");
  const { files } = await runMerge(plan, { out, threads: 1 });
  return { out, sha256: files[0]?.sha256 };
}

async function made([kind, first = "", ...rest]: readonly string[]): Promise<{ out: string; sha256: string | undefined }> {
  const folder = temporaryFolder();
  const run = { out: join(folder, "out"), threads: 1 };
  const common = { memoryBytes: 2 ** 29, threads: 1, seed: 0, gates: join(folder, "gates"), scratch: join(folder, "rows") };
  const result =
    kind === "moe"
      ? await makeMoe({ ...common, text: readFileSync(first, "utf8"), file: first, open: modelOpener(first) }, run)
      : await makeTransplant({ ...common, model: first, donor: rest[0] ?? "", settings: { k: Number(rest[2]) }, open: modelOpener("tokens") }, run);
  return { out: run.out, sha256: result.files[0]?.sha256 };
}

async function logitsOf(folder: string, ids: readonly (readonly number[])[]): Promise<Float32Array> {
  const config = parseDecoderConfig(JSON.parse(readFileSync(join(folder, "config.json"), "utf8")));
  const model = createDecoder(config, await readTensors(join(folder, "model.safetensors")), folder);
  const logits = forwardLogits(model, Int32Array.from(ids.flat()), ids.length);
  try {
    return logits.dataSync<"float32">().slice();
  } finally {
    logits.dispose();
    disposeDecoder(model);
  }
}
