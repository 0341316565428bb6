// The demo on the sample models, with a few test questions of each task.
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type DemoProgress, runDemo } from "../../merge-core/evaluate/demo.ts";
import { DEMO_RECIPES } from "../../merge-core/evaluate/demo-merges.ts";
import { orderings } from "../../merge-core/evaluate/demo-orderings.ts";
import { measureProbes, probeCount } from "../../merge-core/evaluate/demo-probes.ts";
import type { DemoResults } from "../../merge-core/evaluate/demo-results.ts";
import { evaluateCheckpoint } from "../../merge-core/evaluate/evaluate.ts";
import type { TaskData } from "../../merge-core/evaluate/measure-tasks.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";

const QUESTIONS = 5;

/** The sample models with only the first questions of each test split. */
function smallZoo(): string {
  const zoo = temporaryFolder();
  for (const name of readdirSync("media/zoo")) if (name !== "data") symlinkSync(resolve("media/zoo", name), join(zoo, name));
  mkdirSync(join(zoo, "data"));
  for (const file of readdirSync("media/zoo/data").filter((name) => name.endsWith(".test.jsonl"))) {
    const lines = readFileSync(join("media/zoo/data", file), "utf8").split("\n").slice(0, QUESTIONS);
    writeFileSync(join(zoo, "data", file), `${lines.join("\n")}\n`);
  }
  return zoo;
}

describe("probes of task vectors", () => {
  /** A base that can do half of everything; a task vector adds to its task and, taken away, takes from all. */
  const bench = (cost: number) => {
    const recipes: string[] = [];
    const measure = async (recipe: string, data: TaskData) => {
      recipes.push(recipe);
      const lambda = Number(/lambda: (\S+)/.exec(recipe)?.[1] ?? 0);
      const named = [...recipe.matchAll(/model: \.\.\/expert-(\w+)/g)].map(([, name]) => name);
      const loss = data === test ? 0 : 0.01;
      return Object.fromEntries(["a", "b"].map((task) => [task, 0.5 - loss + (named.includes(task) ? 0.4 * lambda : 0) - cost * lambda ** 2]));
    };
    const test: TaskData = new Map();
    return { recipes, base: "base", experts: ["a", "b"].map((name) => ({ name, expert: `expert-${name}` })), test, validation: new Map(), measure };
  };

  it("choose the coefficient of a negation on validation data, by what it leaves of the other tasks", async () => {
    const one = bench(0.05);
    const { curve, negations } = await measureProbes(one);
    assert.equal(one.recipes.length, probeCount(2));
    assert.deepEqual(
      curve.map(({ lambda }) => lambda),
      [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
    );
    // 0.49 - 0.05 lambda^2 is at least 0.95 * 0.49 up to 0.7.
    assert.deepEqual(
      negations.map(({ task, lambda }) => [task, lambda]),
      [
        ["a", 0.4],
        ["b", 0.4],
      ],
    );
    assert.ok(Math.abs((negations[0]?.target.negated ?? 0) - (0.5 - 0.16 - 0.008)) < 1e-12);
    assert.equal(negations[0]?.control.base, 0.5);
    const base = { name: "base", kind: "base", exactMatch: {}, mean: 0.5 } as const;
    assert.deepEqual(
      orderings([base], { curve, negations }).map(({ holds }) => holds),
      [false, true, true],
    );
  });

  it("say so where no coefficient leaves enough", async () => {
    const { curve, negations } = await measureProbes(bench(50));
    assert.deepEqual(
      negations.map(({ lambda, target }) => [lambda, target.negated]),
      [
        [undefined, 0.5],
        [undefined, 0.5],
      ],
    );
    const base = { name: "base", kind: "base", exactMatch: {}, mean: 0.5 } as const;
    assert.deepEqual(
      orderings([base], { curve, negations }).map(({ holds }) => holds),
      [false, false, false],
    );
  });
});

describe("demo", () => {
  it("merges, measures and writes results and report", async () => {
    const zoo = smallZoo();
    const out = join(temporaryFolder(), "demo");
    const progress: DemoProgress[] = [];
    const { results } = await runDemo({ zoo, out, threads: 2, onProgress: (p) => progress.push(p) });
    const written = JSON.parse(readFileSync(join(out, "results.json"), "utf8")) as DemoResults;
    assert.deepEqual(written, results);
    const kinds = written.models.map(({ kind }) => kind);
    assert.deepEqual(kinds, ["base", ...Array(4).fill("expert"), ...Array(DEMO_RECIPES.length).fill("merge")]);
    for (const { exactMatch, mean } of written.models) {
      assert.deepEqual(Object.keys(exactMatch), written.tasks);
      assert.equal(mean, Object.values(exactMatch).reduce((sum, value) => sum + value, 0) / 4);
    }
    assert.equal(new Set(written.models.flatMap(({ method }) => method ?? [])).size, 5);
    assert.deepEqual([progress.at(-1)?.done, progress.at(-1)?.total], [25, 25]);
    const random = written.models.filter(({ seeds }) => seeds !== undefined);
    assert.deepEqual(
      random.map(({ name, seeds }) => `${name} ${seeds}`),
      ["dare-linear 3", "dare-ties 3"],
    );
    assert.deepEqual(readdirSync(out).sort(), ["merges", "report.html", "results.json"]);
    assert.ok(readFileSync(join(out, "report.html"), "utf8").includes('"weightsmith-demo"'));

    // The ends of the curve are the experts, and a merge on disk gives the number in the table.
    const expert = (task: string) => written.models.find((model) => model.task === task)?.exactMatch ?? {};
    const [first, second] = written.tradeOff.tasks;
    const both = (scores: Readonly<Record<string, number>>) => [scores[first], scores[second]];
    assert.deepEqual(both(written.tradeOff.points[0]?.exactMatch ?? {}), both(expert(first)));
    assert.deepEqual(both(written.tradeOff.points.at(-1)?.exactMatch ?? {}), both(expert(second)));
    const again = await evaluateCheckpoint(join(out, "merges", "ties"), [join(zoo, "data", "sort.test.jsonl")], { metrics: ["exactMatch"], threads: 1 });
    assert.equal(again.exactMatch, written.models.find(({ name }) => name === "ties")?.exactMatch.sort);
  });

  it("says which file is missing where there are no sample models", async () => {
    const { file } = await rejectsWith("file-missing", () => runDemo({ zoo: temporaryFolder(), out: join(temporaryFolder(), "demo") }));
    assert.match(file ?? "", /zoo\.json$/);
  });

  it("leaves nothing behind when stopped", async () => {
    const folder = temporaryFolder();
    const controller = new AbortController();
    const onProgress = ({ done }: DemoProgress) => {
      if (done === 6) controller.abort();
    };
    await rejectsWith("cancelled", () => runDemo({ zoo: smallZoo(), out: join(folder, "demo"), threads: 2, signal: controller.signal, onProgress }));
    assert.deepEqual(readdirSync(folder), []);
  });
});
