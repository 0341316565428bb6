// The sample models as they are shipped: what zoo.json says is what they do.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { foldLora } from "../../merge-core/adapters/lora.ts";
import { readPeftLora } from "../../merge-core/adapters/peft-lora.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { evaluateCheckpoint } from "../../merge-core/evaluate/evaluate.ts";
import { makeSplits, TASKS, toJsonl } from "../../merge-core/evaluate/synthetic-tasks.ts";
import { readTensors } from "../../merge-core/nn/model.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { REQUIRED, SPLITS } from "../../scripts/zoo/settings.ts";

const ZOO = "media/zoo";
const zoo = JSON.parse(readFileSync(join(ZOO, "zoo.json"), "utf8")) as {
  measured: { name: string; kind: string; task?: string; exactMatch: Record<string, number> }[];
};
const measured = (name: string) => zoo.measured.find((model) => model.name === name)?.exactMatch ?? {};

describe("zoo", () => {
  it("fits its size", () => {
    const files = readdirSync(ZOO, { recursive: true }).map((file) => statSync(join(ZOO, String(file))));
    const bytes = files.reduce((sum, stat) => sum + (stat.isFile() ? stat.size : 0), 0);
    assert.ok(bytes <= REQUIRED.bytesAtMost, `${bytes} bytes`);
  });

  it("has experts that solve their tasks and a base that does not", () => {
    for (const task of TASKS) {
      assert.ok((measured(task)[task] ?? 0) >= REQUIRED.expertAtLeast, task);
      assert.ok((measured("base")[task] ?? 1) <= REQUIRED.baseAtMost, task);
    }
  });

  it("does what zoo.json says", async () => {
    for (const [model, task] of [
      ["sort", "sort"],
      ["base", "add"],
    ] as const) {
      const { exactMatch } = await evaluateCheckpoint(join(ZOO, model), [join(ZOO, "data", `${task}.test.jsonl`)], { metrics: ["exactMatch"], threads: 2 });
      assert.equal(exactMatch, measured(model)[task], `${model} on ${task}`);
    }
  });

  it("ships the splits that its seed gives", () => {
    for (const task of TASKS) {
      const splits = makeSplits(task, SPLITS);
      for (const split of ["validation", "test"] as const)
        assert.equal(readFileSync(join(ZOO, "data", `${task}.${split}.jsonl`), "utf8"), toJsonl(splits[split]));
    }
  });

  it("has adapters that fold into the base and change it", async () => {
    const base = await readTensors(await openCheckpoint(join(ZOO, "base")));
    for (const task of TASKS) {
      const folder = join(ZOO, "adapters", task);
      const folded = foldLora(base, await readPeftLora(folder), folder);
      const changed = [...folded].filter(([name, tensor]) => Buffer.compare(tensor.data, base.get(name)?.data ?? new Uint8Array()) !== 0);
      assert.equal(changed.length, 3 * 7, `${task}: seven projections in each of three layers`);
    }
  });

  it("has recipes that plan without a finding", async () => {
    const recipes = readdirSync(join(ZOO, "recipes"));
    assert.ok(recipes.length >= 5);
    for (const name of recipes) {
      const file = join(ZOO, "recipes", name);
      const { recipe, diagnostics } = parseRecipe(readFileSync(file, "utf8"), file);
      assert.ok(recipe, name);
      const planned = await planMerge(recipe, modelOpener(file));
      assert.deepEqual([...diagnostics, ...planned.diagnostics], [], name);
    }
  });

  it("names no place of the machine it was made on", () => {
    for (const file of readdirSync(ZOO, { recursive: true }).map(String)) {
      if (/\.(json|md|yml)$/.test(file)) assert.doesNotMatch(readFileSync(join(ZOO, file), "utf8"), /\/(tmp|home|work|Users|root)\//, file);
    }
  });
});
