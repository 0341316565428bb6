// Which merges the demo makes, and what it says of their order.
import assert from "node:assert/strict";
import { demoMerges } from "../../merge-core/evaluate/demo-merges.ts";
import { orderings } from "../../merge-core/evaluate/demo-orderings.ts";
import { type MeasuredModel, overSeeds, resultsTable } from "../../merge-core/evaluate/demo-results.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";

const EXPERTS = ["sort", "reverse", "shift", "add"];

describe("the demo's merges", () => {
  it("are all methods that take any number of experts, each with a recipe that can be carried out", async () => {
    const merges = await demoMerges("media/zoo", EXPERTS, true);
    const names = merges.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    for (const name of ["ties", "iso-c", "iso-cts", "tsv-m", "knots", "wudi", "pcb", "cabs", "model-stock", "one-bit", "fisher", "regmean"])
      assert.ok(names.includes(name), name);
    for (const name of ["slerp", "passthrough", "mwa", "rws"]) assert.ok(!names.includes(name), name);
    for (const { file, text, data } of merges) {
      const { recipe, diagnostics } = parseRecipe(text, file);
      assert.ok(recipe, JSON.stringify(diagnostics));
      // Statistics are taken when the demo runs.
      if (data !== undefined) continue;
      const { plan } = await planMerge(recipe, modelOpener(file));
      assert.ok(plan, file);
      assert.ok(!diagnostics.some(({ severity }) => severity === "error"));
    }
    assert.deepEqual(
      merges.filter(({ seeds }) => seeds > 1).map(({ name, seeds }) => `${name} ${seeds}`),
      ["dare-linear 5", "dare-ties 5", "della 5", "della-linear 5"],
    );
    assert.equal((await demoMerges("media/zoo", EXPERTS, false)).length, 5);
  });
});

describe("measurements over seeds", () => {
  it("are means with the deviation of the mean", () => {
    const runs = [
      { exactMatch: { sort: 0.5, add: 0.1 }, mean: 0.3 },
      { exactMatch: { sort: 0.7, add: 0.3 }, mean: 0.5 },
    ];
    const { exactMatch, mean, seeds, spread } = overSeeds(runs);
    assert.deepEqual(
      [exactMatch.sort, exactMatch.add, mean, seeds].map((x) => Number(x?.toFixed(9))),
      [0.6, 0.2, 0.4, 2],
    );
    assert.ok(Math.abs((spread ?? 0) - Math.SQRT1_2 * 0.2) < 1e-12);
    assert.equal(overSeeds(runs.slice(0, 1)).seeds, undefined);
  });

  it("put a column into the table only where there are some", () => {
    const base: MeasuredModel = { name: "base", kind: "base", exactMatch: { sort: 0 }, mean: 0 };
    const dare: MeasuredModel = { ...base, name: "dare-linear", kind: "merge", mean: 0.5, seeds: 3, spread: 0.02 };
    assert.equal(resultsTable({ tasks: ["sort"], models: [base] }).header.length, 5);
    const { header, rows } = resultsTable({ tasks: ["sort"], models: [base, dare] });
    assert.deepEqual([header.at(-1), rows[0]?.at(-1), rows[1]?.at(-1)], ["± seeds", "", "2.0"]);
  });
});

describe("expected orderings", () => {
  const merge = (name: string, mean: number, more: Partial<MeasuredModel> = {}): MeasuredModel => ({ name, kind: "merge", exactMatch: {}, mean, ...more });
  const models: MeasuredModel[] = [
    merge("base", 0.3, { kind: "base" }),
    merge("sort", 0.4, { kind: "expert", task: "sort", exactMatch: { sort: 0.9 } }),
    merge("linear", 0.5),
    merge("task-arithmetic", 0.6),
  ];
  const failing = (...more: MeasuredModel[]) =>
    orderings([...models, ...more])
      .filter(({ holds }) => !holds)
      .map(({ expectation }) => expectation);

  it("are judged where their methods were measured, and only those that fail are failures", () => {
    assert.deepEqual(failing(), []);
    assert.equal(orderings(models).length, 3);
    assert.deepEqual(failing(merge("ties", 0.595)), []);
    assert.deepEqual(failing(merge("ties", 0.58)), ["TIES is at least as good as task arithmetic"]);
    assert.deepEqual(failing(merge("wudi", 0.95)), ["no merge is better than each expert on its own task"]);
  });

  it("allow DARE two deviations of its seeds", () => {
    assert.deepEqual(failing(merge("dare-linear", 0.55, { seeds: 3, spread: 0.03 })), []);
    assert.deepEqual(failing(merge("dare-linear", 0.55, { seeds: 3, spread: 0.02 })), ["DARE is about as good as task arithmetic"]);
    const found = orderings([...models, merge("dare-linear", 0.55, { seeds: 3, spread: 0.02 })]).at(-1)?.found;
    assert.equal(found, "dare-linear 55.0 ± 2.0, task-arithmetic 60.0");
  });
});
