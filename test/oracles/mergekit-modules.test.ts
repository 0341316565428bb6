// Recipes by module, against what mergekit made of them (mergekit_modules.py) by its lists of T5's and Qwen2.5-VL's tensors. Here the names decide.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors, valuesOf } from "./read-tensors.ts";

const FOLDER = "test/fixtures/oracles/mergekit-modules";
/** Numbers up to 4, weighted and added once in float32; slerp's angle is float64 here and float32 there. */
const TOLERANCE = 2e-6;

const readConfig = (folder: string) => JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
const layersOf = (config: Record<string, Record<string, unknown>>) => [
  config.num_layers,
  config.num_decoder_layers,
  config.text_config?.num_hidden_layers,
  config.vision_config?.depth,
];

describe("Recipes by module, run by mergekit", () => {
  for (const name of ["t5", "t5-stacked-decoder", "t5-models", "vl", "vl-stacked-vision"])
    it(`${name}: same tensors and numbers of layers`, async () => {
      const file = `${FOLDER}/${name}.yml`;
      const { recipe, diagnostics } = parseRecipe(readFileSync(file, "utf8"), file);
      assert.ok(recipe, diagnostics.map(formatDiagnostic).join("\n"));
      const { plan, diagnostics: findings } = await planMerge(recipe, modelOpener(file));
      assert.ok(plan, findings.map(formatDiagnostic).join("\n"));
      assert.ok(findings.every(({ code }) => code !== "module-left-out"));
      const out = join(temporaryFolder(), "out");
      await runMerge(plan, { out, threads: 1 });
      const [ours, theirs] = [await readTensors(join(out, "model.safetensors")), await readTensors(`${FOLDER}/golden/${name}/model.safetensors`)];
      assert.deepEqual([...ours.keys()].sort(), [...theirs.keys()].sort());
      for (const [tensor, expected] of theirs) {
        const [a, b] = [valuesOf(ours.get(tensor)), valuesOf(expected)];
        assert.deepEqual(ours.get(tensor)?.shape, expected.shape);
        for (let i = 0; i < b.length; i++) assert.ok(Math.abs((a[i] ?? Number.NaN) - (b[i] ?? 0)) <= TOLERANCE, `${tensor}[${i}]: ${a[i]}, mergekit ${b[i]}`);
      }
      assert.deepEqual(layersOf(readConfig(out)), layersOf(readConfig(`${FOLDER}/golden/${name}`)));
    });
});
