// Models with adapters in recipes: numbers in float32 until the one rounding at the end, and what is refused.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { WeightsmithError } from "../../merge-core/diagnostics.ts";
import { narrowFromFloat32, widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import type { MergePlan } from "../../merge-core/plan/plan.ts";
import { type PlanOptions, planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, type TensorData, writeModel } from "../helpers/models.ts";
import { folderHashes } from "../helpers/trees.ts";

const MODULE = "model.layers.0.mlp.up_proj";
const CONFIG = { peft_type: "LORA", r: 2, lora_alpha: 3, target_modules: ["up_proj"] };

const wave = (size: number, salt: number) => Float32Array.from({ length: size }, (_, i) => Math.fround(Math.sin(i * 0.7 * salt + salt)));

function writeAdapter(tensors: readonly TensorData[], config: Readonly<Record<string, unknown>> = {}): string {
  const folder = temporaryFolder();
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ ...CONFIG, ...config }));
  writeFileSync(join(folder, "adapter_model.safetensors"), encodeSafetensors(tensors));
  return folder;
}

const factors = (rows: number, columns: number, module = MODULE): TensorData[] => [
  floatTensor(`base_model.model.${module}.lora_A.weight`, [2, columns], wave(2 * columns, 2)),
  floatTensor(`base_model.model.${module}.lora_B.weight`, [rows, 2], wave(2 * rows, 3)),
];

async function planOf(text: string, options?: PlanOptions): Promise<MergePlan> {
  const { recipe, diagnostics } = parseRecipe(text, "recipe.yml");
  assert.ok(recipe, JSON.stringify(diagnostics));
  const { plan, diagnostics: problems } = await planMerge(recipe, modelOpener("recipe.yml"), options);
  if (plan === undefined) throw new WeightsmithError(problems);
  return plan;
}

async function run(plan: MergePlan, options: { threads?: number; memoryBytes?: number } = {}): Promise<string> {
  const out = join(temporaryFolder(), "out");
  await runMerge(plan, { out, ...options });
  return out;
}

const passthrough = (model: string, adapter: string) => `merge_method: passthrough\nmodels: [{model: ${model}+${adapter}}]\n`;

