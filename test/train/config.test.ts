import assert from "node:assert/strict";
import { resolve } from "node:path";
import { parseTrainConfig, TRAIN_DEFAULTS } from "../../merge-core/train/config.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";

const MINIMAL = "model: base\ndata:\n  train: a.jsonl\n";

const WHOLE = `
model: base
init: random
data:
  train: [a.jsonl, b.jsonl]
  validation: v.jsonl
method: lora
lora: { r: 8, alpha: 16, dropout: 0.05, target_modules: [q_proj, v_proj] }
optimizer: { lr: 2e-4, betas: [0.9, 0.95], eps: 1e-6, weight_decay: 0.1 }
schedule: { warmup_steps: 10, floor: 0.1 }
steps: 100
batch_size: 4
gradient_accumulation: 2
max_grad_norm: 0.5
seed: 7
save_every: 20
eval_every: 50
dtype: float32
max_length: 128
`;

/** Each mistake with the code and the one-based place it must be reported at. */
const MISTAKES: readonly [what: string, text: string, code: string, place: string][] = [
  ["a syntax error", "model: [base\ndata: 1", "yaml-syntax", "2:1"],
  ["a list instead of a mapping", "- model", "config-not-a-map", ""],
  ["an unknown key", `${MINIMAL}batchsize: 4`, "config-unknown-key", "4:1"],
  ["an unknown nested key", `${MINIMAL}optimizer: { learning_rate: 1 }`, "config-unknown-key", "4:14"],
  ["no model", "data:\n  train: a.jsonl", "config-invalid-value", "1:1"],
  ["no training data", "model: base\ndata: {}", "config-invalid-value", "2:7"],
  ["a negative learning rate", `${MINIMAL}optimizer: { lr: -1 }`, "config-invalid-value", "4:18"],
  ["a batch of one half", `${MINIMAL}batch_size: 0.5`, "config-invalid-value", "4:13"],
  ["text where a number belongs", `${MINIMAL}seed: abc`, "config-invalid-value", "4:7"],
  ["an empty value", `${MINIMAL}seed:`, "config-invalid-value", "4:6"],
  ["NaN", `${MINIMAL}max_grad_norm: .nan`, "config-invalid-value", "4:16"],
  ["an unknown method", `${MINIMAL}method: dora`, "config-invalid-value", "4:9"],
  ["LoRA without its settings", `${MINIMAL}method: lora`, "config-invalid-value", "1:1"],
  ["LoRA settings without LoRA", `${MINIMAL}lora: { r: 1 }`, "config-invalid-value", "4:7"],
  ["an unknown target module", `${MINIMAL}method: lora\nlora: { r: 1, target_modules: [query] }`, "config-invalid-value", "5:31"],
  ["an adapter without a family", `${MINIMAL}method: adapter\nadapter: { target_modules: [q_proj] }`, "config-invalid-value", "5:10"],
  ["an unknown family", `${MINIMAL}method: adapter\nadapter: { family: verra, target_modules: [q_proj] }`, "config-invalid-value", "5:20"],
  ["a family's setting that another has", `${MINIMAL}method: adapter\nadapter: { family: ia3, target_modules: [q_proj], r: 4 }`, "config-unknown-key", "5:51"],
  ["a norm as target of a family of matrices", `${MINIMAL}method: adapter\nadapter: { family: vera, target_modules: [norm] }`, "config-invalid-value", "5:42"],
  ["a flag that is no flag", `${MINIMAL}method: adapter\nadapter: { family: oft, target_modules: [q_proj], block_share: 1 }`, "config-invalid-value", "5:64"],
  ["beta of one", `${MINIMAL}optimizer: { betas: [0.9, 1] }`, "config-invalid-value", "4:21"],
  ["steps and epochs", `${MINIMAL}steps: 1\nepochs: 1`, "config-invalid-value", "5:9"],
  ["an unknown optimiser", `${MINIMAL}optimizer: { name: adagrad }`, "config-invalid-value", "4:20"],
  ["an optimiser's key that another has", `${MINIMAL}optimizer: { name: lion, rank: 4 }`, "config-unknown-key", "4:26"],
  ["a group that is no pattern", `${MINIMAL}optimizer: { groups: [{ match: "(", rate: 2 }] }`, "config-invalid-value", "4:32"],
  ["early stopping without validation", `${MINIMAL}early_stopping: { patience: 2 }`, "config-invalid-value", "4:17"],
  ["a type of a base that is trained", `${MINIMAL}base_dtype: float32`, "config-invalid-value", "4:13"],
  ["a type that no base is held in", `${MINIMAL}method: lora\nlora: { r: 1, target_modules: [q_proj] }\nbase_dtype: int8`, "config-invalid-value", "6:13"],
  ["max_length of one", `${MINIMAL}max_length: 1`, "config-invalid-value", "4:13"],
];

