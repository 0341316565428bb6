import assert from "node:assert/strict";
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { WeightsmithError } from "../../merge-core/diagnostics.ts";
import { builtinMetric, openEvaluator } from "../../merge-core/evaluate/evaluators.ts";
import { evaluateAt, recipeAt } from "../../merge-core/pareto/evaluate-at.ts";
import type { FrontFile } from "../../merge-core/pareto/front-file.ts";
import { mergeAtPreference } from "../../merge-core/pareto/merge-at.ts";
import { parseParetoConfig } from "../../merge-core/pareto/pareto-config.ts";
import { runPareto } from "../../merge-core/pareto/run-pareto.ts";
import { TRIALS_FILE } from "../../merge-core/pareto/trials.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";

const ZOO = resolve("media/zoo");
const data = (task: string) => join(ZOO, "data", `${task}.validation.jsonl`);
const CONFIG = `
base: ${ZOO}/base
models: [${ZOO}/sort, ${ZOO}/add]
dtype: bfloat16
objectives:
  - { name: sort, metric: loss, data: ${data("sort")}, limit: 8 }
  - { name: add, metric: loss, data: ${data("add")}, limit: 8 }
samples: 6
front: 3
`;

describe("weightsmith pareto", () => {
  let folder: string;
  const config = (text = CONFIG) => parseParetoConfig(text, join(folder, "search.yml"));
  const run = (out: string, text = CONFIG, options = {}) => runPareto(config(text), join(folder, out), { threads: 1, ...options });

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "weightsmith-pareto-"));
    await run("whole");
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const frontText = (out: string) => readFileSync(join(folder, out, "pareto.json"), "utf8");

  it("lists measured baselines, samples and front, with experts as good as their one-hot merges", () => {
    const front = JSON.parse(frontText("whole"));
    const count = (kind: string) => front.points.filter((point: { kind: string }) => point.kind === kind).length;
    assert.deepEqual([count("baseline"), count("sample")], [4, 6]);
    // Proposals may fall on samples, which then carry the prediction.
    assert.equal(front.points.filter((point: { predicted?: number[] }) => point.predicted !== undefined).length, 3);
    assert.ok(front.points.every((point: { evaluated: boolean; status: string }) => point.evaluated && point.status === "done"));
    const byLabel = (label: string) => front.points.find((point: { label?: string }) => point.label === label).values;
    const alone = front.points.find((point: { coefficients?: number[] }) => point.coefficients?.join() === "1,0").values;
    assert.deepEqual(byLabel("sort"), alone);
    assert.ok(byLabel("sort")[0] < byLabel("base")[0] && byLabel("add")[1] < byLabel("base")[1]);
    assert.ok(front.hypervolume > 0);
    assert.equal(front.surrogates[0].coefficients.length, 6);
    // Every point that is not on the front is beaten by one that is.
    const settings = front.points.filter((point: { coefficients?: number[] }) => point.coefficients !== undefined);
    for (const point of settings) {
      const beaten = settings.some((q: { onFront: boolean; values: number[] }) => q.onFront && q.values.every((v, i) => v <= point.values[i]) && q !== point);
      assert.equal(beaten, !point.onFront);
    }
  });

  it("goes on after a kill at any moment and comes to the same result", async () => {
    const controller = new AbortController();
    let trials = 0;
    const stop = run("killed", CONFIG, { signal: controller.signal, onProgress: () => void (++trials === 11 && controller.abort()) });
    await assert.rejects(stop, { code: "cancelled" });
    // A line cut short by the kill.
    appendFileSync(join(folder, "killed", TRIALS_FILE), '{"trial":"12');
    const { resumed } = await run("killed");
    assert.ok(resumed >= 4 && resumed < 13, `${resumed}`);
    assert.equal(frontText("killed"), frontText("whole"));
    assert.equal(
      readFileSync(join(folder, "killed", TRIALS_FILE), "utf8").split("\n").length,
      readFileSync(join(folder, "whole", TRIALS_FILE), "utf8").split("\n").length,
    );
  });

  it("shows what it has measured while it goes on", async () => {
    let seen: FrontFile | undefined;
    await run("watched", CONFIG, {
      onProgress: ({ done }: { done: number }) => {
        if (done === 6) seen = JSON.parse(frontText("watched"));
      },
    });
    assert.equal(seen?.unfinished, true);
    assert.ok(seen.points.length >= 5 && seen.points.length < 13 && seen.objectives.length === 2);
    assert.equal(frontText("watched"), frontText("whole"), "nothing of it stays");
  });

  it("measures one more setting, as a search would have, and prints its recipe", async () => {
    await run("more");
    const { front, point } = await evaluateAt(join(folder, "more"), "1,0", { threads: 1 });
    const before = JSON.parse(frontText("whole")) as FrontFile;
    assert.deepEqual(point.values, before.points.find(({ coefficients }) => coefficients?.join() === "1,0")?.values, "the known setting");
    assert.equal(front.points.length, before.points.length);
    const other = await evaluateAt(join(folder, "more"), "0.125, 0.75", { threads: 1 });
    assert.equal(other.front.points.length, before.points.length + 1);
    assert.deepEqual(JSON.parse(frontText("more")), other.front);
    assert.ok(other.point.evaluated && other.point.predicted?.length === 2);
    const recipe = await recipeAt(join(folder, "more"), "0.125,0.75");
    assert.match(recipe, /0\.125/);
    assert.match(recipe, /0\.75/);
    for (const bad of ["1", "1,x", "1,,0"]) await assert.rejects(evaluateAt(join(folder, "more"), bad), { code: "setting-invalid" });
  });

  it("lists what Nested MAP chose as the front, measured in all objectives", async () => {
    const { front } = await run("nested", `${CONFIG.replace("samples: 6\nfront: 3", "baselines: false")}method: nested_map\npreference: [0.5, 0.5]\n`);
    const chosen = front.points.filter(({ kind }) => kind === "front");
    assert.equal(chosen.length, 1);
    assert.ok(chosen[0]?.evaluated && chosen[0].id === "front-1");
    const sums = front.points.filter(({ evaluated }) => evaluated).map(({ values: [a, b] }) => Number(a) + Number(b));
    assert.ok(Number(chosen[0].values[0]) + Number(chosen[0].values[1]) <= Math.min(...sums) + 1e-9);
  });

  it("refuses trials of another configuration and folders of something else", async () => {
    await assert.rejects(run("whole", CONFIG.replace("samples: 6", "samples: 7")), { code: "resume-other-run" });
    cpSync(join(folder, "whole"), join(folder, "elsewhere"), { recursive: true });
    const file = join(folder, "elsewhere", "trials.jsonl");
    writeFileSync(file, readFileSync(file, "utf8").replace("}\n", ',"engine":"webgpu"}\n'));
    const { found, expected, remedy } = await rejectsWith("resume-other-run", () => run("elsewhere", CONFIG));
    assert.deepEqual([found, expected, /remove \S+elsewhere to measure anew/.test(remedy ?? "")], ["webgpu", "cpu", true]);
    writeFileSync(join(folder, "note.txt"), "mine");
    await assert.rejects(run(".", CONFIG), { code: "output-exists" });
  });

  it("notes trials that fail and goes on", async () => {
    // Fails, prints no number, hangs, or prints one, in turn.
    const script = join(folder, "score.mjs");
    writeFileSync(
      script,
      `import { appendFileSync, readFileSync } from "node:fs";
appendFileSync(${JSON.stringify(join(folder, "calls"))}, "x");
const call = readFileSync(${JSON.stringify(join(folder, "calls"))}).length;
if (call === 2) process.exit(3);
if (call === 3) console.log("NaN");
else if (call === 4) setTimeout(() => {}, 60000);
else console.log(call);
`,
    );
    const text = `
base: ${ZOO}/base
models: [${ZOO}/sort]
objectives:
  - { name: mine, command: ["${process.execPath}", "${script}", "{model}"], timeout: 2 }
  - { metric: bytes }
samples: 5
front: 1
baselines: false
`;
    const { front } = await run("failing", text);
    const errors = front.points.flatMap(({ error }) => error ?? []).map((error) => error.split(":")[0]);
    assert.deepEqual(errors.sort(), ["evaluator-failed", "evaluator-no-number", "evaluator-timeout"]);
    assert.ok(front.points.some(({ onFront }) => onFront));
    assert.deepEqual(
      front.objectives.map(({ direction }) => direction),
      ["maximize", "minimize"],
    );
  }).timeout(20_000);

  it("says why if nothing can be measured", async () => {
    const text = CONFIG.replace(/objectives:[\s\S]*samples/, `objectives:\n  - { name: own, command: "exit 3" }\nsamples`);
    const { notes = [], found } = await rejectsWith("search-nothing-measured", () => run("nothing", text));
    assert.match(notes.join(), /^evaluator-failed/);
    assert.match(found ?? "", /failed trials/);
  });

  it("writes the merge of the front that a preference asks for, whose measures are those reported", async () => {
    const out = join(folder, "merged");
    const { point } = await mergeAtPreference(join(folder, "whole"), "1,0", out, { threads: 1 });
    const best = Math.min(
      ...JSON.parse(frontText("whole"))
        .points.filter((p: { onFront: boolean }) => p.onFront)
        .map((p: { values: number[] }) => p.values[0]),
    );
    assert.equal(point.values[0], best);
    const evaluator = await openEvaluator([builtinMetric("loss", [data("sort")], { limit: 8 })], { threads: 1 });
    assert.deepEqual(await evaluator.model(out), { loss: best });
    await assert.rejects(mergeAtPreference(join(folder, "whole"), "1", join(folder, "no")), { code: "preference-invalid" });
    await assert.rejects(mergeAtPreference(join(folder, "whole"), "0,-1", join(folder, "no")), { code: "preference-invalid" });
  });

  for (const [code, from, to] of [
    ["config-unknown-key", "samples: 6", "sample: 6"],
    ["config-invalid-value", "samples: 6", "samples: many"],
    ["config-invalid-value", "front: 3", "method: mapp"],
    ["config-invalid-value", "front: 3", "method: nested_map"],
    ["config-invalid-value", "name: add", "name: sort"],
    ["metric-unknown", "metric: loss", "metric: los"],
    ["search-range", "dtype: bfloat16", "range: [1, 0]"],
    ["file-missing", "sort.validation", "gone.validation"],
    ["model-missing", "zoo/sort,", "zoo/gone,"],
  ] as const) {
    it(`refuses ${to} before anything is measured: ${code}`, async () => {
      await assert.rejects(
        async () => run("refused", CONFIG.replace(from, to)),
        (error: unknown) => error instanceof WeightsmithError && error.code === code,
      );
    });
  }
});
