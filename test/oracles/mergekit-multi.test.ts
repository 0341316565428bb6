// A file of several recipes, against what mergekit-multi made of it (mergekit_multi.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { parseStages } from "../../merge-core/recipe/stages.ts";
import { runStages } from "../../merge-core/run/stages.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors, valuesOf } from "./read-tensors.ts";

const FOLDER = "test/fixtures/oracles/mergekit-multi";
/** Three merges in float32 one after the other, of numbers up to 1; slerp's angle is float64 here and float32 there. */
const TOLERANCE = 5e-7;

describe("A file of several recipes, run by mergekit-multi", () => {
  it("gives the same tensors", async () => {
    const text = readFileSync(`${FOLDER}/recipe.yml`, "utf8");
    // Models are named relative to the folder of mergekit's other goldens.
    const place = "test/fixtures/oracles/mergekit/recipe.yml";
    const { stages, final, diagnostics } = parseStages(text, place);
    assert.ok(stages && final, JSON.stringify(diagnostics));
    const out = join(temporaryFolder(), "out");
    await runStages({ stages, final, open: modelOpener(place), options: {} }, text, { out, threads: 1 });
    const [ours, theirs] = [await readTensors(join(out, "model.safetensors")), await readTensors(`${FOLDER}/model.safetensors`)];
    assert.deepEqual([...ours.keys()].sort(), [...theirs.keys()].sort());
    let largest = 0;
    for (const [name, expected] of theirs) {
      assert.deepEqual(ours.get(name)?.shape, expected.shape);
      const [a, b] = [valuesOf(ours.get(name)), valuesOf(expected)];
      for (let i = 0; i < b.length; i++) largest = Math.max(largest, Math.abs((a[i] ?? Number.NaN) - (b[i] ?? 0)));
    }
    assert.ok(largest <= TOLERANCE, `${largest}`);
  });
});
