// weightsmith run as a user runs it: the sample notebooks, what goes wrong and where, and that nothing of others is replaced.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { PACKAGES_VARIABLE } from "../../merge-core/compute/providers/find-package.ts";
import type { CellResult, CompareOutput, EvalOutput, ParetoOutput } from "../../merge-core/notebook/cell-output.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { packageFolder, STAND_IN } from "../helpers/tfjs-packages.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));

function weightsmith(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], { encoding: "utf8" });
  return { status, out: stdout, err: stderr };
}

/** Runs it and gives the cells' results. */
function runJson(...args: string[]): readonly CellResult[] {
  const { status, out, err } = weightsmith("run", ...args, "--json");
  assert.equal(status, 0, out + err);
  return (JSON.parse(out) as { cells: readonly CellResult[] }).cells;
}

const outputOf = <T>(cells: readonly CellResult[], name: string): T => cells.find((cell) => cell.name === name)?.output as T;
const fence = (kind: string, body: string): string => `\`\`\`yaml ${kind}\n${body}\n\`\`\`\n`;
const model = (values: readonly number[]): string => writeModel([floatTensor("model.layers.0.mlp.up_proj.weight", [2, 2], values)]);
const [BASE, A, B] = [model([0, 0, 0, 0]), model([1, 2, 3, 4]), model([1, 2, 3, -4])];
const average = (first: string, second: string) =>
  `merge_method: linear\nmodels:\n  - { model: ${first}, parameters: { weight: 1 } }\n  - { model: ${second}, parameters: { weight: 1 } }`;

function notebook(...parts: string[]): { folder: string; file: string } {
  const folder = temporaryFolder();
  const file = join(folder, "notes.merge.md");
  writeFileSync(file, `# Notes\n\n${parts.join("\n")}`);
  return { folder, file };
}

