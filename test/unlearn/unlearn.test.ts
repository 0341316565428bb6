import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parse, stringify } from "yaml";
import { WeightsmithError } from "../../merge-core/diagnostics.ts";
import { builtinMetric, openEvaluator } from "../../merge-core/evaluate/evaluators.ts";
import { verifyOutput } from "../../merge-core/run/verify.ts";
import { chooseCandidate, keeps, keptShare, type UnlearnCandidate } from "../../merge-core/unlearn/choose.ts";
import { readUnlearnConfig } from "../../merge-core/unlearn/config.ts";
import { candidateLayers, scoreLayers, searchStep } from "../../merge-core/unlearn/slug.ts";
import { unlearn } from "../../merge-core/unlearn/unlearn.ts";

const ZOO = resolve("media/zoo");
const data = (task: string, split: string) => join(ZOO, "data", `${task}.${split}.jsonl`);

describe("choosing an edit", () => {
  const before = { forget: 0.9, retain: 0.8, control: 0.5 };
  const candidate = (label: string, forget: number, retain: number, control: number): UnlearnCandidate => {
    const metrics = { forget, retain, control };
    return { label, recipe: "", metrics, keeps: keeps(before, metrics, "maximize", 0.9) };
  };

  it("takes the one that forgets most of those that keep", () => {
    const list = [
      candidate("weak", 0.5, 0.8, 0.5),
      candidate("good", 0.1, 0.75, 0.46),
      candidate("broken", 0, 0.1, 0.5),
      candidate("control lost", 0, 0.8, 0.4),
    ];
    assert.equal(chooseCandidate(before, list, "maximize")?.label, "good");
    assert.deepEqual(
      list.map((c) => c.keeps),
      [true, true, false, false],
    );
  });

  it("takes the best balance where none keeps", () => {
    const list = [candidate("broken", 0, 0, 0), candidate("balanced", 0.2, 0.7, 0.4)];
    assert.equal(chooseCandidate(before, list, "maximize")?.label, "balanced");
  });

  it("reads losses the other way round", () => {
    assert.equal(keptShare(2, 4, "minimize"), 0.5);
    assert.equal(keptShare(4, 2, "maximize"), 0.5);
    assert.ok(!keeps({ forget: 1, retain: 1, control: 1 }, { forget: 9, retain: 1, control: 1.2 }, "minimize", 0.9));
  });
});

describe("SLUG", () => {
  it("scores tensors by gradient over weight and by alignment, biases and embeddings left out", () => {
    const weights = new Map([
      ["a.weight", [3, 4]],
      ["b.weight", [1, 0]],
      ["a.bias", [1]],
      ["model.embed_tokens.weight", [1]],
    ]);
    const forget = new Map([
      ["a.weight", [0, 10]],
      ["b.weight", [1, 1]],
      ["a.bias", [9]],
      ["model.embed_tokens.weight", [9]],
    ]);
    const keep = new Map([
      ["a.weight", [0, -2]],
      ["b.weight", [1, -1]],
      ["a.bias", [1]],
      ["model.embed_tokens.weight", [1]],
    ]);
    const [a, b, ...rest] = scoreLayers(weights, forget, keep);
    assert.deepEqual(rest, []);
    assert.deepEqual(a, { name: "a.weight", importance: 2, alignment: 1, unitStep: 0.5 });
    assert.ok(Math.abs((b?.importance ?? 0) - Math.SQRT2) < 1e-12 && b?.alignment === 0);
  });

  it("keeps the tensors that no other beats in both", () => {
    const score = (name: string, importance: number, alignment: number) => ({ name, importance, alignment, unitStep: 1 });
    const found = candidateLayers([score("a", 1, 0.1), score("b", 3, 0.5), score("beaten", 0.5, 0.2), score("c", 2, 0.5)]);
    assert.deepEqual(
      found.map(({ name }) => name),
      ["b", "a"],
    );
  });

  it("searches the smallest step that is large enough", async () => {
    const steps: number[] = [];
    await searchStep(10, 12, async (step) => {
      steps.push(step);
      return step >= 5.3;
    });
    assert.deepEqual(steps.slice(0, 6), [1, 2, 4, 8, 6, 5]);
    assert.ok(Math.abs((steps.at(-1) ?? 0) - 5.3) < 0.05);
  });
});

