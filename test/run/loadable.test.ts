// What a loader finds in the output: names, shapes and dtypes as the inputs have them, and a config that is true to them.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, type TensorData, writeModel } from "../helpers/models.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

type Config = Record<string, unknown>;

/** Models with one value throughout; `shapes` gives their tensors. */
class Workshop {
  readonly folder = temporaryFolder();

  add(name: string, value: number, shapes: Readonly<Record<string, readonly number[]>>, config: Config, files: Record<string, string> = {}): this {
    const tensors = Object.entries(shapes).map(
      ([tensor, shape]): TensorData => floatTensor(tensor, shape, new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value), "BF16"),
    );
    writeModel(tensors, { folder: join(this.folder, name), config: { torch_dtype: "bfloat16", ...config }, files });
    return this;
  }

  async plan(text: string) {
    const file = join(this.folder, "recipe.yml");
    const { recipe } = parseRecipe(text, file);
    assert.ok(recipe);
    return planMerge(recipe, modelOpener(file));
  }

  async merge(text: string) {
    const { plan, diagnostics } = await this.plan(text);
    assert.ok(plan, diagnostics.map(({ message }) => message).join());
    const out = join(temporaryFolder(), "out");
    await runMerge(plan, { out, threads: 1 });
    const tensors = [...(await readTensors(join(out, "model.safetensors")))];
    return {
      out,
      shapes: Object.fromEntries(tensors.map(([name, { shape }]) => [name, shape])),
      firsts: Object.fromEntries(tensors.map(([name, tensor]) => [name, valuesOf(tensor)[0]])),
      dtypes: new Set(tensors.map(([, { dtype }]) => dtype)),
      config: JSON.parse(readFileSync(join(out, "config.json"), "utf8")) as Config,
    };
  }
}

const AVERAGE = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n";
const EMBEDDING = "model.embed_tokens.weight";
const codes = (diagnostics: readonly Diagnostic[]) => diagnostics.map(({ code, severity }) => `${severity} ${code}`);

/** Mixtral as it was published: three matrices for each expert. */
const perExpert = (layers = 1): Record<string, readonly number[]> => ({
  [EMBEDDING]: [6, 2],
  ...Object.fromEntries(
    Array.from({ length: layers }, (_, k) => `model.layers.${k}.block_sparse_moe`).flatMap((moe) => [
      [`${moe}.gate.weight`, [2, 2]],
      ...[0, 1].flatMap((e) => ["w1", "w2", "w3"].map((w) => [`${moe}.experts.${e}.${w}.weight`, [3, 2]] as const)),
    ]),
  ),
  "lm_head.weight": [6, 2],
});

/** As transformers stores experts today: those of a layer in one tensor. */
const FUSED: Record<string, readonly number[]> = {
  [EMBEDDING]: [6, 2],
  "model.layers.0.mlp.gate.weight": [2, 2],
  "model.layers.0.mlp.experts.gate_up_proj": [2, 6, 2],
  "model.layers.0.mlp.experts.down_proj": [2, 2, 3],
  "lm_head.weight": [6, 2],
};

