// Files of several recipes: order, reuse by content, problems in their place, and the same bytes as merging one by one.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { hasStages, parseStages } from "../../merge-core/recipe/stages.ts";
import { planStages, type StagedRecipe } from "../../merge-core/run/plan-stages.ts";
import { runStages } from "../../merge-core/run/stages.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

const UP = "model.layers.0.mlp.up_proj.weight";
const CONFIG = { architectures: ["LlamaForCausalLM"], num_hidden_layers: 1, torch_dtype: "float32" };

/** Models a, b and c, each of one value, and a file of recipes. */
function workshop(text: string): { folder: string; staged: StagedRecipe; text: string } {
  const folder = temporaryFolder();
  for (const [name, value] of [["a", 1] as const, ["b", 3] as const, ["c", 100] as const])
    writeModel([floatTensor(UP, [3], [value, value, value])], { folder: join(folder, name), config: CONFIG, files: { "tokenizer.json": `{"of":"${name}"}` } });
  return { folder, text, staged: stagedOf(folder, text) };
}

function stagedOf(folder: string, text: string): StagedRecipe {
  const { stages, final, diagnostics } = parseStages(text, join(folder, "recipe.yml"));
  assert.ok(stages && final, JSON.stringify(diagnostics));
  return { stages, final, open: modelOpener(join(folder, "recipe.yml")), options: {} };
}

const average = (name: string | undefined, ...models: string[]) =>
  `${name === undefined ? "" : `name: ${name}\n`}merge_method: linear\nparameters: {weight: 1}\nmodels: [${models.map((model) => `{model: ${model}}`).join(", ")}]\n`;

/** The final recipe first: order in the file does not matter. */
const THREE = ["# made of two\n", average(undefined, "upper", "c"), average("upper", "lower", "b"), average("lower", "a", "b")].join("---\n");

const errors = (diagnostics: readonly Diagnostic[]) =>
  diagnostics.map(({ severity, code, range }) => `${severity} ${code} ${range === undefined ? "" : `${range.line + 1}:${range.column + 1}`}`);

const valueIn = async (out: string) => valuesOf((await readTensors(join(out, "model.safetensors"))).get(UP))[0];

describe("a file of several recipes", () => {
  it("is told from a file of one", () => {
    for (const one of ["a: 1\n", "---\na: 1\n", "# x\n---\na: 1\n---\n# nothing\n", "%YAML 1.1\n---\na: 1\n...\n", 'a: "x\n  ---\n  y"\n'])
      assert.ok(!hasStages(one), one);
    for (const two of [THREE, "a: 1\n---\nb: 2", "--- {a: 1}\n--- {b: 2}"]) assert.ok(hasStages(two), two);
    assert.ok(!hasStages("\n".repeat(2_000_000)));
  });

  it("is merged in the order of need, each from the results before it, and only the output stays", async () => {
    const { folder, staged, text } = workshop(THREE);
    const out = join(folder, "out");
    const order: string[] = [];
    const result = await runStages(staged, text, { out, threads: 1, onStage: (name) => void order.push(name) });
    assert.deepEqual(order, ["lower", "upper", "output"]);
    // lower = 2, upper = 2.5, output = 51.25
    assert.equal(await valueIn(out), 51.25);
    assert.equal(result.tensors, 1);
    assert.deepEqual(readdirSync(folder).sort(), ["a", "b", "c", "out"]);
    assert.equal(readFileSync(join(out, "mergekit_config.yml"), "utf8"), text);
    assert.equal(readFileSync(join(out, "tokenizer.json"), "utf8"), '{"of":"a"}');
    assert.deepEqual(
      JSON.parse(readFileSync(join(out, "weightsmith.json"), "utf8")).inputs.map(({ model }: { model: string }) => model),
      ["upper", "c"],
    );
  });

  it("uses kept results while nothing they depend on changes", async () => {
    const { folder, staged, text } = workshop(THREE);
    const stagesFolder = join(folder, "kept");
    const run = async (recipe: StagedRecipe, recipeText: string, out: string) => {
      const seen: string[] = [];
      const onStage = (name: string, reused: boolean) => void seen.push(reused ? `${name} again` : name);
      await runStages(recipe, recipeText, { out: join(folder, out), threads: 1, stagesFolder, onStage });
      return seen;
    };
    assert.deepEqual(await run(staged, text, "one"), ["lower", "upper", "output"]);
    assert.deepEqual(await run(staged, text, "two"), ["lower again", "upper again", "output"]);
    const changed = text.replace("weight: 1}\nmodels: [{model: lower}", "weight: 2}\nmodels: [{model: lower}");
    assert.deepEqual(await run(stagedOf(folder, changed), changed, "three"), ["lower again", "upper", "output"]);
    writeModel([floatTensor(UP, [3], [7, 7, 7])], { folder: join(folder, "a"), config: CONFIG });
    assert.deepEqual(await run(staged, text, "four"), ["lower", "upper", "output"]);
    assert.equal(await valueIn(join(folder, "four")), (((7 + 3) / 2 + 3) / 2 + 100) / 2);
  });

  it("takes names for models only: methods, dtypes and values may be called the same", async () => {
    const text = `${average("linear", "a", "b").replace("merge_method", "dtype: float32\nmerge_method")}---\n${average("float32", "linear", "b")}---\n${average(undefined, "float32", "linear")}`;
    const { folder, staged } = workshop(text);
    await runStages(staged, text, { out: join(folder, "out"), threads: 1 });
    assert.equal(await valueIn(join(folder, "out")), 2.25);
  });

  it("resumes where it was stopped", async () => {
    const { folder, staged, text } = workshop(THREE);
    const out = join(folder, "out");
    const controller = new AbortController();
    const onStage = (name: string) => {
      if (name === "upper") controller.abort();
    };
    await rejectsWith("cancelled", () => runStages(staged, text, { out, threads: 1, signal: controller.signal, onStage }));
    assert.ok(!existsSync(out));
    const seen: boolean[] = [];
    await runStages(staged, text, { out, threads: 1, onStage: (_, reused) => void seen.push(reused) });
    assert.deepEqual(seen, [true, false, false]);
    assert.deepEqual(readdirSync(folder).sort(), ["a", "b", "c", "out"]);
  });

  it("is planned as a whole before anything is written, with the shapes and configs that will be", async () => {
    const stack = `name: tall\nmerge_method: passthrough\nslices:\n${"  - sources: [{model: a, layer_range: [0, 1]}]\n".repeat(2)}`;
    const { folder, staged, text } = workshop(
      `${stack}---\n${average(undefined, "tall", "tall").replace("merge_method", "out_dtype: bfloat16\nmerge_method")}`,
    );
    const { plans, diagnostics } = await planStages(staged, join(folder, "kept"));
    assert.deepEqual(
      plans?.map(({ name, plan }) => [name, plan.jobs.length, plan.bytesToWrite > 0]),
      [
        ["tall", 2, true],
        [undefined, 2, true],
      ],
      JSON.stringify(diagnostics),
    );
    assert.equal(plans?.[1]?.plan.models[0]?.folder, join(folder, "kept", "tall"));
    assert.deepEqual(readdirSync(folder).sort(), ["a", "b", "c"]);
    await runStages(staged, text, { out: join(folder, "out"), threads: 1 });
    const config = JSON.parse(readFileSync(join(folder, "out", "config.json"), "utf8"));
    assert.deepEqual([config.num_hidden_layers, config.torch_dtype], [2, "bfloat16"]);
  });
});

