// The public API as a program outside would use it, on the built library.
import assert from "node:assert/strict";
import { join } from "node:path";
import * as weightsmith from "../merge-core/index.ts";
import { temporaryFolder } from "./helpers/folders.ts";
import { floatTensor, writeModel } from "./helpers/models.ts";

describe("the public API", () => {
  it("merges two models from a recipe's text and reads the result back", async () => {
    const [a, b] = [1, 3].map((value) => writeModel([floatTensor("w", [2], [value, value])]));
    const text = `merge_method: linear\nmodels:\n  - { model: ${a}, parameters: { weight: 1 } }\n  - { model: ${b}, parameters: { weight: 1 } }\n`;
    const { recipe } = weightsmith.parseRecipe(text, "recipe.yml");
    assert.ok(recipe);
    const { plan } = await weightsmith.planMerge(recipe, weightsmith.modelOpener("recipe.yml"));
    assert.ok(plan);
    const { out } = await weightsmith.runMerge(plan, { out: join(temporaryFolder(), "out"), threads: 1 });
    const entry = (await weightsmith.openCheckpoint(out)).tensors.get("w");
    assert.ok(entry);
    const source = await weightsmith.openFile(entry.file);
    const values = weightsmith.widenToFloat32("F32", await source.read(entry.offset, entry.byteLength));
    await source.close();
    assert.deepEqual([...values], [2, 2]);
  });
});
