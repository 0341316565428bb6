import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { WeightsmithError } from "../../merge-core/diagnostics.ts";
import { builtinMetric, openEvaluator } from "../../merge-core/evaluate/evaluators.ts";
import { narrowFromFloat32, widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { parseDecoderConfig } from "../../merge-core/nn/config.ts";
import { readEvolveConfig } from "../../merge-core/pareto/evolve-config.ts";
import { firstModelGenome, genomeLength, stackRecipe, stackValues } from "../../merge-core/pareto/layer-genome.ts";
import { costsOf, runEvolve } from "../../merge-core/pareto/run-evolve.ts";
import { readSearchRecipe, valueAt } from "../../merge-core/pareto/search-recipe.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { tinyConfigJson, tinyTensors, writeTinyModel } from "../helpers/tiny-decoder.ts";

const ZOO = resolve("media/zoo");
const data = (task: string, split = "validation") => join(ZOO, "data", `${task}.${split}.jsonl`);
const CONFIG = `
recipe:
  merge_method: task_arithmetic
  base_model: ${ZOO}/base
  models:
    - { model: ${ZOO}/sort, parameters: { weight: { search: [-1, 1] } } }
    - { model: ${ZOO}/add, parameters: { weight: { search: [-1, 1] } } }
  dtype: bfloat16
objectives:
  - { name: sort, metric: loss, data: ${data("sort")}, limit: 8 }
report:
  - { name: sort, metric: loss, data: ${data("sort", "test")}, limit: 8 }
trials: 25
`;

describe("recipes with ranges", () => {
  it("are filled in wherever a range stands", () => {
    const recipe = readSearchRecipe(
      {
        models: [{ model: "a/b", parameters: { weight: { search: [0, 2] }, density: { search: [0.01, 1], log: true } } }],
        parameters: { t: [0, { search: [0, 1] }] },
      },
      "x.yml",
    );
    assert.deepEqual(
      recipe.dimensions.map(({ name }) => name),
      ["b", "b.density", "parameters.t[1]"],
    );
    assert.match(recipe.textAt([1.5, 0.25, 0.5]), /weight: 1\.5\n.*density: 0\.25\n.*t:\n\s+- 0\n\s+- 0\.5/s);
    const log = { name: "", low: 0.01, high: 1, log: true };
    assert.ok(Math.abs(valueAt(log, 0.5) - 0.1) < 1e-12);
    assert.equal(valueAt({ ...log, log: false }, 0.5), 0.505);
  });

  for (const mark of [{ search: [1, 0] }, { search: [0] }, { search: ["a", 1] }, { search: [0, 1], log: true }, { search: [0, 1], step: 2 }]) {
    it(`refuse ${JSON.stringify(mark)}`, () => {
      assert.throws(() => readSearchRecipe({ t: mark }, "x.yml"), { code: "search-range" });
    });
  }
});

describe("stacks of layers", () => {
  const stack = {
    models: [
      { model: "a", layers: 3 },
      { model: "b", layers: 2 },
    ],
    repeats: 2,
  };

  it("begin with the first model as it is", () => {
    assert.equal(genomeLength(stack), 10);
    assert.match(
      stackRecipe(stack, firstModelGenome(stack, 0.3)),
      /^merge_method: passthrough\nslices:\n {2}- sources:\n {6}- model: a\n {8}layer_range:\n {10}- 0\n {10}- 3\n$/,
    );
  });

  it("join what is consecutive and keep the order", () => {
    const ranges = [...stackRecipe(stack, [0, 1, 1, 1, 0, -1, 0, 1, 1, 1]).matchAll(/model: (\w)\n\s+layer_range:\n\s+- (\d)\n\s+- (\d)/g)].map((m) =>
      m.slice(1).join(""),
    );
    assert.deepEqual(ranges, ["a13", "b01", "a23", "b02"]);
    assert.throws(() => stackRecipe(stack, new Array(10).fill(0)), { code: "stack-empty" });
  });

  it("with scales begin with the first model, too, and range evenly around 1 in the logarithm", () => {
    const scaled = { ...stack, scale: [0.25, 4] as const };
    for (const scale of [scaled.scale, [0.5, 1.7] as const, [0.9, 3] as const]) {
      const start = firstModelGenome({ ...stack, scale }, 0.3);
      assert.equal(start.length, 20);
      assert.equal(stackRecipe({ ...stack, scale }, start), stackRecipe(stack, firstModelGenome(stack, 0.3)));
    }
    assert.deepEqual(stackValues(scaled, [...new Array<number>(10).fill(1), -1, 0, 1, 0.5, ...new Array<number>(6).fill(0)]).slice(10, 14), [0.25, 1, 4, 2]);
  });

  it("scale the inputs of layers: that of the first layer is what larger embeddings are", async () => {
    const folder = mkdtempSync(join(tmpdir(), "weightsmith-stack-"));
    const write = (name: string, factor: number) => {
      const config = parseDecoderConfig(tinyConfigJson());
      const path = writeTinyModel(join(folder, name), {}, 3);
      const tensors = tinyTensors(config, 3);
      const table = tensors.get("model.embed_tokens.weight");
      assert.ok(table?.dtype === "F32");
      const data = narrowFromFloat32(
        "F32",
        widenToFloat32("F32", table.data).map((x) => x * factor),
      );
      tensors.set("model.embed_tokens.weight", { ...table, data });
      writeFileSync(join(path, "model.safetensors"), encodeSafetensors([...tensors].map(([tensor, value]) => ({ name: tensor, ...value }))));
      return path;
    };
    const [plain, doubled] = [write("plain", 1), write("doubled", 2)];
    const scaled = { models: [{ model: plain, layers: 2 }], repeats: 1, scale: [0.5, 2] as const, dtype: "float32" };
    const text = join(folder, "text.jsonl");
    writeFileSync(text, '{"text":"abcdefghijk"}\n');
    const evaluator = await openEvaluator([builtinMetric("loss", [text])], { threads: 1 });
    const lossOf = async (genome: number[]) => (await evaluator.recipe({ text: stackRecipe(scaled, genome), file: "x.yml" })).loss ?? Number.NaN;
    const expected = (await evaluator.model(doubled)).loss ?? Number.NaN;
    assert.ok(Math.abs((await lossOf([1, 1, 1, 0])) - expected) < 1e-4, `${await lossOf([1, 1, 1, 0])}, expected ${expected}`);
    assert.ok(Math.abs((await lossOf([1, 1, 0, 0])) - expected) > 1e-3);
    rmSync(folder, { recursive: true, force: true });
  });
});

describe("costs of a generation", () => {
  it("put rejected trials behind all measured ones, whatever the cheap part said, and failures last", () => {
    const statuses = ["done", "rejected", "failed", "done", "rejected"] as const;
    const fitness = [3, 10, null, 1, 12];
    const costs = costsOf(statuses.map((status, i) => ({ status, fitness: fitness[i] ?? null })));
    const order = [...costs.keys()].sort((a, b) => (costs[a] ?? 0) - (costs[b] ?? 0));
    assert.deepEqual(order, [0, 3, 4, 1, 2]);
    assert.deepEqual([costs[0], costs[3], costs[2]], [-3, -1, Number.POSITIVE_INFINITY]);
  });
});

describe("weightsmith evolve", () => {
  let folder: string;
  const run = async (out: string, text = CONFIG, options = {}) => {
    const file = join(folder, `${out}.yml`);
    writeFileSync(file, text);
    return runEvolve(await readEvolveConfig(file), join(folder, out), { threads: 1, ...options });
  };
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "weightsmith-evolve-"));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it("finds better numbers than it started with and writes the best merge, the same after a kill", async () => {
    const { evolution, model } = await run("whole");
    const start = evolution.trials[0];
    const best = evolution.trials.find(({ id }) => id === evolution.best);
    assert.ok((best?.fitness ?? 0) > (start?.fitness ?? 0) + 0.1, `${best?.fitness} from ${start?.fitness}`);
    assert.ok((evolution.reported?.best.sort ?? 9) < (evolution.reported?.start.sort ?? 0));
    assert.equal(Math.max(...evolution.trials.map(({ fitness }) => fitness ?? -9)), best?.fitness);
    const evaluator = await openEvaluator([builtinMetric("loss", [data("sort", "test")], { limit: 8 })], { threads: 1 });
    assert.equal((await evaluator.model(model)).loss, evolution.reported?.best.sort);

    const controller = new AbortController();
    let seen = 0;
    await assert.rejects(run("killed", CONFIG, { signal: controller.signal, onProgress: () => void (++seen === 21 && controller.abort()) }), {
      code: "cancelled",
    });
    assert.ok(!existsSync(join(folder, "killed", "evolve.json")));
    const again = await run("killed");
    assert.ok(again.resumed >= 9);
    assert.deepEqual({ ...again.evolution, config: undefined }, { ...evolution, config: undefined });
  });

  it("measures only the better part of a generation in full, and goes on past stacks that cannot run", async () => {
    const text = `
stack: { models: [${ZOO}/sort, ${ZOO}/reverse], dtype: bfloat16 }
objectives:
  - { name: sort, metric: loss, data: ${data("sort")}, limit: 12 }
early: { limit: 4, keep: 0.34 }
trials: 19
population: 6
`;
    const { evolution } = await run("stack", text);
    const count = (status: string) => evolution.trials.filter((trial) => trial.status === status).length;
    assert.equal(evolution.trials.length, 19);
    assert.equal(count("done") + count("rejected") + count("failed"), 19);
    // Three of six in each of three generations, and the start.
    assert.ok(count("done") <= 10 && count("rejected") >= 6, `${count("done")} done, ${count("rejected")} rejected`);
    assert.deepEqual(evolution.trials[0]?.values, [1, 1, 1, 0, 0, 0]);
    assert.equal(evolution.reported, null);
  });

  it("says that the report failed, and keeps what was searched for when it is started again", async () => {
    const report = `report:\n  - { name: own, command: "exit 3" }\n`;
    const text = CONFIG.replace(/report:\n.*\n/, report).replace("trials: 25", "trials: 6");
    const { evolution } = await run("unreported", text);
    assert.match(evolution.reported?.error ?? "", /^evaluator-failed/);
    assert.deepEqual([evolution.reported?.start, evolution.reported?.best], [{}, {}]);
    // The start and the best have now failed as reports, not as trials.
    const again = await run("unreported", text);
    assert.deepEqual(again.evolution, evolution);
  });

  it("says why if nothing can be measured", async () => {
    const text = CONFIG.replace(/objectives:\n.*\n/, `objectives:\n  - { name: own, command: "echo none" }\n`).replace("trials: 25", "trials: 2");
    const { notes = [], remedy } = await rejectsWith("search-nothing-measured", () => run("nothing", text));
    assert.match(notes.join(), /evaluator-no-number.*none/);
    assert.match(remedy ?? "", /trials\.jsonl/);
  });

  it("takes as many trials as it is given, be they less than a generation", async () => {
    const { evolution } = await run("few", CONFIG.replace("trials: 25", "trials: 3"));
    assert.deepEqual(
      evolution.trials.map(({ generation, status }) => [generation, status]),
      [
        [0, "done"],
        [1, "done"],
        [1, "done"],
      ],
    );
  });

  it("refuses to report on the searched split or a copy of it, unless told", async () => {
    const copy = join(folder, "copy.jsonl");
    copyFileSync(data("sort"), copy);
    for (const file of [data("sort"), copy]) {
      const text = CONFIG.replace(data("sort", "test"), file).replace("trials: 25", "trials: 1");
      await assert.rejects(run("same", text), (error: unknown) => error instanceof WeightsmithError && error.code === "split-used-twice");
      const { evolution } = await run("same", text, { allowSameSplit: true, overwrite: true });
      assert.equal(evolution.sameSplit, true);
      assert.match(readFileSync(join(folder, "same", "evolve.json"), "utf8"), /"sameSplit": true/);
    }
  });

  for (const [code, from, to] of [
    ["config-unknown-key", "trials: 25", "trial: 25"],
    ["config-invalid-value", "trials: 25", "early: 5"],
    ["config-invalid-value", "trials: 25", "stack: { models: [a] }"],
    ["config-invalid-value", "limit: 8 }\nreport", "limit: 8, weight: -1 }\nreport"],
    ["search-range", "[-1, 1]", "[1, 1]"],
    ["model-missing", "zoo/sort,", "zoo/gone,"],
  ] as const) {
    it(`refuses ${to}: ${code}`, async () => {
      await assert.rejects(run("refused", CONFIG.replace(from, to)), (error: unknown) => error instanceof WeightsmithError && error.code === code);
    });
  }
});
