// What another engine computed, compared with what ours gives.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runMerge } from "../../merge-core/run/execute.ts";
import { readManifest } from "../../merge-core/run/read-manifest.ts";
import { compareRebuilt } from "../../merge-core/run/rebuild.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { planByHand } from "../helpers/plans.ts";

const values = (seed: number) => Array.from({ length: 48 }, (_, i) => Math.sin(seed * 5 + i));

/** The codes of what differs after the last value of the merge was changed by a share of itself. */
async function codesAfter(method: string, change: number, otherEngine: string | undefined) {
  const models = [0, 1, 2].map((seed) => writeModel([floatTensor("w", [6, 8], values(seed), "F32")]));
  const modelParameters = models.map(() => ({ weight: 1 }));
  const plan = await planByHand({ method, models, baseFolder: models[0] as string, modelParameters, parameters: { alpha: 1, normalize: 1 } });
  const out = join(temporaryFolder(), "out");
  await runMerge(plan, { out, threads: 1 });
  const file = join(out, "model.safetensors");
  const bytes = readFileSync(file);
  bytes.writeFloatLE(bytes.readFloatLE(bytes.length - 4) * (1 + change), bytes.length - 4);
  writeFileSync(file, bytes);
  const found = await compareRebuilt(plan, out, await readManifest(out), { threads: 1, otherEngine });
  return found.map(({ code, severity }) => `${severity} ${code}`);
}

describe("what another engine computed", () => {
  it("is near for whole matrices, which is said, and equal where it is equal", async () => {
    assert.deepEqual(await codesAfter("iso_c", 1e-5, "webgpu a GPU"), ["warning rebuilt-near"]);
    assert.deepEqual(await codesAfter("iso_c", 0, "webgpu a GPU"), []);
  });

  it("is not near beyond the tolerance, nor at all for our own engine", async () => {
    assert.deepEqual(await codesAfter("iso_c", 0.5, "webgpu a GPU"), ["error rebuilt-tensor-differs"]);
    assert.deepEqual(await codesAfter("iso_c", 1e-5, undefined), ["error rebuilt-tensor-differs"]);
  });

  it("is equal for formulas element by element", async () => {
    assert.deepEqual(await codesAfter("linear", 1e-5, "webgpu a GPU"), ["error rebuilt-tensor-differs"]);
    assert.deepEqual(await codesAfter("linear", 0, "webgpu a GPU"), []);
  });
});
