// Recipes whose models come with files of Fisher information or Gram matrices.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TensorEntry } from "../../merge-core/checkpoints/checkpoint.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { readManifest } from "../../merge-core/run/read-manifest.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, type TensorData, writeModel } from "../helpers/models.ts";
import { near } from "../helpers/near.ts";

const LAYER = "model.layers.0.mlp.up_proj.weight";
const NORM = "model.norm.weight";

function valuesOf(entry: TensorEntry | undefined): Float32Array {
  assert.ok(entry);
  return widenToFloat32("F32", readFileSync(entry.file).subarray(entry.offset, entry.offset + entry.byteLength));
}

interface Parts {
  readonly layer?: readonly number[];
  readonly norm?: readonly number[];
}

function workshop(config: Record<string, unknown> = {}) {
  const folder = temporaryFolder();
  const model = (name: string, layer: readonly number[], norm: readonly number[]) =>
    writeModel([floatTensor(LAYER, [2, 2], layer), floatTensor(NORM, [2], norm)], { folder: join(folder, name), config });
  const file = (name: string, tensors: readonly TensorData[], metadata: Record<string, string> = {}) =>
    writeFileSync(join(folder, `${name}.safetensors`), encodeSafetensors(tensors, metadata));
  const fisher = (name: string, { layer, norm }: Parts, metadata?: Record<string, string>) =>
    file(name, [...(layer ? [floatTensor(LAYER, [2, 2], layer)] : []), ...(norm ? [floatTensor(NORM, [2], norm)] : [])], metadata);
  const plan = async (method: string, more = "", kind = method === "fisher" ? "fisher" : "gram") => {
    const models = ["one", "two"].map((name) => `  - { model: ${name}, ${kind}: ${name}.safetensors }\n`).join("");
    const recipeFile = join(folder, "recipe.yml");
    const { recipe, diagnostics } = parseRecipe(`merge_method: ${method}\nmodels:\n${models}${more}`, recipeFile);
    assert.ok(recipe, JSON.stringify(diagnostics));
    return planMerge(recipe, modelOpener(recipeFile));
  };
  const run = async (method: string, more = "") => {
    const { plan: made, diagnostics } = await plan(method, more);
    assert.ok(made, JSON.stringify(diagnostics));
    const out = join(folder, "out");
    const result = await runMerge(made, { out, threads: 2 });
    const { tensors } = await openCheckpoint(out);
    return { out, plan: made, result, layer: valuesOf(tensors.get(LAYER)), norm: valuesOf(tensors.get(NORM)) };
  };
  model("one", [1, 1, 1, 1], [1, 2]);
  model("two", [3, 3, 3, 3], [3, 4]);
  return { folder, fisher, file, plan, run };
}

describe("fisher in a recipe", () => {
  it("normalises over all tensors, reads the files beside the recipe and lists them among the inputs", async () => {
    const { fisher, run } = workshop();
    // Norms 5 and 10 over both tensors.
    fisher("one", { layer: [3, 0, 0, 1e-9], norm: [4, 0] });
    fisher("two", { layer: [6, 0, 1, 0], norm: [0, 8] }, { "weightsmith.kind": "fisher" });
    const { layer, norm, out, plan } = await run("fisher");
    const norms = [5, Math.sqrt(36 + 1 + 64)];
    const mean = (f1: number, f2: number, w1: number, w2: number) => {
      const [a, b] = [Math.max(f1, 1e-6) / (norms[0] ?? 1), f2 / (norms[1] ?? 1)];
      return (a * w1 + b * w2) / (a + b);
    };
    near(layer, [mean(3, 6, 1, 3), 1, mean(0, 1, 1, 3), 1], 1e-6);
    near(norm, [1, mean(0, 8, 2, 4)], 1e-6);
    const manifest = await readManifest(out);
    assert.deepEqual(
      manifest.inputs.map(({ model }) => model),
      ["one", "two", "one.safetensors", "two.safetensors"],
    );
    assert.equal(plan.bytesToRead, 2 * 2 * (16 + 8) + 2 * (16 + 8) + 2 * (16 + 8));
  });

  it("averages and lists tensors that no file has", async () => {
    const { fisher, run } = workshop();
    for (const name of ["one", "two"]) fisher(name, { layer: [1, 1, 1, 1] });
    const { norm, result } = await run("fisher");
    near(norm, [2, 3], 1e-6);
    const warning = result.warnings.find(({ code }) => code === "without-statistics");
    assert.deepEqual(warning?.notes, [NORM]);
  });

  it("refuses files that only some models have a tensor in, of other shapes, or of another kind", async () => {
    const { fisher, file, plan } = workshop();
    const codes = async (method = "fisher") =>
      (await plan(method, "", "fisher")).diagnostics.filter(({ severity }) => severity === "error").map(({ code }) => code);
    fisher("one", { layer: [1, 1, 1, 1], norm: [1, 1] });
    fisher("two", { layer: [1, 1, 1, 1] });
    assert.deepEqual(await codes(), ["statistics-missing"]);
    file("two", [floatTensor(LAYER, [4], [1, 1, 1, 1]), floatTensor(NORM, [2], [1, 1])]);
    assert.deepEqual(await codes(), ["statistics-shape"]);
    fisher("two", { layer: [1, 1, 1, 1], norm: [1, 1] }, { "weightsmith.kind": "gram" });
    assert.deepEqual(await codes(), ["statistics-kind"]);
  });

  it("refuses models without a file, and a file that is not there; a file that nothing reads is told", async () => {
    const codes = (text: string) => parseRecipe(text, "recipe.yml").diagnostics.map(({ code, severity }) => `${severity} ${code}`);
    assert.deepEqual(codes("merge_method: fisher\nmodels: [{ model: a, fisher: f }, { model: b }]\n"), ["error missing-statistics"]);
    assert.deepEqual(codes("merge_method: linear\nmodels: [{ model: a, fisher: f, parameters: { weight: 1 } }]\n"), ["warning ignored-key"]);
    const { plan } = workshop();
    assert.deepEqual(
      (await plan("fisher")).diagnostics.map(({ code }) => code),
      ["model-missing", "model-missing"],
    );
  });
});

describe("regmean in a recipe", () => {
  const grams = (file: (name: string, tensors: readonly TensorData[], metadata?: Record<string, string>) => void) => {
    file("one", [floatTensor(LAYER, [2, 2], [2, 1, 1, 2])], { "weightsmith.kind": "gram" });
    file("two", [floatTensor(LAYER, [2, 2], [1, 0, 0, 3])], { "weightsmith.kind": "gram" });
  };

  it("solves layers with Gram matrices and averages the rest", async () => {
    const { file, run } = workshop();
    grams(file);
    const { layer, norm, result } = await run("regmean", "parameters: { alpha: 1 }\n");
    // A row (1, 1) of one and (3, 3) of two: ((1,1) G1 + (3,3) G2) (G1 + G2)^-1 = (6, 12) [[5,-1],[-1,3]] / 14.
    near(layer, [18 / 14, 30 / 14, 18 / 14, 30 / 14], 1e-6);
    near(norm, [2, 3], 1e-6);
    assert.deepEqual(result.warnings.find(({ code }) => code === "without-statistics")?.notes, [NORM]);
    assert.ok(!result.warnings.some(({ code }) => code === "not-matrices"));
  });

  it("gives single tensors to another method, which needs no file", async () => {
    const { file, run } = workshop();
    grams(file);
    const { layer } = await run("regmean", `overrides: [{ glob: "*mlp*", merge_method: linear, parameters: { weight: 1 } }]\n`);
    near(layer, [2, 2, 2, 2], 0);
  });
});
