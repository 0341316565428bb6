// Adapters written by PEFT, folded here and there (peft_goldens.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { foldLora } from "../../merge-core/adapters/lora.ts";
import { readPeftLora, writePeftLora } from "../../merge-core/adapters/peft-lora.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors, valuesOf } from "./read-tensors.ts";

const ORACLES = "test/fixtures/oracles";
/** PEFT multiplies and adds in float32; here the product is float64 and the sum is rounded once. Weights are below 2. */
const FOLD_TOLERANCE = 5e-7;

const { bases } = JSON.parse(readFileSync(`${ORACLES}/peft/provenance.json`, "utf8")) as { bases: Record<string, string> };

describe("Adapters written by PEFT", () => {
  for (const name of ["lora", "rslora", "patterns", "layer-one"]) {
    it(`fold to the weights that PEFT merges: ${name}`, async () => {
      const folder = `${ORACLES}/peft/${name}`;
      const base = await readTensors(`${ORACLES}/${bases[name]}/model.safetensors`);
      const folded = foldLora(base, await readPeftLora(folder), folder);
      const golden = await readTensors(`${folder}/merged.safetensors`);
      const changed = [...folded].filter(([tensor, { data }]) => !Buffer.from(data).equals(base.get(tensor)?.data ?? Buffer.of()));
      assert.deepEqual(changed.map(([tensor]) => tensor).sort(), [...golden.keys()].sort());
      for (const [tensor, { shape }] of golden) {
        assert.deepEqual(folded.get(tensor)?.shape, shape);
        assert.ok(largestDifference(valuesOf(folded.get(tensor)), valuesOf(golden.get(tensor))) < FOLD_TOLERANCE, tensor);
      }
    });
  }

  it("come back the same after being written here", async () => {
    const adapter = await readPeftLora(`${ORACLES}/peft/lora`);
    const folder = temporaryFolder();
    await writePeftLora(adapter, folder);
    assert.deepEqual(await readPeftLora(folder), adapter);
    const [ours, theirs] = [await readTensors(`${folder}/adapter_model.safetensors`), await readTensors(`${ORACLES}/peft/lora/adapter_model.safetensors`)];
    assert.deepEqual(new Map([...ours].sort()), new Map([...theirs].sort()));
  });
});

function largestDifference(a: Float32Array, b: Float32Array): number {
  assert.equal(a.length, b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? Number.NaN))), 0);
}