describe("an output that loaders accept", () => {
  const moe = { architectures: ["MixtralForCausalLM"], num_local_experts: 2, num_hidden_layers: 1, vocab_size: 6 };

  for (const [what, shapes] of [
    ["single experts", perExpert()],
    ["experts in one tensor", FUSED],
  ] as const)
    it(`keeps ${what} as the inputs have them`, async () => {
      const merged = await new Workshop().add("a", 1, shapes, moe).add("b", 3, shapes, moe).merge(AVERAGE);
      assert.deepEqual(merged.shapes, shapes);
      assert.ok(Object.values(merged.firsts).every((value) => value === 2));
      assert.deepEqual([merged.config, [...merged.dtypes]], [{ torch_dtype: "bfloat16", ...moe }, ["BF16"]]);
    });

  it("renumbers layers of experts, not experts", async () => {
    const config = { ...moe, num_hidden_layers: 2 };
    const merged = await new Workshop()
      .add("a", 1, perExpert(2), config)
      .add("b", 3, perExpert(2), config)
      .merge("merge_method: passthrough\nslices:\n  - sources: [{model: a, layer_range: [0, 2]}]\n  - sources: [{model: b, layer_range: [1, 2]}]\n");
    assert.deepEqual(merged.shapes, perExpert(3));
    const names = [1, 2].map((k) => `model.layers.${k}.block_sparse_moe.experts.1.w2.weight`);
    assert.deepEqual([names.map((name) => merged.firsts[name]), merged.config.num_hidden_layers], [[1, 3], 3]);
  });

  it("refuses to merge single experts with experts in one tensor, and names tensors of both", async () => {
    const { plan, diagnostics } = await new Workshop().add("a", 1, perExpert(), moe).add("b", 3, FUSED, moe).plan(AVERAGE);
    assert.equal(plan, undefined);
    assert.deepEqual(codes(diagnostics), ["error expert-layouts"]);
    assert.match(
      `${diagnostics[0]?.found} ${diagnostics[0]?.expected}`,
      /b: model\.layers\.0\.mlp\.experts\.\S+ .*a: model\.layers\.0\.block_sparse_moe\.experts\.0\.w1\.weight/,
    );
  });

  it("keeps rows that pad the vocabulary, and the config's number of them", async () => {
    const tokenizer = JSON.stringify({ version: "1.0", added_tokens: [], model: { type: "BPE", vocab: { a: 0, b: 1, c: 2 }, merges: [] } });
    const shapes = { [EMBEDDING]: [8, 2], "model.layers.0.mlp.up_proj.weight": [2, 2], "lm_head.weight": [8, 2] };
    const files = { "tokenizer.json": tokenizer, "tokenizer_config.json": "{}" };
    const config = { vocab_size: 8, num_hidden_layers: 1 };
    const shop = new Workshop().add("a", 1, shapes, config, files).add("b", 3, shapes, config, files);
    for (const text of [AVERAGE, `${AVERAGE}tokenizer_source: base\n`, `${AVERAGE}tokenizer_source: union\n`]) {
      const merged = await shop.merge(text);
      assert.deepEqual(merged.shapes, shapes, text);
      assert.deepEqual(merged.config, { torch_dtype: "bfloat16", ...config });
      assert.equal(readFileSync(join(merged.out, "tokenizer.json"), "utf8"), tokenizer);
    }
  });

  it("has no head where no input has one, whatever the config says of tying", async () => {
    const shapes = { [EMBEDDING]: [4, 2], "model.norm.weight": [2] };
    for (const config of [{ tie_word_embeddings: true }, {}]) {
      const merged = await new Workshop().add("a", 1, shapes, config).add("b", 3, shapes, config).merge(AVERAGE);
      assert.deepEqual(merged.shapes, shapes);
      assert.deepEqual(merged.config, { torch_dtype: "bfloat16", ...config });
    }
  });

  it("has a head and says so where only some inputs have one", async () => {
    const tied = { [EMBEDDING]: [4, 2], "model.norm.weight": [2] };
    const merged = await new Workshop()
      .add("a", 1, tied, { tie_word_embeddings: true })
      .add("b", 3, { ...tied, "lm_head.weight": [4, 2] }, { tie_word_embeddings: false })
      .merge(AVERAGE);
    assert.deepEqual(merged.shapes, { ...tied, "lm_head.weight": [4, 2] });
    assert.deepEqual([merged.firsts["lm_head.weight"], merged.config.tie_word_embeddings], [2, false]);
  });

  it("crops vocabularies of different sizes, and says so in the part of the config that counts", async () => {
    const shapes = (rows: number) => ({ "language_model.model.embed_tokens.weight": [rows, 2], "language_model.lm_head.weight": [rows, 2] });
    const config = (rows: number) => ({ text_config: { vocab_size: rows }, vision_config: { depth: 1 } });
    const merged = await new Workshop().add("a", 1, shapes(6), config(6)).add("b", 3, shapes(4), config(4)).merge(AVERAGE);
    assert.deepEqual([merged.shapes, merged.config], [shapes(4), { torch_dtype: "bfloat16", ...config(4) }]);
  });

  it("crops the embedding that encoder and decoder share as any other, and takes it for a head that is left out", async () => {
    const shapes = (rows: number) => ({ "shared.weight": [rows, 2], "encoder.block.0.layer.0.SelfAttention.q.weight": [2, 2] });
    const shop = new Workshop()
      .add("a", 1, shapes(6), { vocab_size: 6 })
      .add("b", 3, { ...shapes(4), "lm_head.weight": [4, 2] }, { vocab_size: 4, tie_word_embeddings: false });
    const merged = await shop.merge(AVERAGE);
    assert.deepEqual(merged.shapes, { ...shapes(4), "lm_head.weight": [4, 2] });
    assert.deepEqual(merged.config, { torch_dtype: "bfloat16", vocab_size: 4, tie_word_embeddings: false });
    assert.equal(merged.firsts["lm_head.weight"], 2);
  });

  it("has generation config, tokenizer and processor files of its donor, and the dtype asked for in config and tensors", async () => {
    const files = { "generation_config.json": "{}", "tokenizer.model": "x", "preprocessor_config.json": "{}", "chat_template.jinja": "{{ x }}" };
    const shapes = { [EMBEDDING]: [4, 2] };
    const shop = new Workshop().add("a", 1, shapes, {}, files).add("b", 3, shapes, {});
    const merged = await shop.merge(`${AVERAGE}dtype: float32\nout_dtype: float16\n`);
    for (const name of [...Object.keys(files), "README.md", "weightsmith.json"]) assert.ok(existsSync(join(merged.out, name)), name);
    assert.deepEqual([[...merged.dtypes], merged.config.torch_dtype], [["F16"], "float16"]);
  });
});
