// What docs/mergekit.md says of mergekit's quirks: each row names a test, and those that no other file has are here.
import assert from "node:assert/strict";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Diagnostic, formatDiagnostic } from "../merge-core/diagnostics.ts";
import { modelOpener } from "../merge-core/plan/open-model.ts";
import { planMerge } from "../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../merge-core/run/execute.ts";
import { temporaryFolder } from "./helpers/folders.ts";
import { type ArrayModel, mergeArrays } from "./helpers/merge-arrays.ts";
import { floatTensor, type ModelOptions, type TensorData, writeModel } from "./helpers/models.ts";
import { readTensors, valuesOf } from "./oracles/read-tensors.ts";

class Workshop {
  readonly folder = temporaryFolder();

  add(name: string, tensors: readonly TensorData[], options: Omit<ModelOptions, "folder"> = {}): this {
    writeModel(tensors, { folder: join(this.folder, name), ...options });
    return this;
  }

  async merge(text: string) {
    const file = join(this.folder, "recipe.yml");
    const { recipe, diagnostics } = parseRecipe(text, file);
    assert.ok(recipe, diagnostics.map(formatDiagnostic).join("\n"));
    const { plan, diagnostics: findings } = await planMerge(recipe, modelOpener(file));
    assert.ok(plan, findings.map(formatDiagnostic).join("\n"));
    const out = join(temporaryFolder(), "out");
    await runMerge(plan, { out, threads: 1 });
    const tensors = await readTensors(join(out, "model.safetensors"));
    return { plan, out, tensors, values: (name: string) => [...valuesOf(tensors.get(name))] };
  }
}

const layer = (k: number, ...values: number[]) => floatTensor(`model.layers.${k}.mlp.up.weight`, [values.length], values);
const norm = (value: number) => floatTensor("model.norm.weight", [1], [value]);
const base = (...values: number[]): ArrayModel => ({ values, isBase: true });
const model = (...values: number[]): ArrayModel => ({ values, parameters: { weight: 1 } });

