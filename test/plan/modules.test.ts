// Recipes by module, planned and run on tiny models of several parts.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { moduleFinder } from "../../merge-core/plan/module-tensors.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, type ModelOptions, writeModel } from "../helpers/models.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

const VISION = ["vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", "vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight"];
const PROJECTOR = "multi_modal_projector.linear_1.weight";
const TEXT = ["embed_tokens.weight", "layers.0.mlp.up_proj.weight", "layers.1.mlp.up_proj.weight", "norm.weight"].map((name) => `language_model.model.${name}`);
const HEAD = "language_model.lm_head.weight";
const ALL = [...VISION, PROJECTOR, ...TEXT, HEAD];
const CONFIG = { text_config: { num_hidden_layers: 2, vocab_size: 1 }, vision_config: { num_hidden_layers: 2 } };

/** Models with one number per tensor: `value` plus the tensor's place in the list. */
class Workshop {
  readonly folder = temporaryFolder();

  add(name: string, value: number, names: readonly string[] = ALL, config: ModelOptions["config"] = CONFIG): this {
    const tensors = names.map((tensor, i) => floatTensor(tensor, /embed|head/.test(tensor) ? [1, 1] : [1], [value + i]));
    writeModel(tensors, { folder: join(this.folder, name), config });
    return this;
  }

  async plan(text: string) {
    const file = join(this.folder, "recipe.yml");
    const { recipe, diagnostics } = parseRecipe(text, file);
    assert.ok(recipe, diagnostics.map(formatDiagnostic).join("\n"));
    return planMerge(recipe, modelOpener(file));
  }

  async merge(text: string) {
    const { plan, diagnostics } = await this.plan(text);
    assert.ok(plan, diagnostics.map(formatDiagnostic).join("\n"));
    const out = join(temporaryFolder(), "out");
    await runMerge(plan, { out, threads: 1 });
    const tensors = await readTensors(join(out, "model.safetensors"));
    const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8"));
    return { plan, config, values: new Map([...tensors].map(([name, tensor]) => [name, valuesOf(tensor)[0]])) };
  }
}

const two = () => new Workshop().add("a", 0).add("b", 100);
const place = (name: string) => ALL.indexOf(name);
const models = (weight: readonly [number, number]) =>
  `models: [{model: a, parameters: {weight: ${weight[0]}}}, {model: b, parameters: {weight: ${weight[1]}}}]`;

