import assert from "node:assert/strict";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { evaluateCheckpoint } from "../../../merge-core/evaluate/evaluate.ts";
import { builtinMetric, type MetricSpec } from "../../../merge-core/evaluate/evaluators.ts";
import { mergeByRecipe } from "../../../merge-core/evaluate/recipe-merge.ts";
import { candidateRecipes } from "../../../merge-core/evaluate/search/candidates.ts";
import { searchRecipes } from "../../../merge-core/evaluate/search/search.ts";
import { greedySoup } from "../../../merge-core/evaluate/search/soup.ts";
import { rejectsWith } from "../../helpers/diagnostics.ts";
import { temporaryFolder } from "../../helpers/folders.ts";
import { writeTinyModel } from "../../helpers/tiny-decoder.ts";

describe("searching merges", () => {
  const folder = temporaryFolder();
  const place = (name: string) => join(folder, name);
  const file = place("recipe.yml");
  const [data, test] = [place("validation.jsonl"), place("test.jsonl")];
  const names = ["a", "b", "c", "d"];
  let loss: MetricSpec;
  before(() => {
    for (const [i, name] of names.entries()) writeTinyModel(place(name), {}, i + 1);
    writeFileSync(data, '{"prompt":"ab","completion":"b"}\n{"text":"abcdefghij"}\n');
    writeFileSync(test, '{"text":"mlkabc"}\n');
    loss = builtinMetric("loss", [data]);
  });

  let merges = 0;
  const lossOnDisk = async (text: string, jsonl = data): Promise<number> => {
    const out = place(`merge${merges++}`);
    await mergeByRecipe({ text, file }, out);
    return (await evaluateCheckpoint(out, [jsonl], { threads: 1, metrics: ["loss"] })).loss ?? Number.NaN;
  };
  const meanOf = (models: readonly string[]) =>
    `merge_method: linear\nmodels:\n${models.map((m) => `  - {model: ${m}, parameters: {weight: 1}}\n`).join("")}dtype: float32\n`;

  it("chooses what merging and measuring on disk would choose, and reports it on other data", async () => {
    const candidates = candidateRecipes(meanOf(["a", "b"]), file, { kind: "grid", points: 5 }, []);
    const losses: number[] = [];
    for (const { text } of candidates) losses.push(await lossOnDisk(text));
    const seen: number[] = [];
    const outcome = await searchRecipes(candidates, file, [loss], {
      threads: 1,
      report: [builtinMetric("loss", [test])],
      onTrial: (_, done) => seen.push(done),
    });
    assert.deepEqual(
      outcome.trials.map(({ score }) => score),
      losses,
    );
    assert.equal(outcome.best, losses.indexOf(Math.min(...losses)));
    assert.equal(outcome.report?.loss, await lossOnDisk(outcome.text, test));
    assert.deepEqual(seen, [1, 2, 3, 4, 5]);
  });

  it("cooks the greedy soup that the paper's rule gives", async () => {
    const single = await Promise.all(names.map(() => 0));
    for (const [i, name] of names.entries()) single[i] = await lossOnDisk(meanOf([name]));
    const order = names.map((_, i) => i).sort((i, j) => (single[i] ?? 0) - (single[j] ?? 0));
    let pot = [names[order[0] ?? 0] ?? ""];
    let best = single[order[0] ?? 0] ?? 0;
    for (const i of order.slice(1)) {
      const next = [...pot, names[i] ?? ""];
      const score = await lossOnDisk(meanOf(next));
      if (score < best) [pot, best] = [next, score];
    }
    const outcome = await greedySoup(names, [loss], { threads: 1, dtype: "float32", file });
    assert.deepEqual(outcome.ingredients, pot);
    assert.equal(outcome.trials[outcome.best]?.score, best);
    assert.equal(await lossOnDisk(outcome.text), best);
    // A twin changes nothing, and what is not strictly better stays out.
    writeTinyModel(place("twin"), {}, 1);
    assert.deepEqual((await greedySoup(["a", "twin"], [loss], { threads: 1, dtype: "float32", file })).ingredients, ["a"]);
  });

  it("marks trials that fail and goes on", async () => {
    const recipe = `merge_method: dare_linear\nbase_model: a\nmodels:\n  - {model: b, parameters: {weight: 0.5}}\ndtype: float32\n`;
    const candidates = candidateRecipes(recipe, file, undefined, [{ name: "density", values: [-1, 0.5, 2] }]);
    const outcome = await searchRecipes(candidates, file, [loss], { threads: 1 });
    assert.deepEqual(
      outcome.trials.map(({ score }) => score === undefined),
      [true, false, true],
    );
    assert.match(outcome.trials[0]?.error ?? "", /density/);
    assert.equal(outcome.best, 1);
    const failing = candidateRecipes(recipe, file, undefined, [{ name: "density", values: [-1, 2] }]);
    assert.equal((await rejectsWith("search-failed", () => searchRecipes(failing, file, [loss], { threads: 1 }))).notes?.length, 2);
    const broken: MetricSpec = { kind: "command", name: "x", direction: "max", command: "exit 1", timeoutSeconds: 9 };
    await rejectsWith("search-failed", () => searchRecipes(candidates.slice(1, 2), file, [broken], { threads: 1 }));
  });

  it("goes on where it was stopped", async () => {
    const cacheFile = place("scores.jsonl");
    const count = place("count");
    writeFileSync(count, "");
    const command = ["node", "-e", `require('fs').appendFileSync(${JSON.stringify(count)},'x');console.log(1)`];
    const counting: MetricSpec = { kind: "command", name: "own", direction: "max", command, timeoutSeconds: 30 };
    const candidates = candidateRecipes(meanOf(["a", "b"]), file, { kind: "grid", points: 4 }, []);
    const controller = new AbortController();
    const stopping = { threads: 1, cacheFile, signal: controller.signal, onTrial: (_: unknown, done: number) => done === 2 && controller.abort() };
    await rejectsWith("cancelled", () => searchRecipes(candidates, file, [counting], stopping));
    assert.equal(readFileSync(count, "utf8"), "xx");
    const outcome = await searchRecipes(candidates, file, [counting], { threads: 1, cacheFile });
    assert.equal(readFileSync(count, "utf8"), "xxxx");
    assert.equal(outcome.best, 0, "ties go to the first");
  });

  it("refuses to report on what chose, by content, and to average what pulls both ways", async () => {
    const candidates = candidateRecipes(meanOf(["a", "b"]), file, undefined, []);
    const copy = place("copy.jsonl");
    copyFileSync(data, copy);
    const report = [builtinMetric("loss", [copy])];
    assert.match((await rejectsWith("split-used-twice", () => searchRecipes(candidates, file, [loss], { threads: 1, report }))).found ?? "", /validation/);
    assert.ok((await searchRecipes(candidates, file, [loss], { threads: 1, report, sameData: true })).report?.loss);
    await rejectsWith("metric-directions", () => searchRecipes(candidates, file, [loss, builtinMetric("exact_match", [data])], { threads: 1 }));
  });
});