describe("quirks of mergekit", () => {
  it("Q2: a changed adapter is noticed, since nothing is kept from merge to merge", async () => {
    const shop = new Workshop();
    const models = "test/fixtures/oracles/mergekit/models";
    for (const name of ["base", "lora-q-v-down"]) cpSync(join(models, name), join(shop.folder, name), { recursive: true });
    const text = `merge_method: passthrough\nmodels:\n  - model: ${join(shop.folder, "base")}+${join(shop.folder, "lora-q-v-down")}\n`;
    const name = "model.layers.0.self_attn.q_proj.weight";
    const before = (await shop.merge(text)).values(name);
    const adapter = join(shop.folder, "lora-q-v-down", "adapter_model.safetensors");
    const bytes = readFileSync(adapter);
    bytes.fill(0, 8 + Number(bytes.readBigUInt64LE(0)));
    writeFileSync(adapter, bytes);
    const after = (await shop.merge(text)).values(name);
    assert.notDeepEqual(after, before);
    assert.deepEqual(after, [...valuesOf((await readTensors(join(models, "base", "model.safetensors"))).get(name))]);
  });

  it("Q5: a last slice with more sources than the first gives all of them to the norm", async () => {
    const shop = new Workshop();
    for (const [name, value] of [
      ["a", 1],
      ["b", 3],
    ] as const)
      shop.add(name, [layer(0, value), layer(1, 10 * value), norm(value)], { config: {} });
    const source = (name: string, range: string) => `{model: ${name}, layer_range: ${range}, parameters: {weight: 1}}`;
    const slices = `slices:\n  - sources: [${source("a", "[0, 1]")}]\n  - sources: [${source("a", "[1, 2]")}, ${source("b", "[1, 2]")}]\n`;
    const { values } = await shop.merge(`merge_method: linear\n${slices}`);
    assert.deepEqual([values("model.layers.0.mlp.up.weight"), values("model.layers.1.mlp.up.weight"), values("model.norm.weight")], [[1], [20], [2]]);
  });

  it("Q6: a model listed twice takes part twice, here with two of its layers", async () => {
    const shop = new Workshop().add("a", [layer(0, 1), layer(1, 3)], { config: {} });
    const source = (range: string, weight: number) => `{model: a, layer_range: ${range}, parameters: {weight: ${weight}}}`;
    const { values } = await shop.merge(`merge_method: linear\nslices: [{sources: [${source("[0, 1]", 1)}, ${source("[1, 2]", 3)}]}]\n`);
    assert.deepEqual(values("model.layers.0.mlp.up.weight"), [2.5]);
  });

  it("Q8: norm and head take the first value of a gradient, and the plan says so", async () => {
    const shop = new Workshop();
    for (const [name, value] of [
      ["a", 4],
      ["b", 8],
    ] as const)
      shop.add(name, [layer(0, value), layer(1, value), norm(value)], { config: {} });
    const text = "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters: {t: [0.25, 1]}\n";
    const { plan, values } = await shop.merge(text);
    assert.deepEqual([values("model.layers.1.mlp.up.weight"), values("model.norm.weight")], [[8], [5]]);
    assert.deepEqual(
      plan.findings.map(({ code, severity, found }) => [code, severity, found]),
      [["gradient-outside-layers", "info", "t 0.25 for model.norm.weight"]],
    );
    for (const calm of ["[1, 0, 1]", "0.5", "[{filter: mlp, value: [0, 1]}, {value: 0.5}]"])
      assert.deepEqual((await shop.merge(text.replace("[0.25, 1]", calm))).plan.findings, [], calm);
  });

  it("Q12: the donor without a base is the first model of the recipe", async () => {
    for (const order of [
      ["a", "b", "c"],
      ["c", "a", "b"],
    ]) {
      const shop = new Workshop();
      for (const name of order) shop.add(name, [norm(1)], { config: { from: name } });
      const { plan } = await shop.merge(`merge_method: linear\nparameters: {weight: 1}\nmodels: [${order.map((name) => `{model: ${name}}`).join(", ")}]\n`);
      assert.equal(plan.donor.reference, order[0]);
    }
  });

  it("Q13: names are matched as they are, whatever their prefix", async () => {
    const tensors = (value: number) =>
      ["model.encoder.layers.0.fc1.weight", "model.decoder.layers.0.fc1.weight", "proj_out.weight"].map((name) => floatTensor(name, [1], [value]));
    const { tensors: merged, values } = await new Workshop()
      .add("a", tensors(1), { config: { architectures: ["WhisperForConditionalGeneration"] } })
      .add("b", tensors(3), { config: {} })
      .merge("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n");
    for (const name of merged.keys()) assert.deepEqual(values(name), [2], name);
    assert.equal(merged.size, 3);
  });

  it("Q15: karcher crops embeddings of different vocabularies as the other methods do", async () => {
    const embedding = (...values: number[]) => floatTensor("model.embed_tokens.weight", [values.length / 2, 2], values);
    const shop = new Workshop()
      .add("a", [embedding(1, 0, 0, 1)], { config: { vocab_size: 2 } })
      .add("b", [embedding(1, 0, 0, 1, 5, 5)], { config: { vocab_size: 3 } });
    const { values } = await shop.merge("merge_method: karcher\nmodels: [{model: a}, {model: b}]\n");
    assert.deepEqual(
      values("model.embed_tokens.weight").map((x) => Math.round(x * 1e5) / 1e5),
      [1, 0, 0, 1],
    );
  });

  it("Q20: sce weights all models alike where their changes are tiny, unless energy_floor is 0", async () => {
    const models = [base(0, 0), model(3e-4, 1e-4), model(1e-4, 1e-4)];
    const alike = await mergeArrays("sce", models);
    assert.ok(Math.abs((alike[0] ?? 0) - 2e-4) < 1e-9);
    // Energies 10 and 2 parts: (10 * 3 + 2 * 1) / 12.
    const weighted = await mergeArrays("sce", models, { parameters: { energy_floor: 0 } });
    assert.ok(Math.abs((weighted[0] ?? 0) - (32 / 12) * 1e-4) < 1e-9);
  });

  it("Q21: model_stock goes beyond its models where their changes oppose each other, and says so", async () => {
    const warnings: Omit<Diagnostic, "severity">[] = [];
    // cos = -0.6, so t = 2 c / (1 + c) = -3.
    const merged = await mergeArrays("model_stock", [base(0, 0), model(1, 2), model(1, -2)], {}, warnings);
    assert.ok(Math.abs((merged[0] ?? 0) + 3) < 1e-5);
    assert.deepEqual(
      warnings.map(({ code }) => code),
      ["ratio-outside"],
    );
  });

  it("Q22: model_stock stays with the base where changes are tiny, unless norm_floor is 0", async () => {
    const models = [base(0, 0), model(1e-6, 0), model(1e-6, 0)];
    assert.ok(Math.abs((await mergeArrays("model_stock", models))[0] ?? 1) < 1e-10);
    assert.ok(Math.abs(((await mergeArrays("model_stock", models, { parameters: { norm_floor: 0 } }))[0] ?? 0) - 1e-6) < 1e-12);
  });

  it("Q23: arcee_fusion keeps the dtype of its models", async () => {
    const tensor = (...values: number[]) => [floatTensor("model.norm.weight", [values.length], values, "BF16")];
    const shop = new Workshop().add("a", tensor(1, 2, 3, 4), { config: { torch_dtype: "bfloat16" } }).add("b", tensor(1, 2, 3, 8), { config: {} });
    const { tensors, out } = await shop.merge("merge_method: arcee_fusion\nbase_model: a\nmodels: [{model: b}]\n");
    assert.equal(tensors.get("model.norm.weight")?.dtype, "BF16");
    assert.match(readFileSync(join(out, "config.json"), "utf8"), /"torch_dtype": "bfloat16"/);
  });

  it("Q24: breadcrumbs without outliers to drop keeps the largest elements", async () => {
    const delta = [1, -8, 2, 7, -3, 6, 4, 5];
    const models = [base(...delta.map(() => 0)), { values: delta, parameters: { weight: 1, density: 0.5, gamma: 0.01 } }];
    assert.deepEqual([...(await mergeArrays("breadcrumbs", models))], [0, -8, 0, 7, 0, 6, 0, 5]);
  });

  it("Q26: ranks of della are exact in rows of any length, a column of one included", async () => {
    const values = Array.from({ length: 300 }, (_, i) => i + 1);
    const zeros = base(...values.map(() => 0));
    const thinned = { values, parameters: { weight: 1, density: 0.5, epsilon: 0.2 } };
    for (const shape of [
      [300, 1],
      [1, 300],
    ]) {
      const merged = await mergeArrays("della_linear", [zeros, thinned], { shape, parameters: { rescale: 0 } });
      assert.ok(
        merged.every((value, i) => value === 0 || value === values[i]),
        `${shape}`,
      );
      const kept = merged.filter((value) => value !== 0).length;
      assert.ok(kept > 110 && kept < 190, `${kept} kept`);
    }
  });

  it("Q29: files of tensors merge without a config, with parameters given once for all", async () => {
    const shop = new Workshop().add("a", [floatTensor("anything", [2], [1, 2])]).add("b", [floatTensor("anything", [2], [3, 6])]);
    const { values, out } = await shop.merge(
      "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a/model.safetensors}, {model: b/model.safetensors}]\n",
    );
    assert.deepEqual(values("anything"), [2, 4]);
    assert.equal(existsSync(join(out, "config.json")), false);
  });

  it("Q32: multislerp of models that equal their base is the base", async () => {
    const merged = await mergeArrays("multislerp", [base(1, 2), model(1, 2), model(1, 2), model(1, 2)]);
    assert.deepEqual([...merged], [1, 2]);
  });
});