describe("a recipe by module", () => {
  it("merges each module by its own models, slices and parameters", async () => {
    const { plan, values } = await two().merge(`merge_method: linear
modules:
  vision_tower: {${models([1, 3])}}
  multi_modal_projector: {${models([0, 1])}}
  text_decoder: {${models([0.6, 0.6])}, parameters: {normalize: false}}
`);
    assert.deepEqual([...values.keys()].sort(), [...ALL].sort());
    for (const name of VISION) assert.equal(values.get(name), 75 + place(name), name);
    assert.equal(values.get(PROJECTOR), 100 + place(PROJECTOR));
    for (const name of [...TEXT, HEAD]) assert.ok(Math.abs((values.get(name) ?? 0) - 0.6 * (100 + 2 * place(name))) < 1e-4, name);
    assert.deepEqual(plan.findings, []);
  });

  it("keeps what belongs to no module, and says so", async () => {
    const { plan, values } = await two().merge(`merge_method: linear\nparameters: {weight: 1}\nbase_model: b\nmodules: {text_decoder: {${models([1, 1])}}}\n`);
    assert.deepEqual([...values.keys()].sort(), [...ALL].sort());
    for (const name of [...VISION, PROJECTOR]) assert.equal(values.get(name), 100 + place(name), name);
    for (const name of [...TEXT, HEAD]) assert.equal(values.get(name), 50 + place(name), name);
    assert.deepEqual(
      plan.findings.map(({ code, severity, found }) => [code, severity, found]),
      [["module-left-out", "warning", "vision_tower, multi_modal_projector"]],
    );
  });

  it("does not touch what it keeps, whatever method and parameters say, but for the dtype", async () => {
    const { plan, values } = await two().merge(
      "merge_method: passthrough\ndtype: bfloat16\nparameters: {scale: 2}\nmodules: {vision_tower: {models: [{model: a}]}}\n",
    );
    assert.equal(values.get(VISION[1] ?? ""), 2 * 1);
    assert.equal(values.get(HEAD), place(HEAD));
    assert.ok(plan.jobs.every(({ dtype }) => dtype === "BF16"));
  });

  it("stacks the layers of one module, and counts them in its part of the config", async () => {
    const { config, values } = await two().merge(`merge_method: passthrough
modules:
  vision_tower:
    slices:
      - sources: [{model: a, layer_range: [0, 2]}]
      - sources: [{model: b, layer_range: [1, 2]}]
  default: {models: [{model: a}]}
`);
    assert.equal(values.get("vision_tower.vision_model.encoder.layers.2.mlp.fc1.weight"), 101);
    assert.equal(values.get(HEAD), place(HEAD));
    assert.deepEqual(config, { ...CONFIG, vision_config: { num_hidden_layers: 3 }, torch_dtype: "float32" });
  });

  it("runs gradients over the layers of each module, and matches conditions with whole names", async () => {
    const { plan } = await two().plan(`merge_method: slerp
base_model: a
modules:
  vision_tower: {models: [{model: a}, {model: b}], parameters: {t: [0, 1]}}
  language_model: {models: [{model: a}, {model: b}], parameters: {t: [{filter: language_model.model.layers.1, value: 0.25}, {value: 0.5}]}}
  multi_modal_projector: {models: [{model: a}, {model: b}], parameters: {t: 0.75}}
`);
    const t = (name: string) => plan?.jobs.flatMap((job) => (job.kind === "merge" && job.name === name ? [job.parameters.t] : []))[0];
    assert.deepEqual([...VISION, PROJECTOR, ...TEXT].map(t), [0, 1, 0.75, 0.5, 0.5, 0.25, 0.5]);
  });

  it("takes a language model on its own for the language model of the others, whichever is the base", async () => {
    const text = ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"];
    for (const base of ["", "base_model: alone\n"]) {
      const shop = two().add("alone", 203, text, {});
      const { plan, values } = await shop.merge(
        `merge_method: linear\nparameters: {weight: 1}\n${base}modules: {text_decoder: {models: [{model: a}, {model: alone}]}}\n`,
      );
      assert.deepEqual([...values.keys()].sort(), [...ALL].sort());
      for (const name of [...TEXT, HEAD]) assert.equal(values.get(name), 100 + place(name), name);
      assert.deepEqual(plan.findings.filter(({ severity }) => severity === "info").length, 1);
      assert.ok(plan.config.every(({ path }) => path.at(-1) !== "tie_word_embeddings"));
    }
  });

  it("names the module that no tensor belongs to, with the parts that there are", async () => {
    const { plan, diagnostics } = await two().plan(
      `merge_method: linear\nparameters: {weight: 1}\nmodules: {vision_towel: {${models([1, 1])}}, default: {${models([1, 1])}}}\n`,
    );
    assert.equal(plan, undefined);
    const [{ code, found, remedy, expected, range } = {}] = diagnostics;
    assert.deepEqual([code, found, remedy, range?.line], ["module-unknown", "vision_towel", "did you mean vision_tower?", 2]);
    assert.match(expected ?? "", /vision_tower, multi_modal_projector, language_model, default$/);
  });
});

describe("moduleFinder", () => {
  const modulesOf = (modules: readonly string[], names: readonly string[]) => names.map((name) => moduleFinder(modules)(name).module);

  it("knows the parts of the field's layouts by their names", () => {
    const parts = ["text_decoder", "multi_modal_projector", "vision_tower"];
    assert.deepEqual(
      modulesOf(parts, [
        "model.layers.0.q.weight",
        "lm_head.weight",
        "visual.merger.mlp.0.weight",
        "visual.patch_embed.proj.weight",
        "visual.blocks.0.q.weight",
      ]),
      ["text_decoder", "text_decoder", "multi_modal_projector", "vision_tower", "vision_tower"],
    );
    assert.deepEqual(
      modulesOf(parts, ["model.language_model.layers.0.q.weight", "model.visual.deepstack_merger_list.0.norm.weight", "model.visual.blocks.0.q.weight"]),
      ["text_decoder", "multi_modal_projector", "vision_tower"],
    );
  });

  it("tells encoders from decoders, and gives what is outside to the shared part", () => {
    const t5 = ["encoder.block.0.layer.0.SelfAttention.q.weight", "decoder.block.0.layer.1.EncDecAttention.q.weight", "shared.weight", "lm_head.weight"];
    assert.deepEqual(modulesOf(["decoder", "encoder", "shared"], t5), ["encoder", "decoder", "shared", "shared"]);
    assert.deepEqual(modulesOf(["decoder", "encoder"], ["model.decoder.layers.0.encoder_attn.q_proj.weight", "proj_out.weight"]), ["decoder", undefined]);
  });

  it("takes any name, dots included, and leaves the rest to default", () => {
    assert.deepEqual(modulesOf(["model.tower.layers", "default"], ["model.tower.layers.0.q", "model.tower.norm", "visual.x", "x.model.tower.layers.0.q"]), [
      "model.tower.layers",
      "default",
      "default",
      "model.tower.layers",
    ]);
  });
});