describe("weightsmith run", function () {
  this.timeout(60_000);
  const zoo = join(temporaryFolder(), "zoo");
  before(() => cpSync("media/zoo", zoo, { recursive: true }));
  const sample = (name: string) => join(zoo, "notebooks", `${name}.merge.md`);

  it("runs the first sample: the merge does both tasks better than either expert does the other's", () => {
    const page = join(zoo, "first.html");
    const cells = runJson(sample("first-merge"), "-o", page);
    const { models } = outputOf<EvalOutput>(cells, "merged");
    const [sort = [], reverse = [], both = []] = models.map(({ values }) => values);
    assert.ok((both[0] ?? 0) > (reverse[0] ?? 1) + 0.2 && (both[1] ?? 0) > (sort[1] ?? 1) + 0.2, JSON.stringify(models));
    assert.equal(models[2]?.name, join("first-merge.out", "both"));
    const html = readFileSync(page, "utf8");
    assert.match(html, /default-src 'none'/);
    assert.doesNotMatch(html, /<(?:script|img|link)[^>]+(?:src|href)=/);
  });

  it("trains and measures on the device that is asked for, which it names once", () => {
    const packages = packageFolder("@tensorflow/tfjs-node", STAND_IN);
    const { folder, file } = notebook(
      fence("train tuned", "model: base\ndata: { train: data.jsonl }\nmethod: lora\nlora: { r: 2, target_modules: [q_proj] }\nsteps: 2\nbatch_size: 2"),
      fence("eval score", "model: base\ndata: data.jsonl\nmetrics: [loss]"),
    );
    writeTinyModel(join(folder, "base"));
    writeFileSync(join(folder, "data.jsonl"), '{"prompt": "ab", "completion": "c"}\n{"prompt": "b", "completion": "a"}\n');
    const env = { ...process.env, [PACKAGES_VARIABLE]: packages };
    const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, "run", file, "--device", "tfjs-node", "--threads", "1"], {
      encoding: "utf8",
      env,
    });
    assert.equal(status, 0, stdout + stderr);
    assert.equal(stderr.match(/device: tfjs-node/g)?.length, 1, stderr);
    assert.equal(JSON.parse(readFileSync(join(folder, "notes.out", "tuned", "training.json"), "utf8")).engine, "tfjs-node");
  });

  it("runs the sample on conflicts with the numbers of weightsmith compare", () => {
    const { comparison } = outputOf<CompareOutput>(runJson(sample("why-conflict")), "experts");
    const names = ["sort", "reverse", "shift", "add"].map((name) => join(zoo, name));
    const { out } = weightsmith("compare", "--base", join(zoo, "base"), ...names, "--json");
    const { total, layers } = JSON.parse(out) as CompareOutput["comparison"];
    assert.deepEqual([comparison.total, comparison.layers], [total, layers]);
    assert.deepEqual(comparison.models, ["../sort", "../reverse", "../shift", "../add"]);
  });

  it("runs the sample on trade-offs, and takes a search up where it is", () => {
    const { front } = outputOf<ParetoOutput>(runJson(sample("trade-off")), "front");
    assert.ok(front.points.filter(({ onFront }) => onFront).length >= 3);
    const written = JSON.parse(readFileSync(join(zoo, "notebooks", "trade-off.out", "front", "pareto.json"), "utf8"));
    assert.deepEqual(front, written);
    const again = outputOf<ParetoOutput>(runJson(sample("trade-off"), "--cell", "front"), "front");
    assert.deepEqual(again.front.points, front.points);
  });

  it("trains, and gives the log of every step", () => {
    const train = `model: ../base\ndata: { train: ../data/sort.validation.jsonl }\nmethod: lora\nlora: { r: 2, alpha: 4, target_modules: [q_proj] }\nsteps: 2\nbatch_size: 4`;
    const file = join(zoo, "notebooks", "own.merge.md");
    writeFileSync(file, fence("train tiny", train) + fence("eval e", "models: [../base]\ndata: ../data/sort.test.jsonl\nmetrics: loss\nlimit: 4"));
    const cells = runJson(file);
    const { steps, records } = outputOf<{ steps: number; records: readonly { step: number; loss: number }[] }>(cells, "tiny");
    assert.deepEqual([steps, records.map(({ step }) => step)], [2, [1, 2]]);
    assert.ok(existsSync(join(zoo, "notebooks", "own.out", "tiny", "adapter_config.json")));
  });

  it("names file and line of a problem, and stops there unless told to go on", () => {
    const { file, folder } = notebook(fence("merge bad", "merge_method: linaer\nmodels: []"), fence("compare", `models: [${A}, ${B}]`));
    const stopped = weightsmith("run", file);
    assert.equal(stopped.status, 1);
    assert.ok(stopped.err.includes(`${file}:4:15: `), stopped.err);
    const report = join(folder, "r.html");
    const going = weightsmith("run", file, "--keep-going", "-o", report);
    assert.equal(going.status, 1);
    assert.match(readFileSync(report, "utf8"), /"kind":"compare","comparison"/);
  });

  it("tells of references to cells that there are not, or that have not run", () => {
    const { file } = notebook(fence("compare", "models: [$later, $none]"), fence("merge later", average(A, B)), fence("compare", `models: [$later, ${A}]`));
    const { err } = weightsmith("run", file);
    assert.match(err, /notes\.merge\.md:4:10: no earlier cell makes this; found \$later/);
    assert.match(err, /notes\.merge\.md:4:18: no earlier cell makes this; found \$none/);
    const [cell] = runCell(file, "3");
    assert.match(JSON.stringify(cell?.output), /notebook-cell-not-run/);
  });

  /** An editor asks for one cell, whose problem is its output. */
  function runCell(file: string, cell: string): readonly CellResult[] {
    return (JSON.parse(weightsmith("run", file, "--cell", cell, "--json").out) as { cells: readonly CellResult[] }).cells;
  }

  it("replaces what a cell made, and nothing that it did not make", () => {
    const { file, folder } = notebook(fence("merge m", average(A, B)));
    const merged = join(folder, "notes.out", "m", "model.safetensors");
    runJson(file);
    const first = readFileSync(merged);
    writeFileSync(file, fence("merge m", average(A, BASE)));
    runJson(file);
    assert.notDeepEqual(readFileSync(merged), first);
    const other = notebook(fence("merge m", average(A, B)));
    mkdirSync(join(other.folder, "notes.out", "m"), { recursive: true });
    writeFileSync(join(other.folder, "notes.out", "m", "model.safetensors"), "precious");
    const { status, err } = weightsmith("run", other.file);
    assert.equal(status, 1);
    assert.match(err, /output-exists/);
    assert.equal(readFileSync(join(other.folder, "notes.out", "m", "model.safetensors"), "utf8"), "precious");
  });

  it("takes paths from the notebook's folder, wherever it is run, and unsaved text from another file", () => {
    const { file, folder } = notebook("");
    cpSync(A, join(folder, "here"), { recursive: true });
    const source = join(temporaryFolder(), "unsaved.md");
    writeFileSync(source, fence("compare c", `base: ${BASE}\nmodels: [./here]`));
    const cells = runJson(file, "--source", source);
    assert.deepEqual(outputOf<CompareOutput>(cells, "c").comparison.models, ["here"]);
  });

  it("refuses what is no notebook, no cell and no free place for the page", () => {
    const { file, folder } = notebook("```yaml merge\nx: 1");
    assert.match(weightsmith("run", file).err, /notebook-unclosed-cell\] .*notes\.merge\.md:3:1/);
    assert.match(weightsmith("run", join(folder, "none.merge.md")).err, /file-missing/);
    writeFileSync(file, fence("compare c", `models: [${A}, ${B}]`));
    assert.match(weightsmith("run", file, "--cell", "5").err, /expected 1 or c/);
    assert.match(weightsmith("run", file, "-o", file).err, /output-exists/);
  });

  it("stops within a second, tells progress as records, and leaves no folder under the final name", async () => {
    const file = join(zoo, "notebooks", "long.merge.md");
    const long = `model: ../base\ndata: { train: ../data/sort.validation.jsonl }\nmethod: full\nsteps: 5000\nbatch_size: 4`;
    writeFileSync(file, fence("train long", long));
    const child = spawn(process.execPath, [PROGRAM, "run", file, "--json", "--progress-json"]);
    let [out, err] = ["", ""];
    child.stdout.on("data", (chunk) => (out += String(chunk)));
    child.stderr.on("data", (chunk) => (err += String(chunk)));
    while (!err.includes('{"progress":{"stage":"train"')) await once(child.stderr, "data");
    child.kill("SIGINT");
    const started = performance.now();
    const [status] = await once(child, "close");
    assert.equal(status, 130);
    assert.match(out, /"code": "cancelled"/);
    assert.ok(performance.now() - started < 5000);
    assert.deepEqual(
      readdirSync(join(zoo, "notebooks", "long.out")).filter((name) => name === "long"),
      [],
    );
  });
});
