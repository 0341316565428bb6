// The built program as a user runs it: exit status, stdout, stderr, and what is left on disk.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeHollowModel, writeModel } from "../helpers/models.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));

function weightsmith(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], { encoding: "utf8" });
  return { status, out: stdout, err: stderr };
}

const model = (values: readonly number[]): string => writeModel([floatTensor("model.layers.0.mlp.up_proj.weight", [2, 2], values)]);

function recipe(text: string): string {
  const file = join(temporaryFolder(), "recipe.yml");
  writeFileSync(file, text);
  return file;
}

const linear = (a: string, b: string, extra = ""): string =>
  recipe(`merge_method: linear\nmodels:\n  - model: ${a}\n    parameters: { weight: 1 }\n  - model: ${b}\n    parameters: { weight: 1 }\n${extra}`);

describe("weightsmith", () => {
  it("says what it can do, and its version", () => {
    const { status, out } = weightsmith("--help");
    assert.equal(status, 0);
    for (const name of ["merge", "plan", "methods", "inspect", "train", "eval", "doctor"]) assert.match(out, new RegExp(`^  ${name} `, "m"));
    assert.match(weightsmith("--version").out, /^\d+\.\d+\.\d+\n$/);
    assert.match(weightsmith("merge", "--help").out, /--memory SIZE/);
  });

  it("refuses unknown commands and options with status 2", () => {
    const command = weightsmith("merg");
    assert.equal(command.status, 2);
    assert.match(command.err, /unknown command; found merg; did you mean merge\?/);
    assert.equal(weightsmith("inspect", "--jsn", ".").status, 2);
  });

  it("merges, and inspects what it made, in text and in JSON", () => {
    const out = join(temporaryFolder(), "merged");
    const merged = weightsmith("merge", linear(model([1, 2, 3, 4]), model([3, 2, 1, 0])), out, "--json");
    assert.equal(merged.status, 0, merged.err);
    assert.equal(JSON.parse(merged.out).tensors, 1);
    const inspected = JSON.parse(weightsmith("inspect", out, "--json").out);
    assert.equal(inspected.parameters, 4);
    assert.match(weightsmith("inspect", out).out, /1 tensors, 4 parameters/);
  });

  it("plans: status 0 with all findings, costs and time, status 2 with every error; nothing is written", () => {
    const file = linear(model([1, 2, 3, 4]), model([3, 2, 1, 0]), "description: mine\n");
    const { status, out } = weightsmith("plan", file, "--json", "--threads", "2");
    const plan = JSON.parse(out);
    assert.equal(status, 0);
    assert.deepEqual(plan.findings.map(({ code }: { code: string }) => code).sort(), ["tensors-alone", "unknown-key"]);
    assert.deepEqual([plan.jobs[0].inputs[1].parameters, plan.bytesToRead], [{ weight: 1 }, 32]);
    assert.ok(plan.peakMemoryBytes > 0 && plan.diskBytes > 0 && plan.estimatedSeconds > 0);
    assert.equal(plan.estimatedFor.threads, 2);
    assert.match(weightsmith("plan", file).out, /takes about 1 s where the disk does .* in a second, on \d+ threads?/);
    const bad = weightsmith("plan", linear(model([1, 2, 3, 4]), "/no/such/model", "dtype: half\n"), "--json");
    assert.equal(bad.status, 2);
    assert.deepEqual(readdirSync(join(file, "..")), ["recipe.yml"]);
  });

  it("reads recipes in the encodings of Windows, and says of other bytes that they are no text", () => {
    const file = linear(model([1, 2, 3, 4]), model([3, 2, 1, 0]));
    const text = readFileSync(file, "utf8").replaceAll("\n", "\r\n");
    for (const bytes of [Buffer.from(`\ufeff${text}`), Buffer.from(`\ufeff${text}`, "utf16le"), Buffer.from(`\ufeff${text}`, "utf16le").swap16()]) {
      writeFileSync(file, bytes);
      assert.equal(weightsmith("plan", file).status, 0);
    }
    writeFileSync(file, Buffer.from([...Buffer.from(text), 0xff, 0xfe]));
    const { status, err } = weightsmith("plan", file);
    assert.equal(status, 2);
    assert.match(err, /^error\[recipe-encoding\] .*recipe\.yml: the recipe is not text; expected UTF-8/);
  });

  it("prints nothing on stdout under --json but one document, errors included", () => {
    const { status, out, err } = weightsmith("inspect", "/no/such/model", "--json");
    assert.equal(status, 2);
    assert.equal(JSON.parse(out).diagnostics[0].severity, "error");
    assert.match(err, /^error\[/);
  });

  it("lists methods with their parameters", () => {
    const list = JSON.parse(weightsmith("methods", "--json").out);
    const ties = list.find((m: { id: string }) => m.id === "ties");
    assert.ok(ties.parameters.some((p: { name: string }) => p.name === "density"));
    assert.equal(weightsmith("methods", "tise").status, 2);
  });
});

describe("bad input to weightsmith merge", () => {
  const a = model([1, 2, 3, 4]);
  const b = model([4, 3, 2, 1]);
  const taskArithmetic = (parameters: string): string =>
    recipe(`merge_method: ties\nbase_model: ${a}\nmodels:\n  - model: ${b}\n    parameters: { ${parameters} }\n`);
  const wide = writeModel([floatTensor("model.layers.0.mlp.up_proj.weight", [2, 3], [1, 2, 3, 4, 5, 6])]);

  const cases: readonly { name: string; recipe: string; code: RegExp; place?: string }[] = [
    { name: "unknown key", recipe: linear(a, b, "dtpye: float32\n"), code: /unknown-key/, place: ":7:1:" },
    {
      name: "unknown method",
      recipe: recipe(`merge_method: lienar\nmodels: [{ model: ${a}, parameters: { weight: 1 } }]\n`),
      code: /unknown-method/,
      place: ":1:15:",
    },
    { name: "missing model", recipe: linear(a, join(temporaryFolder(), "nothing-here")), code: /model-missing/, place: ":5:12:" },
    { name: "missing base", recipe: recipe(`merge_method: ties\nmodels:\n  - model: ${b}\n    parameters: { weight: 1 }\n`), code: /base/ },
    { name: "shapes that differ", recipe: linear(a, wide), code: /shape/ },
    { name: "unknown dtype", recipe: linear(a, b, "dtype: float31\n"), code: /dtype/, place: ":7:8:" },
    { name: "density below 0", recipe: taskArithmetic("weight: 1, density: -0.5"), code: /range/, place: ":5:39:" },
    { name: "density above 1", recipe: taskArithmetic("weight: 1, density: 1.5"), code: /range/, place: ":5:39:" },
    { name: "weight NaN", recipe: taskArithmetic("weight: .nan"), code: /parameter|number/, place: ":5:27:" },
    { name: "YAML syntax error", recipe: recipe("merge_method: [linear\n"), code: /yaml/ },
    { name: "missing recipe", recipe: "/no/such/recipe.yml", code: /missing/ },
  ];

  for (const { name, recipe: file, code, place } of cases) {
    it(`${name}: status 2, one diagnostic with its place, no output`, () => {
      const folder = temporaryFolder();
      const { status, out, err } = weightsmith("merge", file, join(folder, "out"));
      assert.equal(status, 2, err);
      assert.equal(out, "");
      const errors = err.split("\n").filter((line) => line.startsWith("error["));
      assert.equal(errors.length, 1, err);
      assert.match(errors[0] ?? "", new RegExp(`^error\\[[^\\]]*(${code.source})`));
      assert.ok(errors[0]?.includes(`${file}${place ?? ":"}`), errors[0]);
      assert.deepEqual(readdirSync(folder), []);
    });
  }

  it("output exists: status 2, and it is left alone; --overwrite replaces it", () => {
    const out = join(temporaryFolder(), "out");
    assert.equal(weightsmith("merge", linear(a, b), out).status, 0);
    const again = weightsmith("merge", linear(a, a), out);
    assert.equal(again.status, 2);
    assert.match(again.err, /error\[output-exists\].*--overwrite/);
    assert.equal(weightsmith("merge", linear(a, a), out, "--overwrite").status, 0);
  });

  it("not enough disk: status 2 before any output exists", () => {
    // Headers of a model far larger than any disk; its data is a hole in the file.
    const huge = writeHollowModel([{ name: "w", dtype: "F32", shape: [2 ** 20, 2 ** 21] }]);
    const folder = temporaryFolder();
    const { status, err } = weightsmith("merge", linear(huge, huge), join(folder, "out"));
    assert.equal(status, 2, err);
    assert.match(err, /error\[disk-space\]/);
    assert.equal(existsSync(join(folder, "out")), false);
  });

  it("a tensor with NaN is merged and named in the warnings", () => {
    const out = join(temporaryFolder(), "out");
    const { status, out: text, err } = weightsmith("merge", linear(a, model([Number.NaN, 1, 2, 3])), out, "--json");
    assert.equal(status, 0, err);
    const { warnings } = JSON.parse(text);
    assert.ok(
      warnings.some((w: { message: string }) => w.message.includes("model.layers.0.mlp.up_proj.weight")),
      text,
    );
    assert.match(err, /warning\[.*up_proj/);
  });
});