describe("training config", () => {
  it("fills in defaults and takes paths relative to the file", () => {
    assert.deepEqual(parseTrainConfig(MINIMAL, "runs/train.yml"), {
      ...TRAIN_DEFAULTS,
      model: resolve("runs/base"),
      data: { train: [resolve("runs/a.jsonl")], validation: [] },
    });
  });

  it("names what an unknown layer or family was meant to be", async () => {
    const remedyOf = async (text: string) =>
      (await rejectsWith("config-invalid-value", () => parseTrainConfig(`${MINIMAL}method: adapter\nadapter: { ${text} }`, "train.yml"))).remedy;
    assert.equal(await remedyOf("family: lora, target_modules: [q_prj]"), "did you mean q_proj?");
    assert.equal(await remedyOf("family: verra, target_modules: [q_proj]"), "did you mean vera?");
  });

  it("reads every key", () => {
    assert.deepEqual(parseTrainConfig(WHOLE, "train.yml"), {
      model: resolve("base"),
      init: "random",
      data: { train: [resolve("a.jsonl"), resolve("b.jsonl")], validation: [resolve("v.jsonl")] },
      method: { kind: "lora", r: 8, alpha: 16, dropout: 0.05, targetModules: ["q_proj", "v_proj"] },
      optimizer: { lr: 2e-4, betas: [0.9, 0.95], eps: 1e-6, weightDecay: 0.1 },
      schedule: { warmupSteps: 10, floor: 0.1 },
      length: { steps: 100 },
      batchSize: 4,
      gradientAccumulation: 2,
      maxGradNorm: 0.5,
      seed: 7,
      saveEvery: 20,
      evalEvery: 50,
      dtype: "F32",
      maxLength: 128,
    });
  });

  it("reads optimisers with the defaults of their papers, groups, and features of training", () => {
    const optimizer = (text: string) => parseTrainConfig(`${MINIMAL}optimizer: ${text}`, "train.yml").optimizer;
    const { lr, betas, eps, weightDecay } = TRAIN_DEFAULTS.optimizer;
    assert.deepEqual(optimizer("{ name: adamw }"), { lr, betas, eps, weightDecay });
    assert.deepEqual(optimizer("{ name: lion }"), { lr, betas: [0.9, 0.99], eps, weightDecay, rule: { name: "lion" } });
    assert.deepEqual(optimizer("{ name: galore, rank: 8 }").rule, { name: "galore", rank: 8, updateEvery: 200, scale: 0.25 });
    assert.deepEqual(optimizer("{ name: sparse_mezo }"), { lr, betas, eps, weightDecay: 0, rule: { name: "mezo", distance: 1e-3, sparsity: 0.75 } });
    const more = optimizer("{ lora_pro: true, groups: [{ match: lora_B, rate: 16 }] }");
    assert.deepEqual(more, { lr, betas, eps, weightDecay, loraPro: true, groups: [{ match: "lora_B", rate: 16 }] });
    const text = "model: base\ndata: { train: a.jsonl, validation: b.jsonl }\neval_every: 5\nearly_stopping: { patience: 2 }\ngradient_checkpointing: true\n";
    const { earlyStopping, gradientCheckpointing } = parseTrainConfig(text, "train.yml");
    assert.deepEqual({ earlyStopping, gradientCheckpointing }, { earlyStopping: { patience: 2, minDelta: 0 }, gradientCheckpointing: true });
  });

  it("reads adapters of any family, settings of the family and of its training", () => {
    const { method } = parseTrainConfig(`${MINIMAL}method: adapter\nadapter: { family: MoS, target_modules: [q_proj], r: 4, dropout: 0.1 }`, "train.yml");
    const settings = { r: 4, lora_alpha: 16, equivalent_rank: 2, chunks: 2, private_rank: 1 };
    assert.deepEqual(method, { kind: "adapter", family: "x-weightsmith-mos", targetModules: ["q_proj"], dropout: 0.1, settings });
    const lora = parseTrainConfig(`${MINIMAL}method: adapter\nadapter: { family: lora, target_modules: [q_proj], lora_plus_ratio: 16 }`, "train.yml").method;
    assert.ok(lora.kind === "adapter" && lora.settings.lora_plus_ratio === 16 && lora.settings.init_lora_weights === "default");
  });

  for (const [what, text, code, place] of MISTAKES) {
    it(`refuses ${what} where it stands`, async () => {
      const { range } = await rejectsWith(code, () => parseTrainConfig(text, "train.yml"));
      assert.equal(range === undefined ? "" : `${range.line + 1}:${range.column + 1}`, place);
    });
  }

  it("names the nearest known key", async () => {
    const { remedy } = await rejectsWith("config-unknown-key", () => parseTrainConfig(`${MINIMAL}batchsize: 4`, "train.yml"));
    assert.equal(remedy, "did you mean batch_size?");
  });
});
