// Recipes built as the six examples that mergekit ships are (June 2026), with tiny models under the names that they use: each must plan
// without a finding that mergekit would not have. Notes (info) are no findings of that kind: the result is mergekit's.
import assert from "node:assert/strict";
import { join } from "node:path";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import type { MergeJob, MergePlan } from "../../merge-core/plan/plan.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";

const [ORCA, PLATYPUS, WIZARD, MATH] = [
  "psmathur/orca_mini_v3_13b",
  "garage-bAInd/Platypus2-13B",
  "WizardLM/WizardLM-13B-V1.2",
  "WizardLM/WizardMath-13B-V1.0",
];
const LLAMA = "TheBloke/Llama-2-13B-fp16";
const MISTRAL = ["mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-Instruct-v0.2", "BioMistral/BioMistral-7B"];
const LAYERS = 40;

function addModel(folder: string, name: string): void {
  const one = (tensor: string, shape: readonly number[]) => floatTensor(tensor, shape, new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1), "F16");
  const layer = (k: number) => ["self_attn.q_proj.weight", "mlp.up_proj.weight", "input_layernorm.weight"].map((n) => one(`model.layers.${k}.${n}`, [2]));
  const layers = Array.from({ length: LAYERS }, (_, k) => layer(k)).flat();
  const tensors = [one("model.embed_tokens.weight", [4, 2]), ...layers, one("model.norm.weight", [2]), one("lm_head.weight", [4, 2])];
  const config = { architectures: ["LlamaForCausalLM"], num_hidden_layers: LAYERS, vocab_size: 4, torch_dtype: "float16", tie_word_embeddings: false };
  writeModel(tensors, { folder: join(folder, name), config });
}

describe("A recipe like mergekit's example", () => {
  const folder = temporaryFolder();
  before(() => {
    for (const name of [ORCA, PLATYPUS, WIZARD, MATH, LLAMA, ...MISTRAL, "model_a", "model_b"]) addModel(folder, name);
  });

  async function planned(text: string): Promise<MergePlan> {
    const file = join(folder, "recipe.yml");
    const { recipe, diagnostics } = parseRecipe(text, file);
    assert.ok(recipe, diagnostics.map(formatDiagnostic).join("\n"));
    const { plan, diagnostics: findings } = await planMerge(recipe, modelOpener(file));
    const all = [...diagnostics, ...findings].filter(({ severity }) => severity !== "info");
    assert.deepEqual(all.map(formatDiagnostic), []);
    assert.ok(plan);
    return plan;
  }

  const job = (plan: MergePlan, name: string) => plan.jobs.find((j): j is MergeJob => j.kind === "merge" && j.name === name);

  it("arcee_fusion: two models, the base one of them", async () => {
    const plan = await planned(`merge_method: arcee_fusion
base_model: model_a
dtype: bfloat16
models: [{model: model_a}, {model: model_b}]
`);
    assert.deepEqual([plan.jobs.length, plan.jobs[0]?.dtype, plan.config], [3 * LAYERS + 3, "BF16", [{ path: ["torch_dtype"], value: "bfloat16" }]]);
  });

  it("bio-merge: ties, not normalised", async () => {
    const [base, ...others] = MISTRAL;
    const plan = await planned(`merge_method: ties
base_model: ${base}
dtype: float16
parameters: {int8_mask: true, normalize: false}
models:
${others.map((model) => `  - {model: ${model}, parameters: {weight: 0.5, density: 0.5}}\n`).join("")}`);
    const { inputs, parameters } = job(plan, "lm_head.weight") ?? {};
    assert.deepEqual([inputs?.map(({ model, isBase }) => [model, isBase]), parameters?.normalize], [[...others.map((m) => [m, false]), [base, true]], 0]);
  });

  it("gradient-slerp: gradients by filter, as slices and as models", async () => {
    const rest = `merge_method: slerp
base_model: ${ORCA}
dtype: float16
parameters:
  t: [{filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}, {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}, {value: 0.5}]
`;
    const sources = [ORCA, PLATYPUS].map((model) => `{model: ${model}, layer_range: [0, ${LAYERS}]}`);
    const plans = await Promise.all([
      planned(`${rest}slices: [{sources: [${sources.join(", ")}]}]\n`),
      planned(`${rest}models: [{model: ${ORCA}}, {model: ${PLATYPUS}}]\n`),
    ]);
    for (const plan of plans) {
      const t = (name: string) => job(plan, name)?.parameters.t;
      assert.deepEqual(
        [0, 39].map((k) => t(`model.layers.${k}.self_attn.q_proj.weight`)),
        [0, 1],
      );
      assert.deepEqual(
        [0, 39].map((k) => t(`model.layers.${k}.mlp.up_proj.weight`)),
        [1, 0],
      );
      assert.deepEqual(["model.layers.3.input_layernorm.weight", "lm_head.weight", "model.embed_tokens.weight"].map(t), [0.5, 0.5, 0.5]);
    }
  });

  it("linear: three models with weights of their own", async () => {
    const weights = new Map([
      [ORCA, 1],
      [WIZARD, 0.3],
      [PLATYPUS, 0.5],
    ]);
    const plan = await planned(`merge_method: linear
dtype: float16
models:
${[...weights].map(([model, weight]) => `  - model: ${model}\n    parameters: {weight: ${weight}}\n`).join("")}`);
    assert.deepEqual(new Map(job(plan, "model.norm.weight")?.inputs.map(({ model, parameters }) => [model, parameters.weight])), weights);
  });

  it("orcamini-platy-44layer: layers of two models on top of each other", async () => {
    const plan = await planned(`merge_method: passthrough
dtype: float16
slices:
  - sources: [{model: ${ORCA}, layer_range: [0, 24]}]
  - sources: [{model: ${PLATYPUS}, layer_range: [20, 40]}]
`);
    assert.deepEqual(plan.config, [{ path: ["num_hidden_layers"], value: 44 }]);
    const copied = plan.jobs.find(({ name }) => name === "model.layers.43.mlp.up_proj.weight");
    assert.ok(copied?.kind === "copy" && copied.source.file.includes(PLATYPUS) && copied.source.name === "model.layers.39.mlp.up_proj.weight");
  });

  it("ties: gradients of density and weight, weights by filter", async () => {
    const plan = await planned(`merge_method: ties
base_model: ${LLAMA}
dtype: float16
parameters: {int8_mask: true, normalize: true}
models:
  - {model: ${ORCA}, parameters: {weight: 1.0, density: [1, 0.7, 0.1]}}
  - {model: ${PLATYPUS}, parameters: {weight: [0, 0.3, 0.7, 1], density: 0.5}}
  - {model: ${MATH}, parameters: {weight: [{filter: mlp, value: 0.5}, {value: 0}], density: 0.33}}
`);
    const seen = (name: string) =>
      job(plan, name)
        ?.inputs.map(({ parameters: { weight, density } }) => [weight, density])
        .slice(0, 3);
    assert.deepEqual(seen("model.layers.39.mlp.up_proj.weight"), [
      [1, 0.1],
      [1, 0.5],
      [0.5, 0.33],
    ]);
    assert.deepEqual(seen("model.layers.0.self_attn.q_proj.weight"), [
      [1, 1],
      [0, 0.5],
      [0, 0.33],
    ]);
    assert.deepEqual(
      plan.findings.map(({ code, found }) => [code, found]),
      [
        ["gradient-outside-layers", "weight 0 for model.norm.weight, lm_head.weight"],
        ["gradient-outside-layers", "density 1 for model.norm.weight, lm_head.weight"],
      ],
    );
  });
});
