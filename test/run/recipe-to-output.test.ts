// Recipe text to finished folder: laws that hold for every method, whatever its numbers.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { isFloat } from "../../merge-core/formats/dtypes.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import type { MergePlan } from "../../merge-core/plan/plan.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { folderHashes } from "../helpers/trees.ts";

const LAYERS = 2;
/** Odd, and several blocks long, so that tails and borders are met. */
const WIDTH = 4099;

function model(m: number): string {
  const noise = (salt: number, size: number) => Float32Array.from({ length: size }, (_, i) => Math.sin((m + 1) * 12.9898 + salt * 78.233 + i * (1 + m * 0.37)));
  const layers = Array.from({ length: LAYERS }, (_, l) => [
    floatTensor(`model.layers.${l}.mlp.up_proj.weight`, [5, WIDTH], noise(l, 5 * WIDTH), "BF16"),
    floatTensor(`model.layers.${l}.input_layernorm.weight`, [7], noise(l + 50, 7), "BF16"),
  ]);
  const config = { architectures: ["LlamaForCausalLM"], model_type: "llama", num_hidden_layers: LAYERS, torch_dtype: "bfloat16" };
  return writeModel([floatTensor("model.norm.weight", [3], noise(99, 3), "BF16"), ...layers.flat()], { config });
}

const folders = [0, 1, 2].map(model);
const [base, one, two] = folders as [string, string, string];

const pair = (parameters: string) => `models:\n${[one, two].map((folder) => `  - model: ${folder}\n    parameters: {${parameters}}\n`).join("")}`;
const RECIPES: Readonly<Record<string, string>> = {
  linear: `merge_method: linear\n${pair("weight: 0.5")}`,
  slerp: `merge_method: slerp\nbase_model: ${one}\nmodels: [{model: ${one}}, {model: ${two}}]\nparameters: {t: [0.2, 0.7]}\n`,
  task_arithmetic: `merge_method: task_arithmetic\nbase_model: ${base}\n${pair("weight: 0.4")}`,
  ties: `merge_method: ties\nbase_model: ${base}\n${pair("weight: 0.4, density: 0.3")}`,
  dare_linear: `merge_method: dare_linear\nbase_model: ${base}\n${pair("weight: 0.4, density: 0.5")}`,
  dare_ties: `merge_method: dare_ties\nbase_model: ${base}\n${pair("weight: 0.4, density: 0.5")}`,
  passthrough: `merge_method: passthrough\nslices:\n  - sources: [{model: ${one}, layer_range: [0, 2]}]\n  - sources: [{model: ${two}, layer_range: [0, 2]}]\n`,
};

async function planOf(text: string, options: { seed?: number; shardBytes?: number } = {}): Promise<MergePlan> {
  const { recipe, diagnostics } = parseRecipe(text, "recipe.yml");
  assert.ok(recipe, JSON.stringify(diagnostics));
  const { plan, diagnostics: problems } = await planMerge(recipe, modelOpener("recipe.yml"), options);
  assert.ok(plan, JSON.stringify(problems));
  return plan;
}

/** Runs a plan into a folder of its own; returns the folder. */
async function merged(plan: MergePlan, options: { threads?: number; memoryBytes?: number } = {}): Promise<string> {
  const out = join(temporaryFolder(), "out");
  await runMerge(plan, { out, ...options });
  return out;
}

async function tensorValues(folder: string, name: string): Promise<Float32Array> {
  const entry = (await openCheckpoint(folder)).tensors.get(name);
  assert.ok(entry && isFloat(entry.dtype), name);
  return widenToFloat32(entry.dtype, readFileSync(entry.file).subarray(entry.offset, entry.offset + entry.byteLength));
}

describe("recipe to output", () => {
  for (const [method, text] of Object.entries(RECIPES)) {
    it(`${method}: the same bytes for any threads and memory`, async () => {
      const plan = await planOf(text, { shardBytes: 60_000 });
      assert.ok(plan.shards.length > 1);
      const expected = folderHashes(await merged(plan, { threads: 1 }));
      for (const options of [{ threads: 2 }, { threads: 3, memoryBytes: 2 ** 20 }, { threads: 1, memoryBytes: 2 ** 19 }]) {
        assert.deepEqual(folderHashes(await merged(plan, options)), expected, JSON.stringify(options));
      }
    });
  }

  it("cancelled in the middle and run again: the same bytes, random masks included", async () => {
    const plan = await planOf(RECIPES.dare_ties ?? "", { seed: 7 });
    const expected = folderHashes(await merged(plan));
    const out = join(temporaryFolder(), "out");
    const controller = new AbortController();
    const onProgress = ({ bytesDone, bytesTotal }: { bytesDone: number; bytesTotal: number }) => void (bytesDone > bytesTotal / 3 && controller.abort());
    await rejectsWith("cancelled", () => runMerge(plan, { out, signal: controller.signal, onProgress }));
    const { resumedTensors } = await runMerge(plan, { out });
    assert.ok(resumedTensors > 0 && resumedTensors < plan.jobs.length, `${resumedTensors} taken over`);
    assert.deepEqual(folderHashes(out), expected);
  });

  it("the seed changes a random merge and nothing else", async () => {
    const shard = async (method: string, seed: number) => folderHashes(await merged(await planOf(RECIPES[method] ?? "", { seed })))["model.safetensors"];
    assert.notEqual(await shard("dare_linear", 1), await shard("dare_linear", 2));
    assert.equal(await shard("ties", 1), await shard("ties", 2));
  });

  it("a stack of layers renumbers them, byte for byte, and says so in the config", async () => {
    const out = await merged(await planOf(RECIPES.passthrough ?? ""));
    for (const [layer, folder, from] of [
      [0, one, 0],
      [1, one, 1],
      [2, two, 0],
      [3, two, 1],
    ] as const) {
      const name = (l: number) => `model.layers.${l}.mlp.up_proj.weight`;
      assert.deepEqual(await tensorValues(out, name(layer)), await tensorValues(folder, name(from)));
    }
    assert.equal(JSON.parse(readFileSync(join(out, "config.json"), "utf8")).num_hidden_layers, 2 * LAYERS);
  });

  it("a linear merge of one model with itself is that model", async () => {
    const out = await merged(
      await planOf(`merge_method: linear\nmodels:\n  - model: ${one}\n    parameters: {weight: 0.5}\n  - model: ${one}\n    parameters: {weight: 0.5}\n`),
    );
    for (const name of (await openCheckpoint(one)).tensors.keys()) assert.deepEqual(await tensorValues(out, name), await tensorValues(one, name), name);
  });

  it("an output opens, and merges again", async () => {
    const out = await merged(await planOf(RECIPES.ties ?? "", { shardBytes: 60_000 }));
    const again = await merged(await planOf(`merge_method: linear\nmodels:\n  - model: ${out}\n    parameters: {weight: 1}\n`));
    const name = "model.layers.1.mlp.up_proj.weight";
    assert.deepEqual(await tensorValues(again, name), await tensorValues(out, name));
  });
});
