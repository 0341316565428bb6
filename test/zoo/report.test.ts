import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { methods } from "../../merge-core/methods/registry.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { recipeText } from "../../scripts/zoo/report/bench.ts";
import { reportMarkdown } from "../../scripts/zoo/report/markdown.ts";
import { GRID } from "../../scripts/zoo/report/method-grid.ts";
import { tableOrderings } from "../../scripts/zoo/report/orderings.ts";
import { PAIR_METHODS, pairsOf } from "../../scripts/zoo/report/pairs.ts";
import type { Row } from "../../scripts/zoo/report/rows.ts";
import { runSteps } from "../../scripts/zoo/report/steps.ts";
import { temporaryFolder } from "../helpers/folders.ts";

describe("the report on the sample models", () => {
  const row = (name: string, values: readonly number[], needs = "weights"): Row => ({
    name,
    needs,
    perSeed: values.map((v) => ({ x: v, y: v / 2 })),
    chosen: ["lambda 1", "lambda 1"],
  });
  const base = row("base", [0.2]);
  const experts = row("experts", [0.8]);
  const rows = [row("linear", [0.4]), row("ties", [0.5, 0.7]), row("task_arithmetic", [0.7])];

  it("tries settings that recipes accept, of methods that there are", () => {
    for (const { method, settings } of GRID) {
      assert.ok(
        methods.some(({ id }) => id === method),
        method,
      );
      for (const setting of settings) {
        const beside = (): Readonly<Record<string, string>> => (method === "regmean" ? { gram: "g.safetensors" } : {});
        const { diagnostics } = parseRecipe(recipeText(["sort", "add"], method, setting, beside), "r.yml");
        assert.deepEqual(diagnostics, [], `${method} ${JSON.stringify(setting)}`);
      }
    }
  });

  it("finds orderings that hold and those that do not", () => {
    const orderings = tableOrderings(rows, base, experts);
    const of = (claim: RegExp) => orderings.find((ordering) => claim.test(ordering.claim));
    assert.equal(of(/base < average/)?.holds, true);
    assert.equal(of(/^ties is/)?.holds, false);
    assert.match(of(/^ties is/)?.figures ?? "", /^45.0 and 52.5$/);
    assert.equal(of(/regmean/)?.holds, false, "a row that is missing proves nothing");
  });

  it("has recipes for pairs that there is nothing to say against", () => {
    assert.equal(pairsOf(["a", "b", "c", "d"]).length, 6);
    for (const { name, recipes } of PAIR_METHODS)
      for (const { text } of recipes("sort", "add")) assert.deepEqual(parseRecipe(text, "r.yml").diagnostics, [], name);
  });

  it("goes on where it was killed, unless the program is another", async () => {
    const journal = join(temporaryFolder(), "deep", "journal.jsonl");
    const done: string[] = [];
    const step = (name: string, fails = false) => ({
      name,
      share: 1,
      run: async () => {
        done.push(name);
        if (fails) throw new Error("killed");
        return { of: name };
      },
    });
    await assert.rejects(runSteps([step("a"), step("b"), step("c", true)], journal, "v1", () => undefined));
    appendFileSync(journal, '{"name":"c","resu');
    const left: (number | undefined)[] = [];
    const found = await runSteps([step("a"), step("b"), step("c"), step("d")], journal, "v1", (_name, _seconds, rest) => void left.push(rest));
    assert.deepEqual(done, ["a", "b", "c", "c", "d"]);
    assert.deepEqual([...found.keys()].sort(), ["a", "b", "c", "d"]);
    assert.deepEqual(found.get("a"), { of: "a" });
    assert.deepEqual([left.length, left[0]], [2, undefined]);
    await runSteps([step("a"), step("d")], journal, "v1", () => undefined);
    await runSteps([step("a")], journal, "v2", () => undefined);
    assert.deepEqual(done.slice(5), ["a"]);
  });

  it("states means, deviations, what is relative to the experts, and every ordering that fails", () => {
    const orderings = tableOrderings(rows, base, experts);
    const fronts = [{ name: "pamal", trained: "2 models", hypervolume: 0.25, ends: "0.1, 0.2" }];
    const scores = { forget: 0.5, retain: 0.6, control: 0.4 };
    const unlearned = [
      {
        method: "ssd" as const,
        before: scores,
        after: { ...scores, forget: 0.1 },
        changed: 0.125,
        chosen: "alpha 50",
        keeps: false,
        floor: 0.38,
      },
    ];
    const curve = [{ weight: 0.5, score: 0.25 }];
    const pairs = [{ name: "slerp", scores: [0.25], chosen: [""] }];
    const maps = [{ name: "Nested MAP", trials: 71, hypervolume: 0.5, surrogateError: undefined }];
    const text = reportMarkdown({ tasks: ["x", "y"], base, experts, rows, pairs, maps, orderings, curve, fronts, unlearned, left: ["mwa"] });
    assert.match(text, /\| method \| x, y \| mean \|\n.*\n\| slerp \| 25.0 \| 25.0 \|/);
    assert.match(text, /\| Nested MAP \| 71 \| 0.500 \| {2}\|/);
    assert.match(text, /\| pamal \| 2 models \| 0.250 \| 0.1, 0.2 \|/);
    assert.match(text, /\| ssd \| 50.0 to 10.0 \| 60.0 to 60.0 \| 40.0 to 40.0 \| 12.5 % \| alpha 50 \| no, 0.38 \|/);
    assert.match(text, /\| ties \| weights \| 60.0 \| 30.0 \| 45.0 ± 10.6 \| 75.0 \| lambda 1 \|/);
    assert.ok(text.indexOf("| task_arithmetic |") < text.indexOf("| ties |"), "the best come first");
    assert.match(text, /\| 3 \| ties is at least as good as task_arithmetic \| \*\*no\*\* \| 45.0 and 52.5/);
    assert.match(text, /\| mean \| 25.0 \|/);
  });
});