describe("weightsmith unlearn", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "weightsmith-unlearn-"));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const run = async (out: string, lines: string) => {
    const file = join(folder, `${out}.yml`);
    writeFileSync(file, lines);
    return unlearn(await readUnlearnConfig(file), join(folder, out), { threads: 1 });
  };
  const DATA = `
forget: { train: ${data("reverse", "validation")}, test: ${data("reverse", "test")} }
retain: { train: ${data("shift", "validation")}, test: ${data("shift", "test")} }
metric: loss
limit: 24
`;

  for (const method of ["ssd", "slug"] as const) {
    it(`${method} forgets, keeps the rest above the floor, and writes a checkpoint that verifies`, async () => {
      const settings = method === "slug" ? "target: 1\ntries: 5\nlayers: 4\n" : "strengths: [2, 5, 20]\n";
      const report = await run(method, `model: ${ZOO}/reverse\nmethod: ${method}\nfloor: 0.6\n${settings}${DATA}`);
      assert.ok(report.after.forget > report.before.forget + 0.05, `${report.before.forget} to ${report.after.forget}`);
      assert.ok(report.keeps);
      assert.deepEqual(report, JSON.parse(readFileSync(join(folder, method, "unlearn.json"), "utf8")));
      const evaluator = await openEvaluator([builtinMetric("loss", [data("reverse", "test")], { limit: 24 })], { threads: 1 });
      assert.equal((await evaluator.model(join(folder, method, "model"))).loss, report.after.forget);
      assert.ok((await verifyOutput(join(folder, method, "model"))).diagnostics.length === 0);
    });
  }

  for (const method of ["ssd", "slug"] as const) {
    it(`${method} that was stopped goes on and comes to the same end`, async () => {
      const more = method === "slug" ? "target: 4\ntries: 4\nlayers: 2\n" : "strengths: [1, 5, 20]\n";
      const text = `model: ${ZOO}/base\nmethod: ${method}\nfloor: 0.5${DATA}${more}`;
      const whole = await run(`${method}-whole`, text);
      const file = join(folder, `${method}-stopped.yml`);
      writeFileSync(file, text);
      const stop = new AbortController();
      const out = join(folder, `${method}-stopped`);
      const onProgress = ({ done }: { done: number }) => void (done === 2 && stop.abort());
      await assert.rejects(unlearn(await readUnlearnConfig(file), out, { threads: 1, signal: stop.signal, onProgress }));
      const lines = () => readFileSync(join(out, "trials.jsonl"), "utf8").split("\n").length;
      const before = lines();
      const again = await unlearn(await readUnlearnConfig(file), out, { threads: 1 });
      assert.deepEqual([again.candidates, again.chosen, again.after], [whole.candidates, whole.chosen, whole.after]);
      // What was measured before was not measured again: a line each for the model, and for every edit.
      assert.ok(before === 5 && lines() === again.candidates.length + 3, `${before}, ${lines()}`);
    });
  }

  it("slug steps to where the loss on what is to be forgotten rises", async () => {
    const report = await run("slug-step", `model: ${ZOO}/reverse\nmethod: slug\ntarget: 9\ntries: 1\nlayers: 1\n${DATA}`);
    const recipe = parse(report.recipe) as { models: { parameters: { weight: { filter?: string; value: number }[] } }[] };
    const edited = recipe.models[1]?.parameters.weight[0];
    const step = edited?.value ?? 0;
    assert.ok(report.chosen.startsWith(edited?.filter ?? "none"));
    const evaluator = await openEvaluator([builtinMetric("loss", [data("reverse", "validation")], { limit: 24 })], { threads: 1 });
    // So short a step that the gradient alone decides, and none, and one the other way.
    const lossAt = async (factor: number) => {
      if (edited !== undefined) edited.value = step * factor;
      return (await evaluator.recipe({ text: stringify({ ...recipe, dtype: "float32" }), file: join(folder, "slug-step.yml") })).loss ?? Number.NaN;
    };
    const [up = 0, here = 0, down = 0] = [await lossAt(0.01), await lossAt(0), await lossAt(-0.01)];
    assert.ok(up > here && here > down, `${up}, ${here}, ${down}`);
  });

  it("negate takes away what an expert has learnt", async () => {
    const report = await run("negate", `model: ${ZOO}/base\nexpert: ${ZOO}/reverse\nmethod: negate\nfloor: 0.8\nstrengths: [0.05, 0.1, 0.2]\n${DATA}`);
    assert.ok(report.after.forget > report.before.forget);
    // On weights the edit is model - lambda (expert - base); with model = base = theta and expert = theta the edit is nothing.
    assert.equal(report.sameSplit, false);
    const same = await run("nothing", `model: ${ZOO}/base\nexpert: ${ZOO}/base\nmethod: negate\nstrengths: [0.5]\n${DATA}`);
    assert.deepEqual(same.after, same.before);
    const shared = DATA.replace(/, test: \S+ }/g, " }");
    assert.ok((await run("shared", `model: ${ZOO}/base\nexpert: ${ZOO}/base\nmethod: negate\nstrengths: [0.5]\n${shared}`)).sameSplit);
  });

  for (const [code, lines] of [
    ["config-invalid-value", `model: ${ZOO}/base\nmethod: negate\n${DATA}`],
    ["config-invalid-value", `model: ${ZOO}/base\nmethod: slug\n${DATA}`],
    ["config-invalid-value", `model: ${ZOO}/base\n${DATA}`.replace("forget:", "control:")],
    ["config-unknown-key", `model: ${ZOO}/base\nalpha: 1\n${DATA}`],
    ["file-missing", `model: ${ZOO}/base\n${DATA}`.replaceAll("shift.validation", "gone")],
    ["file-missing", `model: ${ZOO}/base\n${DATA}`.replaceAll("shift.test", "gone")],
    ["model-missing", `model: ${ZOO}/gone\n${DATA}`],
  ] as const) {
    it(`refuses bad input: ${code}`, async () => {
      await assert.rejects(run("refused", lines), (error: unknown) => error instanceof WeightsmithError && error.code === code);
      assert.ok(!existsSync(join(folder, "refused")));
    });
  }
});