describe("bad input in a file of several recipes", () => {
  const planned = async (text: string) => {
    const { staged } = workshop(text);
    return errors((await planStages(staged, "kept")).diagnostics);
  };
  const parsed = (text: string) => errors(parseStages(text, "recipe.yml").diagnostics);

  it("has its place in the file", async () => {
    assert.deepEqual(parsed(`${average("x", "a", "b")}---\n${average(undefined, "x", "b").replace("linear", "liner")}`), ["error unknown-method 6:15"]);
    assert.deepEqual(await planned(`${average("x", "a", "nothing")}---\n${average(undefined, "x", "b")}`), ["error model-missing 4:30"]);
  });

  it("names that occur twice, and more than one recipe without", () => {
    assert.deepEqual(parsed(`${average("x", "a")}---\n${average("x", "b")}`), ["error stage-name 6:7"]);
    assert.deepEqual(parsed(`${average(undefined, "a")}---\n${average(undefined, "b")}`), ["error stage-name 5:15"]);
    assert.deepEqual(parsed(`a: 1\n---\n`.repeat(101)), ["error recipe-too-large "]);
  });

  it("recipes that need each other, and themselves", async () => {
    assert.deepEqual(await planned(`${average("x", "y", "a")}---\n${average("y", "x", "a")}---\n${average(undefined, "x", "a")}`), ["error stage-cycle 9:18"]);
    assert.deepEqual(await planned(`${average("z", "a", "b")}---\n${average("x", "x", "a")}`), ["error stage-cycle 9:18"]);
  });

  it("revisions and adapters of results; recipes that nothing needs are a warning", async () => {
    assert.deepEqual(await planned(`${average("x", "a", "b")}---\n${average(undefined, "x+a", "b")}`), ["error reference-unsupported 8:18"]);
    assert.deepEqual(await planned(`${average("x", "a", "b")}---\n${average(undefined, "a", "b")}`), ["warning stage-unused 2:15"]);
  });

  it("does not touch what lies in a folder of stages and is not ours", async () => {
    const { folder, staged, text } = workshop(THREE);
    mkdirSync(join(folder, "out.stages"));
    writeFileSync(join(folder, "out.stages", "notes.txt"), "mine");
    await runStages(staged, text, { out: join(folder, "out"), threads: 1 });
    assert.deepEqual(readdirSync(join(folder, "out.stages")), ["notes.txt"]);
    rmSync(join(folder, "out.stages"), { recursive: true });
  });
});
