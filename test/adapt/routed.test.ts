import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { evaluateRouted, freezeRouted, ROUTER_FILE, type RoutedModel, readRouted, routesOf } from "../../merge-core/adapt/routed.ts";
import { runRouting } from "../../merge-core/adapt/run-routing.ts";
import { evaluateCheckpoint } from "../../merge-core/evaluate/evaluate.ts";
import { mergeByRecipe } from "../../merge-core/evaluate/recipe-merge.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel } from "../../merge-core/nn/model.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";

describe("experts in one bit with a router", () => {
  const folder = temporaryFolder();
  const place = (name: string) => join(folder, name);
  const recipe = {
    text: "merge_method: task_arithmetic\nbase_model: base\nmodels:\n  - {model: a, parameters: {weight: 1}}\n  - {model: b, parameters: {weight: 1}}\n",
    file: place("recipe.yml"),
  };
  const data = [place("a.jsonl"), place("b.jsonl")];
  const lines = (pairs: readonly (readonly [string, string])[]) => pairs.map(([prompt, completion]) => `${JSON.stringify({ prompt, completion })}\n`).join("");
  let routed: RoutedModel;
  before(async () => {
    for (const [i, name] of ["base", "a", "b"].entries()) writeTinyModel(place(name), {}, i + 1);
    // Tasks of different letters, which a router on hidden states tells apart.
    const words = (letters: string) => Array.from({ length: 15 }, (_, i) => [...letters].map((_l, k) => letters[(i + k * k) % letters.length]).join(""));
    writeFileSync(data[0] ?? "", lines(words("abcd").map((word) => [word, "e"])));
    writeFileSync(data[1] ?? "", lines(words("klmn").map((word) => [word, "f"])));
    const { routerAccuracy, bytes, wholeBytes } = await runRouting({ recipe, data, out: place("routed"), threads: 1 });
    assert.equal(routerAccuracy, 1);
    assert.ok(bytes < wholeBytes, `${bytes} of ${wholeBytes}`);
    routed = (await readRouted(place("routed"))) as RoutedModel;
  });

  it("lie beside the router, named and small", () => {
    assert.deepEqual(routed.tasks, ["a", "b"]);
    for (const k of [1, 2]) assert.ok(existsSync(place(`routed/${k}/adapter_model.safetensors`)));
    assert.equal((JSON.parse(readFileSync(place("routed/adapt.json"), "utf8")) as { method: string }).method, "one_bit");
  });

  it("are chosen by the prompt, and measured as the chosen ones are", async () => {
    const base = await loadModel(place("base"));
    assert.deepEqual(routesOf(routed, base, [{ prompt: "abba" }, { prompt: "nlkm" }, { prompt: "dcba" }]), [0, 1, 0]);
    disposeDecoder(base.decoder);
    for (const [i, name] of ["a", "b"].entries()) {
      const text = `merge_method: one_bit\nbase_model: base\nmodels:\n  - {model: ${name}, parameters: {compress: 3, weight: 1}}\n`;
      await mergeByRecipe({ text, file: recipe.file }, place(`bits-${name}`), { threads: 1 });
      const alone = await evaluateCheckpoint(place(`bits-${name}`), [data[i] ?? ""], { threads: 1 });
      const { routes, ...found } = await evaluateRouted(routed, [data[i] ?? ""], { threads: 1 });
      assert.deepEqual(routes, i === 0 ? { a: 15, b: 0 } : { a: 0, b: 15 });
      assert.ok(Math.abs((found.loss ?? 9) - (alone.loss ?? 0)) < 1e-5, `${found.loss} and ${alone.loss}`);
      assert.equal(found.exactMatch, alone.exactMatch);
    }
  });

  it("are weighed by tokens where data goes to several", async () => {
    const each = await Promise.all(data.map((file) => evaluateRouted(routed, [file], { threads: 1 })));
    const both = await evaluateRouted(routed, data, { threads: 1 });
    const tokens = each.reduce((sum, part) => sum + (part.tokens ?? 0), 0);
    assert.deepEqual([both.tokens, both.examples, both.routes], [tokens, 30, { a: 15, b: 15 }]);
    const mean = each.reduce((sum, part) => sum + (part.tokens ?? 0) * (part.loss ?? 0), 0) / tokens;
    assert.ok(Math.abs((both.loss ?? 9) - mean) < 1e-6);
  });

  it("freeze into the expert that the data goes to", async () => {
    const { task, share } = await freezeRouted(routed, data[1] ?? "", place("frozen"), { threads: 1 });
    assert.deepEqual([task, share], ["b", 1]);
    const found = await evaluateCheckpoint(place("frozen"), [data[1] ?? ""], { threads: 1 });
    const { loss } = await evaluateRouted(routed, [data[1] ?? ""], { threads: 1 });
    assert.ok(Math.abs((found.loss ?? 9) - (loss ?? 0)) < 1e-5);
  });

  it("are refused where something is missing or spoilt", async () => {
    assert.equal(await readRouted(place("base")), undefined);
    await rejectsWith("adapt-data", () => runRouting({ recipe, data: data.slice(1), out: place("none"), threads: 1 }));
    await rejectsWith("output-exists", () => runRouting({ recipe, data, out: place("routed"), threads: 1 }));
    const own = JSON.parse(readFileSync(place(`routed/${ROUTER_FILE}`), "utf8")) as { router: { weights: number[] } };
    own.router.weights.pop();
    writeFileSync(join(place("frozen"), ROUTER_FILE), JSON.stringify(own));
    await rejectsWith("router-invalid", () => readRouted(place("frozen")));
    assert.ok(!existsSync(place("none")));
  });
});
