// Task vectors taken away, and task vectors from another base: what recipes say for "forget A" and for "A is to B as C is to what".
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { parseRecipeFile } from "../../merge-core/recipe/stages.ts";
import { runStages } from "../../merge-core/run/stages.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { near } from "../helpers/near.ts";

const NAME = "model.layers.0.mlp.up_proj.weight";
const BASE = [1, 2, 3, 4];
const A = [1.5, 2, 2, 4];
const B = [1.5, 3, 2, 0];
const C = [2, 2, 3, 5];

/** Merges tiny models base, a, b and c by a recipe. */
async function merge(text: string): Promise<Float32Array> {
  const folder = temporaryFolder();
  for (const [name, values] of Object.entries({ base: BASE, a: A, b: B, c: C }))
    writeModel([floatTensor(NAME, [2, 2], values)], { folder: join(folder, name), config: {} });
  const file = join(folder, "recipe.yml");
  writeFileSync(file, text);
  const { stages, final, diagnostics } = parseRecipeFile(text, file);
  assert.ok(stages && final, JSON.stringify(diagnostics));
  const out = join(folder, "out");
  await runStages({ stages, final, open: modelOpener(file), options: {} }, text, { out, threads: 1 });
  const entry = (await openCheckpoint(out)).tensors.get(NAME);
  assert.ok(entry);
  return widenToFloat32("F32", readFileSync(entry.file).subarray(entry.offset, entry.offset + entry.byteLength));
}

const arithmetic = (weights: Record<string, number>, more = "") =>
  `merge_method: task_arithmetic\nbase_model: base\n${more}models:\n${Object.entries(weights)
    .map(([model, weight]) => `  - { model: ${model}, parameters: { weight: ${weight} } }\n`)
    .join("")}`;

describe("negation", () => {
  it("takes a task vector away by a negative weight", async () => {
    near(
      await merge(arithmetic({ a: -0.5 })),
      BASE.map((x, i) => x - 0.5 * ((A[i] ?? 0) - x)),
      0,
    );
  });

  it("twice gives the model back", async () => {
    const twice = `name: forgotten\n${arithmetic({ a: -1 })}---\n${arithmetic({ forgotten: -1 })}`;
    near(await merge(twice), A, 0);
  });

  it("by lambda takes all away, normalised or not", async () => {
    const away = BASE.map((x, i) => x - ((A[i] ?? 0) + (B[i] ?? 0) - 2 * x));
    near(await merge(arithmetic({ a: 1, b: 1 }, "parameters: { lambda: -1 }\n")), away, 0);
  });
});

describe("analogy: a is to b as c is to the result", () => {
  const expected = C.map((x, i) => x + (B[i] ?? 0) - (A[i] ?? 0));

  it("in one recipe, as task vectors of one base", async () => {
    near(await merge(arithmetic({ c: 1, b: 1, a: -1 })), expected, 0);
  });

  it("without a base, as a sum of models", async () => {
    const models = Object.entries({ c: 1, b: 1, a: -1 }).map(([model, weight]) => `  - { model: ${model}, parameters: { weight: ${weight} } }\n`);
    near(await merge(`merge_method: linear\nparameters: { normalize: false }\nmodels:\n${models.join("")}`), expected, 0);
  });

  it("with a as the base of b alone", async () => {
    near(
      await merge(
        "merge_method: task_arithmetic\nbase_model: a\nmodels:\n  - { model: b, parameters: { weight: 1 } }\n  - { model: c, parameters: { weight: 1 } }\n",
      ),
      expected,
      0,
    );
  });

  it("in two stages, where another method is to treat b - a as one vector", async () => {
    const moved = arithmetic({ b: 1, a: -1 });
    const ties =
      "merge_method: ties\nbase_model: base\nparameters: { density: 0.25 }\nmodels:\n  - { model: moved, parameters: { weight: 1 } }\n  - { model: c, parameters: { weight: 1 } }\n";
    // b - a is (0, 1, 0, -4), c - base (1, 0, 0, 1): of each the largest stays.
    near(await merge(`name: moved\n${moved}---\n${ties}`), [2, 2, 3, 0], 0);
  });
});
