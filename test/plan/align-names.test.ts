// Models of one architecture whose tensors have other names: with and without the part before all names, experts one by one and joined.
import assert from "node:assert/strict";
import { join } from "node:path";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, type TensorData, writeModel } from "../helpers/models.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

class Workshop {
  readonly folder = temporaryFolder();

  add(name: string, tensors: readonly TensorData[]): this {
    writeModel(tensors, { folder: join(this.folder, name), config: {} });
    return this;
  }

  plan(text: string) {
    const file = join(this.folder, "recipe.yml");
    const { recipe, diagnostics } = parseRecipe(text, file);
    assert.ok(recipe, diagnostics.map(formatDiagnostic).join("\n"));
    return planMerge(recipe, modelOpener(file));
  }

  /** The output's values by name, and the codes of what was told. */
  async merge(text: string) {
    const { plan, diagnostics } = await this.plan(text);
    assert.ok(plan, diagnostics.map(formatDiagnostic).join("\n"));
    const out = join(temporaryFolder(), "out");
    await runMerge(plan, { out, threads: 1 });
    const tensors = await readTensors(join(out, "model.safetensors"));
    return { tensors: Object.fromEntries([...tensors].map(([name, tensor]) => [name, [...valuesOf(tensor)]])), codes: plan.findings.map(({ code }) => code) };
  }
}

const average = (...models: readonly string[]) =>
  `merge_method: linear\nmodels:\n${models.map((model) => `  - {model: ${model}, parameters: {weight: 1}}\n`).join("")}`;

/** A GPT-2 of one layer, all of whose numbers are `value`. */
const gpt2 = (prefix: string, value: number, ...more: readonly TensorData[]) => [
  ...["wte.weight", "h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight", "ln_f.weight"].map((name) => floatTensor(`${prefix}${name}`, [1, 1], [value])),
  ...more,
];

describe("names without the part before all of them", () => {
  it("are taken for those of the first model, whichever has it", async () => {
    const shop = new Workshop().add("bare", gpt2("", 1)).add("whole", gpt2("transformer.", 3));
    const bare = await shop.merge(average("bare", "whole"));
    assert.deepEqual(Object.entries(bare.tensors).sort()[0], ["h.0.attn.c_attn.weight", [2]]);
    const whole = await shop.merge(average("whole", "bare"));
    assert.deepEqual(
      Object.entries(whole.tensors).sort(),
      ["h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight", "ln_f.weight", "wte.weight"].map((name) => [`transformer.${name}`, [2]]),
    );
    assert.deepEqual([bare.codes, whole.codes], [["names-prefixed"], ["names-prefixed"]]);
  });

  it("stay what they are where both models have them", async () => {
    const head = floatTensor("lm_head.weight", [1, 1], [5]);
    const { tensors } = await new Workshop()
      .add("whole", gpt2("transformer.", 3, head))
      .add("bare", gpt2("", 1, head))
      .merge(average("whole", "bare"));
    assert.deepEqual(tensors["lm_head.weight"], [5]);
  });

  it("of another architecture are not renamed", async () => {
    const other = ["a.weight", "b.weight"].map((name) => floatTensor(name, [1, 1], [1]));
    const { plan, diagnostics } = await new Workshop().add("whole", gpt2("transformer.", 3)).add("other", other).plan(average("whole", "other"));
    assert.equal(plan, undefined);
    assert.equal(diagnostics[0]?.code, "architecture-differs");
  });
});

const LAYER = "model.layers.0.";
const [EXPERTS, INNER, HIDDEN] = [2, 3, 2];

/** Matrices of both experts in the order of a joined file: of each expert gate, then up; and down of each. */
const numbered = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);
const upSize = INNER * HIDDEN;

/** Two experts joined in one tensor, numbered from `from`. */
const joined = (from: number): TensorData[] => [
  floatTensor(`${LAYER}mlp.experts.gate_up_proj`, [EXPERTS, 2 * INNER, HIDDEN], numbered(from, 2 * EXPERTS * upSize)),
  floatTensor(`${LAYER}mlp.experts.down_proj`, [EXPERTS, HIDDEN, INNER], numbered(from + 100, EXPERTS * upSize)),
  floatTensor(`${LAYER}mlp.gate.weight`, [EXPERTS, HIDDEN], numbered(from + 200, 4)),
];

/** The same one by one. */
const apart = (from: number, block: string, [gate, up, down]: readonly [string, string, string]): TensorData[] => [
  ...numbered(0, EXPERTS).flatMap((e) => [
    floatTensor(`${LAYER}${block}.experts.${e}.${gate}.weight`, [INNER, HIDDEN], numbered(from + 2 * e * upSize, upSize)),
    floatTensor(`${LAYER}${block}.experts.${e}.${up}.weight`, [INNER, HIDDEN], numbered(from + (2 * e + 1) * upSize, upSize)),
    floatTensor(`${LAYER}${block}.experts.${e}.${down}.weight`, [HIDDEN, INNER], numbered(from + 100 + e * upSize, upSize)),
  ]),
  floatTensor(`${LAYER}${block}.gate.weight`, [EXPERTS, HIDDEN], numbered(from + 200, 4)),
];

describe("experts in one tensor beside experts one by one", () => {
  for (const [block, names] of [
    ["block_sparse_moe", ["w1", "w3", "w2"]],
    ["mlp", ["gate_proj", "up_proj", "down_proj"]],
  ] as const)
    it(`are merged one by one, under the names ${block}.experts.0.${names[0]}`, async () => {
      const shop = new Workshop()
        .add("joined", joined(0))
        .add("apart", apart(10, block, names))
        .add("expected", apart(5, block, names));
      const expected = (await shop.merge("merge_method: passthrough\nmodels: [{model: expected}]\n")).tensors;
      for (const order of [
        ["joined", "apart"],
        ["apart", "joined"],
      ]) {
        const { tensors, codes } = await shop.merge(average(...order));
        assert.deepEqual(Object.entries(tensors).sort(), Object.entries(expected).sort());
        assert.deepEqual(codes, ["experts-split"]);
      }
    });

  it("stay joined where all models have them so", async () => {
    const { tensors } = await new Workshop().add("a", joined(0)).add("b", joined(2)).merge(average("a", "b"));
    assert.deepEqual(
      Object.keys(tensors).sort(),
      joined(0)
        .map(({ name }) => name)
        .sort(),
    );
  });

  it("in another order of dimensions are refused", async () => {
    const turned = floatTensor(`${LAYER}mlp.experts.gate_up_proj`, [EXPERTS, HIDDEN, 2 * INNER], numbered(0, 2 * EXPERTS * upSize));
    const { plan, diagnostics } = await new Workshop()
      .add("apart", apart(0, "mlp", ["gate_proj", "up_proj", "down_proj"]))
      .add("turned", [turned, ...joined(0).slice(1)])
      .plan(average("apart", "turned"));
    assert.equal(plan, undefined);
    assert.equal(diagnostics[0]?.code, "expert-layouts");
  });
});
