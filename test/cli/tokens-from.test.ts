// weightsmith merge --tokens-from: a merge with another model's tokenizer.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));
const [MODEL = "", DONOR = ""] = ["model", "donor"].map((name) => resolve("test/fixtures/oracles/tokens/models", name));

function weightsmith(...args: string[]): { status: number | null; err: string } {
  const { status, stderr } = spawnSync(process.execPath, [PROGRAM, ...args, "--quiet"], { encoding: "utf8" });
  return { status, err: stderr };
}

/** Half and half of a model and itself, which is the model. */
function workshop(): { folder: string; recipe: string } {
  const folder = temporaryFolder();
  const recipe = join(folder, "recipe.yml");
  writeFileSync(recipe, `merge_method: linear\nparameters: {weight: 0.5}\nmodels: [{model: ${MODEL}}, {model: ${MODEL}}]\n`);
  return { folder, recipe };
}

describe("weightsmith merge --tokens-from", () => {
  it("gives what weightsmith tokens makes of the merge, with the recipe beside it and nothing left over", () => {
    const { folder, recipe } = workshop();
    const [out, other] = [join(folder, "out"), join(folder, "other")];
    const merged = weightsmith("merge", recipe, out, "--tokens-from", DONOR);
    assert.equal(merged.status, 0, merged.err);
    assert.equal(weightsmith("tokens", MODEL, DONOR, other).status, 0);
    for (const name of ["model.safetensors", "tokenizer.json", "config.json"])
      assert.ok(readFileSync(join(out, name)).equals(readFileSync(join(other, name))), name);
    assert.equal(readFileSync(join(out, "mergekit_config.yml"), "utf8"), readFileSync(recipe, "utf8"));
    assert.deepEqual(readdirSync(folder).sort(), ["other", "out", "recipe.yml"]);
    assert.equal(weightsmith("verify", out).status, 0);
  });

  it("keeps the merge where it is told to, so that all of it can be made again", () => {
    const { folder, recipe } = workshop();
    const [out, stages] = [join(folder, "out"), join(folder, "stages")];
    assert.equal(weightsmith("merge", recipe, out, "--tokens-from", DONOR, "--stages", stages).status, 0);
    assert.deepEqual(readdirSync(stages), ["merged"]);
    const rebuilt = weightsmith("verify", out, "--rebuild");
    assert.equal(rebuilt.status, 0, rebuilt.err);
  });

  it("merges nothing where there is no tokenizer to take, no place for the result, or no name for the merge", () => {
    const { folder, recipe } = workshop();
    const bare = writeModel([floatTensor("model.embed_tokens.weight", [2, 2], [1, 2, 3, 4])], { folder: join(folder, "bare"), config: {} });
    const before = readdirSync(folder).sort();
    for (const [out, donor, code] of [
      ["out", bare, "tokenizer-missing"],
      ["bare", DONOR, "output-exists"],
      ["a+b", DONOR, "usage"],
    ] as const) {
      const { status, err } = weightsmith("merge", recipe, join(folder, out), "--tokens-from", donor);
      assert.equal(status, 2);
      assert.match(err, new RegExp(`error\\[${code}\\]`));
      assert.deepEqual(readdirSync(folder).sort(), before);
    }
  });
});