describe("model+adapter in a recipe", () => {
  // Larger than one block of the product.
  const [rows, columns] = [1100, 2500];
  const weights = wave(rows * columns, 1);
  const model = writeModel([floatTensor(`${MODULE}.weight`, [rows, columns], weights, "BF16")]);
  const adapter = writeAdapter(factors(rows, columns));

  it("is W + alpha/r B A, rounded to the stored dtype once, after the merge; the same bytes for any threads and memory", async () => {
    const plan = await planOf(
      `merge_method: linear\nmodels:\n  - model: ${model}+${adapter}\n    parameters: {weight: 0.25}\nparameters: {normalize: false}\n`,
    );
    const out = await run(plan, { threads: 1 });
    const hashes = folderHashes(out);
    assert.deepEqual(folderHashes(await run(plan, { threads: 3 })), hashes);
    assert.deepEqual(folderHashes(await run(plan, { threads: 2, memoryBytes: 2 ** 21 })), hashes);
    const [{ offset = 0, byteLength = 0 } = {}] = plan.jobs;
    const values = widenToFloat32("BF16", readFileSync(join(out, "model.safetensors")).subarray(offset, offset + byteLength));
    const stored = widenToFloat32("BF16", narrowFromFloat32("BF16", weights));
    const [a, b] = [wave(2 * columns, 2), wave(2 * rows, 3)];
    let worst = 0;
    for (let i = 0; i < values.length; i++) {
      const [o, k] = [Math.floor(i / columns), i % columns];
      const delta = (b[2 * o] ?? 0) * (a[k] ?? 0) + (b[2 * o + 1] ?? 0) * (a[columns + k] ?? 0);
      const exact = 0.25 * ((stored[i] ?? 0) + 1.5 * delta);
      // Half a unit of bfloat16 (2^-9 of the value), and what float32 loses.
      worst = Math.max(worst, Math.abs((values[i] ?? 0) - exact) / (Math.abs(exact) * 2 ** -8 + 2 ** -22));
    }
    assert.ok(worst <= 1, `${worst} of the tolerance`);
  });

  it("puts the adapter's file among the inputs, and its memory into the estimate", async () => {
    const plan = await planOf(passthrough(model, adapter));
    const files = plan.models[0]?.files.map(({ file }) => file);
    assert.deepEqual(files, [join(model, "model.safetensors"), join(adapter, "adapter_model.safetensors")]);
    const bare = await planOf(`merge_method: passthrough\nmodels: [{model: ${model}}]\n`);
    assert.ok(plan.peakMemoryBytes - bare.peakMemoryBytes >= rows * columns * 4);
    assert.notEqual(plan.planHash, (await planOf(passthrough(model, writeAdapter(factors(rows, columns), { lora_alpha: 4 })))).planHash);
    await rejectsWith("memory-budget", () => planOf(passthrough(model, adapter), { memoryBytes: 2 ** 20 }));
  });

  it("names what in the base an adapter misses, and the nearest there is", async () => {
    const diagnostic = await rejectsWith("adapter-target-missing", () =>
      planOf(passthrough(model, writeAdapter(factors(rows, columns, "model.layers.0.mlp.upproj")))),
    );
    assert.match(diagnostic.message, /no tensor model\.layers\.0\.mlp\.upproj\.weight/);
    assert.match(diagnostic.found ?? "", /nearest in .*: model\.layers\.0\.mlp\.up_proj\.weight/);
    assert.equal(diagnostic.range?.line, 1);
  });

  it("warns at its place in the recipe of an adapter that names another base, and of no other", async () => {
    const warningsOf = async (config: Readonly<Record<string, unknown>>) => {
      const { recipe } = parseRecipe(passthrough(model, writeAdapter(factors(rows, columns), config)), "recipe.yml");
      assert.ok(recipe);
      const { plan, diagnostics } = await planMerge(recipe, modelOpener("recipe.yml"));
      assert.ok(plan, "a warning stops nothing");
      return diagnostics.filter(({ code }) => code === "adapter-base-other");
    };
    const [warning, ...others] = await warningsOf({ base_model_name_or_path: "someone/other-model" });
    assert.deepEqual([warning?.severity, warning?.found, warning?.file, warning?.range?.line], ["warning", "someone/other-model", "recipe.yml", 1]);
    assert.match(warning?.notes?.[0] ?? "", /adapter_config\.json$/);
    assert.deepEqual([others, await warningsOf({ base_model_name_or_path: `elsewhere/${basename(model)}` }), await warningsOf({})], [[], [], []]);
  });

  it("refuses adapters that do not fit, are not whole, or mean something else", async () => {
    const [a, b] = factors(rows, columns) as [TensorData, TensorData];
    const extra = floatTensor(`base_model.model.${MODULE}.lora_B.bias`, [rows], new Float32Array(rows));
    const cases: readonly [string, string][] = [
      ["adapter-shape-mismatch", writeAdapter(factors(rows, columns + 1))],
      ["adapter-shape-mismatch", writeAdapter(factors(rows, columns), { fan_in_fan_out: true })],
      ["adapter-incomplete", writeAdapter([a])],
      ["adapter-incomplete", writeAdapter([a, { ...b, shape: [rows * 2, 1] }])],
      ["adapter-tensor-unexpected", writeAdapter([a, b, extra])],
      ["adapter-tensor-unexpected", writeAdapter([floatTensor("other", [1], [1])])],
      ["adapter-tensor-unexpected", writeAdapter([a, b], { peft_type: "LOHA" })],
      ["adapter-type-unsupported", writeAdapter([a, b], { peft_type: "XLORA" })],
      ["adapter-rank-mismatch", writeAdapter([a, b], { r: 3 })],
      ["adapter-rank-mismatch", writeAdapter([a, b], { rank_pattern: { up_proj: 4 } })],
      ["adapter-alpha-missing", writeAdapter([a, b], { lora_alpha: undefined })],
      ["adapter-type-unsupported", writeAdapter([a, b], { init_lora_weights: "corda" })],
      ["adapter-shape-mismatch", writeAdapter([floatTensor(`base_model.model.${MODULE}.weight`, [2, 2], [1, 2, 3, 4])])],
      ["model-missing", join(temporaryFolder(), "nothing")],
      ["file-missing", temporaryFolder()],
    ];
    for (const [code, folder] of cases) await rejectsWith(code, () => planOf(passthrough(model, folder)));
  });
});
