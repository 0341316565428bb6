// A file of several recipes through the program: plan, merge, verify.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));

function weightsmith(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], { encoding: "utf8" });
  return { status, out: stdout, err: stderr };
}

function workshop(last = "b"): { folder: string; recipe: string } {
  const folder = temporaryFolder();
  for (const name of ["a", "b"]) writeModel([floatTensor("w", [2], [1, 2])], { folder: join(folder, name), config: {} });
  const recipe = join(folder, "recipe.yml");
  const linear = (...models: string[]) => `merge_method: linear\nparameters: {weight: 1}\nmodels: [${models.map((model) => `{model: ${model}}`).join(", ")}]\n`;
  writeFileSync(recipe, `name: half\n${linear("a", "b")}---\n${linear("half", last)}`);
  return { folder, recipe };
}

describe("weightsmith with a file of several recipes", () => {
  it("plans, merges, verifies, and merges again into memory where it is given room for the results between", () => {
    const { folder, recipe } = workshop();
    const planned = weightsmith("plan", recipe, "--json");
    assert.equal(planned.status, 0, planned.err);
    assert.deepEqual(JSON.parse(planned.out).findings, []);
    assert.deepEqual(
      JSON.parse(planned.out).stages.map(({ name, plan }: { name?: string; plan: { method: string } }) => [name, plan.method]),
      [
        ["half", "linear"],
        [undefined, "linear"],
      ],
    );
    assert.match(weightsmith("plan", recipe).out, /^half: linear of 2 models[\s\S]*\n\noutput: linear of 2 models/);
    const out = join(folder, "out");
    const merged = weightsmith("merge", recipe, out, "--json");
    assert.equal(merged.status, 0, merged.err);
    assert.equal(JSON.parse(merged.out).out, out);
    assert.match(merged.err, /half:\n[\s\S]*output:\n/);
    assert.equal(weightsmith("verify", out).status, 0);
    const rebuilt = weightsmith("verify", out, "--rebuild");
    assert.equal(rebuilt.status, 2);
    assert.match(rebuilt.err, /error\[rebuild-stages\]/);
    const again = weightsmith("verify", out, "--rebuild", "--models", folder, "--stages", join(folder, "stages"), "--json", "--quiet");
    assert.equal(again.status, 0, again.err);
    assert.equal(JSON.parse(again.out).rebuiltTensors, 1);
    assert.deepEqual(readdirSync(folder).sort(), ["a", "b", "out", "recipe.yml", "stages"]);
  });

  it("keeps results where it is told to, and finds them again", () => {
    const { folder, recipe } = workshop();
    const stages = join(folder, "stages");
    assert.equal(weightsmith("merge", recipe, join(folder, "one"), "--stages", stages).status, 0);
    assert.equal(readdirSync(stages).length, 1);
    assert.match(weightsmith("merge", recipe, join(folder, "two"), "--stages", stages).err, /half: kept from an earlier run/);
  });

  it("finds what is wrong in the last recipe before it runs the first", () => {
    const { folder, recipe } = workshop("nothing");
    const { status, err } = weightsmith("merge", recipe, join(folder, "out"));
    assert.equal(status, 2);
    assert.match(err, /error\[model-missing\] .*recipe\.yml:8:33:/);
    assert.deepEqual(readdirSync(folder).sort(), ["a", "b", "recipe.yml"]);
  });
});
