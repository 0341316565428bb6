import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freezeMixture, runAdaptation } from "../../merge-core/adapt/run-adaptation.ts";
import { builtinMetric, openEvaluator } from "../../merge-core/evaluate/evaluators.ts";
import { mergeByRecipe } from "../../merge-core/evaluate/recipe-merge.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel } from "../../merge-core/nn/model.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";

describe("an adaptation", () => {
  const folder = temporaryFolder();
  const place = (name: string) => join(folder, name);
  const models = "  - {model: a, parameters: {weight: 1}}\n  - {model: b, parameters: {weight: 1}}\n";
  const recipe = { text: `merge_method: task_arithmetic\nbase_model: base\nmodels:\n${models}dtype: float32\n`, file: place("recipe.yml") };
  const data = [place("a.jsonl"), place("b.jsonl")];
  before(() => {
    for (const [i, name] of ["base", "a", "b"].entries()) writeTinyModel(place(name), {}, i + 1);
    writeFileSync(data[0] ?? "", '{"prompt":"ab","completion":"never looked at"}\n{"prompt":"cde"}\n{"text":"fgh"}\n');
    writeFileSync(data[1] ?? "", '{"prompt":"kl"}\n{"prompt":"nm"}\n');
  });
  const request = { recipe, data, threads: 1, steps: 6, maskSteps: 4, lr: 0.01, dtype: "F32" as const };
  const weights = (name: string) => readFileSync(place(`${name}/model.safetensors`));

  for (const method of ["adamerging", "dawin"] as const) {
    it(`by ${method} is a recipe that merges to the same bytes`, async () => {
      const { recipes } = await runAdaptation({ ...request, method, out: place(method) });
      assert.equal(recipes.length, 1);
      await mergeByRecipe({ text: recipes[0] ?? "", file: recipe.file }, place(`${method}-again`));
      assert.ok(weights(method).equals(weights(`${method}-again`)));
    });
  }

  for (const method of ["adamerging++", "concrete", "concrete_adamerging", "wemoe", "e_wemoe"] as const) {
    it(`by ${method} is a model that loads, the same for the same seed, with a record`, async () => {
      const { entropy } = await runAdaptation({ ...request, method, out: place(method) });
      await runAdaptation({ ...request, method, out: place(`${method}-again`) });
      assert.ok(weights(method).equals(weights(`${method}-again`)));
      const model = await loadModel(place(method));
      disposeDecoder(model.decoder);
      const record = JSON.parse(readFileSync(place(`${method}/adapt.json`), "utf8")) as { method: string; entropy: number[] };
      assert.deepEqual([record.method, record.entropy], [method, entropy]);
    });
  }

  for (const method of ["adamerging", "concrete_adamerging", "wemoe"] as const) {
    it(`by ${method} that was stopped at any step goes on and comes to the same bytes`, async () => {
      await runAdaptation({ ...request, method, out: place(`${method}-whole`) });
      // Of concrete_adamerging, four steps go to the mask and six to the coefficients.
      for (const stopAt of method === "concrete_adamerging" ? [2, 7] : [3]) {
        const out = place(`${method}-stopped-${stopAt}`);
        const stop = new AbortController();
        let [done, first] = [0, 0];
        const onStep = () => void (++done === stopAt && stop.abort());
        await rejectsWith("cancelled", () => runAdaptation({ ...request, method, out, saveEvery: 0, signal: stop.signal, onStep }));
        assert.ok(!existsSync(out) && existsSync(`${out}.learning`));
        await rejectsWith("resume-other-run", () => runAdaptation({ ...request, lr: 0.02, method, out }));
        await runAdaptation({ ...request, method, out, onStep: () => void first++ });
        assert.equal(first, (method === "concrete_adamerging" ? 10 : 6) - stopAt);
        assert.ok(readFileSync(join(out, "model.safetensors")).equals(weights(`${method}-whole`)));
        assert.ok(!existsSync(`${out}.learning`));
      }
    });
  }

  it("by DaWin with several components says which example belongs to which merge", async () => {
    const { recipes } = await runAdaptation({ ...request, method: "dawin", components: 2, out: place("two") });
    assert.ok(recipes.length <= 2 && existsSync(place("two/1/model.safetensors")));
    const assignments = JSON.parse(readFileSync(place("two/assignments.json"), "utf8")) as number[][];
    assert.deepEqual(
      assignments.map((own) => own.length),
      [3, 2],
    );
    for (const k of assignments.flat()) assert.ok(existsSync(place(`two/${k}/config.json`)));
  });

  it("by DaWin of one expert lies between base and expert, as sure as each is", async () => {
    const one = { text: "base_model: base\nmodels: [{model: a}]\ndtype: float32\n", file: recipe.file };
    const file = data[1] ?? "";
    const { coefficients, samples } = await runAdaptation({ ...request, recipe: one, data: [file], method: "dawin", out: place("one") });
    const entropyOf = async (name: string, prompt: string) => {
      const alone = place("alone.jsonl");
      writeFileSync(alone, `${JSON.stringify({ prompt })}\n`);
      return (await (await openEvaluator([builtinMetric("entropy", [alone])], { threads: 1 })).model(place(name))).entropy ?? Number.NaN;
    };
    let expected = 0;
    for (const prompt of ["kl", "nm"]) {
      const [base, expert] = [await entropyOf("base", prompt), await entropyOf("a", prompt)];
      expected += Math.exp(-expert) / (Math.exp(-expert) + Math.exp(-base)) / 2;
    }
    assert.ok(Math.abs((coefficients.a ?? 0) - expected) < 1e-5, `${coefficients.a}, expected ${expected}`);
    assert.deepEqual(samples, [2]);
    // Of several, one data set is enough.
    await runAdaptation({ ...request, data: [file], method: "dawin", out: place("one-set") });
  });

  it("can be frozen if it is a mixture, and only then", async () => {
    await freezeMixture(place("wemoe"), data[0] ?? "", place("frozen"), { threads: 1, dtype: "F32" });
    const frozen = await loadModel(place("frozen"));
    assert.equal(frozen.decoder.config.experts, undefined);
    disposeDecoder(frozen.decoder);
    await rejectsWith("not-a-mixture", () => freezeMixture(place("frozen"), data[0] ?? "", place("none"), { threads: 1 }));
  });

  it("by E-WEMoE has one router, keeps a tenth of the MLPs' changes unless told otherwise, and can be frozen", async () => {
    const model = await loadModel(place("e_wemoe"));
    const names = [...model.decoder.weights.keys()];
    assert.deepEqual(
      names.filter((name) => name.includes("router")),
      names.filter((name) => name.startsWith("model.layers.0.mlp.router.")),
    );
    for (const [name, tensor] of model.decoder.weights) {
      if (!name.includes("mlp.experts")) continue;
      const kept = tensor.dataSync().filter((x) => x !== 0).length / tensor.size;
      assert.ok(kept > 0 && kept <= 0.11, `${name} keeps ${kept}`);
    }
    disposeDecoder(model.decoder);
    await freezeMixture(place("e_wemoe"), data[0] ?? "", place("e-frozen"), { threads: 1 });
    const frozen = await loadModel(place("e-frozen"));
    assert.equal(frozen.configJson.shared_router, undefined);
    disposeDecoder(frozen.decoder);
  });

  it("takes a recipe without weights, and no other that lacks something", async () => {
    const bare = recipe.text.replaceAll(", parameters: {weight: 1}", "");
    assert.notEqual(bare, recipe.text);
    await runAdaptation({ ...request, recipe: { ...recipe, text: bare }, method: "adamerging", out: place("bare") });
    await runAdaptation({ ...request, method: "adamerging", out: place("weighted") });
    const barer = bare.replace(/merge_method.*\n/, "");
    await runAdaptation({ ...request, recipe: { ...recipe, text: barer }, method: "adamerging", out: place("barer") });
    assert.ok(weights("barer").equals(weights("weighted")));
    const none = { ...recipe, text: barer.replace(/models:[\s\S]*/, "") };
    await rejectsWith("missing-key", () => runAdaptation({ ...request, recipe: none, method: "adamerging", out: place("wrong") }));
    assert.ok(weights("bare").equals(weights("weighted")));
    const wrong = { ...recipe, text: bare.replace("{model: a}", "{model: a, parameters: {weigth: 1}}") };
    await rejectsWith("unknown-parameter", () => runAdaptation({ ...request, recipe: wrong, method: "adamerging", out: place("wrong") }));
  });

  for (const method of ["adamerging", "adamerging++", "concrete_adamerging", "wemoe"] as const)
    it(`by ${method} that leaves the numbers says so, and leaves nothing`, async () => {
      const out = place(`${method}-diverged`);
      await rejectsWith("adapt-diverged", () => runAdaptation({ ...request, method, out, lr: 1e300, maskLr: 1e300, saveEvery: 0 }));
      assert.deepEqual(
        readdirSync(folder).filter((name) => name.startsWith(`${method}-diverged`)),
        [],
      );
    });

  it("holds coefficients in [0, 1] if it is to", async () => {
    const wild = { ...request, method: "adamerging" as const, lr: 2, per: "task" as const };
    const free = await runAdaptation({ ...wild, out: place("free") });
    const held = await runAdaptation({ ...wild, clamp: true, out: place("held") });
    assert.ok(Object.values(free.coefficients).some((value) => value < 0 || value > 1));
    for (const value of Object.values(held.coefficients)) assert.ok(value >= 0 && value <= 1);
  });

  it("needs data for each model that gives tokens, and leaves nothing but what it has learned when it fails", async () => {
    await rejectsWith("adapt-data", () => runAdaptation({ ...request, method: "wemoe", data: data.slice(1), out: place("none") }));
    const long = place("long.jsonl");
    writeFileSync(long, `{"prompt":"${"a".repeat(80)}"}\n`);
    await rejectsWith("data-no-tokens", () => runAdaptation({ ...request, method: "wemoe", data: [long, long], out: place("none") }));
    await rejectsWith("output-exists", () => runAdaptation({ ...request, method: "wemoe", out: place("wemoe") }));
    const controller = new AbortController();
    const stopping = { signal: controller.signal, onStep: () => controller.abort() };
    await rejectsWith("cancelled", () => runAdaptation({ ...request, ...stopping, method: "concrete", out: place("none") }));
    assert.deepEqual(
      readdirSync(folder).filter((name) => /none|partial/.test(name)),
      ["none.learning"],
    );
  });
});
