import assert from "node:assert/strict";
import { appendFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { evaluateCheckpoint } from "../../merge-core/evaluate/evaluate.ts";
import { builtinMetric, evaluateRecipe, type MetricSpec, openEvaluator, readMetric } from "../../merge-core/evaluate/evaluators.ts";
import { mergeByRecipe } from "../../merge-core/evaluate/recipe-merge.ts";
import { loadModel } from "../../merge-core/nn/model.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";

describe("evaluators", () => {
  const folder = temporaryFolder();
  const data = join(folder, "data.jsonl");
  const recipe = {
    text: `merge_method: linear\nmodels:\n  - {model: a, parameters: {weight: 0.3}}\n  - {model: b, parameters: {weight: 0.7}}\ndtype: float32\n`,
    file: join(folder, "recipe.yml"),
  };
  before(() => {
    writeTinyModel(join(folder, "a"), {}, 1);
    writeTinyModel(join(folder, "b"), {}, 2);
    writeFileSync(data, '{"prompt":"ab","completion":"b"}\n{"prompt":"cd","completion":"dca"}\n');
  });

  const command = (script: string, timeoutSeconds = 30): MetricSpec => ({
    kind: "command",
    name: "own",
    direction: "max",
    command: [process.execPath, "-e", script, "{model}"],
    timeoutSeconds,
  });

  it("measures a merge in memory as it measures the merge on disk", async () => {
    const metrics = ["loss", "perplexity", "exact_match"].map((metric) => builtinMetric(metric, [data]));
    const tensors = tf.memory().numTensors;
    const scores = await evaluateRecipe(recipe, metrics, { threads: 1 });
    const out = join(folder, "merged");
    await mergeByRecipe(recipe, out);
    const onDisk = await evaluateCheckpoint(out, [data], { threads: 1 });
    assert.deepEqual(scores, { loss: onDisk.loss, perplexity: onDisk.perplexity, exact_match: onDisk.exactMatch });
    assert.deepEqual(await (await openEvaluator(metrics, { threads: 1 })).model(out), scores);
    assert.equal(tf.memory().numTensors, tensors);
  });

  it("gives other programs the merge as a folder that loads, and takes it away again", async () => {
    const script =
      "const fs=require('fs');console.log('log');fs.writeFileSync(process.env.NOTE,process.argv[1]);console.log(fs.readdirSync(process.argv[1]).length/8)";
    process.env.NOTE = join(folder, "note");
    const scores = await evaluateRecipe(recipe, [command(script)], { threads: 1 });
    const model = readFileSync(join(folder, "note"), "utf8");
    assert.ok(model.startsWith(tmpdir()));
    assert.ok((scores.own ?? 0) * 8 >= 4, `${scores.own}`);
    assert.equal(existsSync(model), false);
    const loaded = await (await openEvaluator([command("process.stdout.write(process.argv[1].length+'')")], { threads: 1 })).model(join(folder, "a"));
    assert.equal(loaded.own, join(folder, "a").length);
  });

  it("uses a shell for a line of text alone", async () => {
    const line: MetricSpec = { kind: "command", name: "own", direction: "max", command: "echo 6 && test -d {model} && expr 40 + 2", timeoutSeconds: 30 };
    assert.equal((await evaluateRecipe(recipe, [line], { threads: 1 })).own, 42);
    const words: MetricSpec = { ...line, command: ["echo", "6 && echo 42"] };
    await rejectsWith("evaluator-no-number", () => evaluateRecipe(recipe, [words], { threads: 1 }));
  });

  it("ends a program that hangs, with its children", async () => {
    const note = join(folder, "child");
    const beat = `setInterval(()=>require("fs").appendFileSync("${note}","x"),20)`;
    const script = `require('child_process').spawn(process.execPath,['-e',${JSON.stringify(beat)}],{stdio:'inherit'});setInterval(()=>{},1e3)`;
    const started = performance.now();
    const diagnostic = await rejectsWith("evaluator-timeout", () => evaluateRecipe(recipe, [command(script, 1)], { threads: 1 }));
    assert.match(diagnostic.found ?? "", /1 s/);
    assert.ok(performance.now() - started < 20_000);
    const beats = statSync(note).size;
    assert.ok(beats > 0);
    await new Promise((resume) => setTimeout(resume, 300));
    assert.equal(statSync(note).size, beats);
  });

  it("takes the status of a program for its number where that is what counts", async () => {
    const exit: MetricSpec = { kind: "command", name: "own", direction: "min", command: "echo 7; exit 3", timeoutSeconds: 9, value: "exit" };
    const measured = async (line: string) => (await evaluateRecipe(recipe, [{ ...exit, command: line }], { threads: 1 })).own;
    assert.deepEqual([await measured("echo 7; exit 3"), await measured("test -d {model}")], [3, 0]);
    for (const line of ["no-such-program", "kill -9 $$"]) await rejectsWith("evaluator-failed", () => measured(line));
    const read = (value: unknown) => readMetric({ command: "x", value }, (path) => path, "here");
    assert.equal((read("exit") as { value?: string }).value, "exit");
    assert.throws(() => read("status"), { code: "metric-invalid" });
    assert.throws(() => readMetric({ metric: "loss", data: "x", value: "exit" }, (path) => path, "here"), { code: "metric-invalid" });
  });

  it("takes a time limit of years for one", async () => {
    const patient: MetricSpec = { kind: "command", name: "own", direction: "max", command: "echo 42", timeoutSeconds: 1e8 };
    assert.equal((await evaluateRecipe(recipe, [patient], { threads: 1 })).own, 42);
  });

  it("says what a program did wrong", async () => {
    const failed = await rejectsWith("evaluator-failed", () =>
      evaluateRecipe(recipe, [command("console.error('no such task');process.exit(3)")], { threads: 1 }),
    );
    assert.equal(failed.found, "exit 3");
    assert.deepEqual(failed.notes, ["no such task"]);
    assert.equal((await rejectsWith("evaluator-no-number", () => evaluateRecipe(recipe, [command("console.log('NaN')")], { threads: 1 }))).found, "NaN");
    await rejectsWith("evaluator-no-number", () => evaluateRecipe(recipe, [command("")], { threads: 1 }));
    const missing: MetricSpec = { kind: "command", name: "own", direction: "max", command: ["no-such-program"], timeoutSeconds: 5 };
    await rejectsWith("evaluator-missing", () => evaluateRecipe(recipe, [missing], { threads: 1 }));
  });

  it("stops a program when cancelled, and leaves nothing in the temporary folder", async () => {
    const [own, usual] = [temporaryFolder(), process.env.TMPDIR];
    process.env.TMPDIR = own;
    try {
      const told = join(own, "told");
      const controller = new AbortController();
      const waiting = command(`require("node:fs").writeFileSync(${JSON.stringify(told)},"");setInterval(()=>{},1e3)`);
      const run = rejectsWith("cancelled", () => evaluateRecipe(recipe, [waiting], { threads: 1, signal: controller.signal }));
      for (let i = 0; i < 1000 && !existsSync(told); i++) await new Promise((resume) => setTimeout(resume, 10));
      assert.notDeepEqual(readdirSync(own), ["told"], "the model that the program is given is there");
      controller.abort();
      await run;
      assert.deepEqual(readdirSync(own), ["told"]);
    } finally {
      if (usual === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = usual;
    }
  });

  it("measures nothing twice: by weights, data and metric, also in a later run", async () => {
    const cacheFile = join(folder, "cache", "scores.jsonl");
    const count = join(folder, "count");
    const counting = command(`require('fs').appendFileSync('${count}','x');console.log(0.5)`);
    const options = { threads: 1, cacheFile };
    const metrics = [counting, builtinMetric("loss", [data])];
    const first = await evaluateRecipe(recipe, metrics, options);
    assert.deepEqual(await (await openEvaluator(metrics, options)).model(join(folder, "merged")), first, "the same weights on disk");
    assert.equal(readFileSync(count, "utf8"), "x");
    // A killed run may leave half a line.
    appendFileSync(cacheFile, '\n{"weights":"');
    await evaluateRecipe(recipe, metrics, options);
    assert.equal(readFileSync(count, "utf8"), "x");
    await (await openEvaluator(metrics, options)).model(join(folder, "a"));
    assert.equal(readFileSync(count, "utf8"), "xx");
    writeFileSync(data, '{"prompt":"ab","completion":"n"}\n');
    assert.notEqual((await evaluateRecipe(recipe, metrics, options)).loss, first.loss);
    assert.equal(readFileSync(count, "utf8"), "xx");
  });

  it("refuses data that gives no tokens and metrics that are no number", async () => {
    const long = join(folder, "long.jsonl");
    writeFileSync(long, `{"prompt":"${"a".repeat(80)}","completion":"b"}\n`);
    const diagnostic = await rejectsWith("metric-not-a-number", () => evaluateRecipe(recipe, [builtinMetric("loss", [long])], { threads: 1 }));
    assert.equal(diagnostic.file, long);
    await rejectsWith("file-missing", () => openEvaluator([builtinMetric("loss", [join(folder, "none.jsonl")])], { threads: 1 }));
  });

  it("reads metrics from a configuration", async () => {
    const read = (value: unknown) => readMetric(value, (path) => join("/data", path), "search.yml");
    assert.deepEqual(read({ metric: "exact_match", data: "v.jsonl", limit: 5, name: "v" }), {
      kind: "builtin",
      name: "v",
      metric: "exact_match",
      direction: "max",
      data: ["/data/v.jsonl"],
      limit: 5,
    });
    assert.equal(read({ metric: "loss", data: ["v.jsonl"] }).direction, "min");
    assert.equal(read({ metric: "loss", data: ["v.jsonl"], direction: "max" }).direction, "max");
    const harness = read({ harness: "arc_easy", args: ["--limit", "5"], timeout: 60 });
    assert.deepEqual(harness, {
      kind: "harness",
      name: "arc_easy",
      direction: "max",
      task: "arc_easy",
      measure: "acc,none",
      args: ["--limit", "5"],
      timeoutSeconds: 60,
    });
    assert.equal(read({ command: ["score", "{model}"], direction: "min" }).direction, "min");
    assert.match((await rejectsWith("metric-unknown", () => read({ metric: "exact_mach", data: "v.jsonl" }))).remedy ?? "", /exact_match/);
    await rejectsWith("data-missing", () => read({ metric: "loss" }));
    for (const wrong of ["loss", {}, { metric: "loss", data: 5 }, { metric: "loss", files: "v" }, { command: [], timeout: 1 }, { harness: "x", timeout: -1 }])
      await rejectsWith("metric-invalid", () => read(wrong));
  });

  it("loads in other programs: the temporary folder is a whole model", async () => {
    const copy = join(folder, "copy");
    const script = `require('fs').cpSync(process.argv[1],'${copy}',{recursive:true});console.log(1)`;
    await evaluateRecipe(recipe, [command(script)], { threads: 1 });
    const model = await loadModel(copy);
    assert.ok(model.codec.encodeMore("abc").length === 3);
    tf.dispose([...model.decoder.weights.values()]);
  });
});