describe("docs/mergekit.md", () => {
  const rows = readFileSync("docs/mergekit.md", "utf8")
    .split("\n")
    .filter((line) => /^\| Q\d+ \|/.test(line))
    .map((line) => line.split("|").map((cell) => cell.trim()));

  it("has all 32 quirks in order, each with a decision", () => {
    assert.deepEqual(
      rows.map(([, id]) => id),
      Array.from({ length: 32 }, (_, i) => `Q${i + 1}`),
    );
    for (const [, id, subject, theirs, ours] of rows) {
      assert.ok(subject && theirs, id);
      assert.match(ours ?? "", /^(match|fix|warn|refuse)\b/, id);
    }
  });

  it("names tests that there are for the differences of recipes too", () => {
    const places = readFileSync("docs/mergekit.md", "utf8").matchAll(/^\|.* \| `(test\/[^`]+)`: (.+) \|$/gm);
    const others = [...places].filter(([line]) => !/^\| Q\d/.test(line));
    assert.ok(others.length >= 14);
    for (const [, file = "", title = ""] of others) {
      if (file.endsWith("mergekit.test.ts")) assert.ok(existsSync(`test/fixtures/oracles/mergekit/recipes/${title}.yml`), title);
      else
        assert.ok(
          ['"', "`"].some((quote) => readFileSync(file, "utf8").includes(quote + title)),
          `${file}: ${title}`,
        );
    }
  });

  it("names tests that there are", () => {
    for (const [, id, , , , place] of rows) {
      const [, file, title] = /^`([^`]+)`: (.+)$/.exec(place ?? "") ?? [];
      assert.ok(file !== undefined && title !== undefined, `${id}: ${place}`);
      if (file.endsWith("mergekit.test.ts")) assert.ok(existsSync(`test/fixtures/oracles/mergekit/recipes/${title}.yml`), title);
      else assert.ok(readFileSync(file, "utf8").includes(`it("${title}`), `${file}: ${title}`);
    }
  });
});
