import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { foldLora, type LoraAdapter, loraDelta } from "../../merge-core/adapters/lora.ts";
import { readPeftLora, writePeftLora } from "../../merge-core/adapters/peft-lora.ts";
import { narrowFromFloat32, widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";

const Q = "model.layers.0.self_attn.q_proj";
const V = "model.layers.0.self_attn.v_proj";

/** Rank one on q [3, 2] with scale 2, rank two on v [2, 2] with scale 0.25. */
const ADAPTER: LoraAdapter = {
  r: 1,
  alpha: 2,
  dropout: 0.1,
  targetModules: ["q_proj", "v_proj"],
  baseModel: "base",
  modules: new Map([
    [Q, { r: 1, inFeatures: 2, outFeatures: 3, a: Float32Array.of(1, -2), b: Float32Array.of(3, 0, 0.5), scale: 2 }],
    [V, { r: 2, inFeatures: 2, outFeatures: 2, a: Float32Array.of(1, 0, 0, 1), b: Float32Array.of(4, 8, 0, -4), scale: 0.25 }],
  ]),
};

const tensor = (dtype: "F32" | "BF16", shape: readonly number[], values: readonly number[]) => ({
  dtype,
  shape,
  data: narrowFromFloat32(dtype, Float32Array.from(values)),
});
const BASE = new Map([
  [`${Q}.weight`, tensor("F32", [3, 2], [1, 1, 1, 1, 1, 1])],
  [`${V}.weight`, tensor("BF16", [2, 2], [0, 0, 0, 0.5])],
  ["model.norm.weight", tensor("F32", [2], [1, 1])],
]);

describe("LoRA", () => {
  it("is s B A", () => assert.deepEqual([...loraDelta(ADAPTER.modules.get(Q) as never)], [6, -12, 0, 0, 1, -2]));

  it("folds into the weights it adapts and leaves the others", () => {
    const folded = foldLora(BASE, ADAPTER, "adapter");
    const values = (name: string) => [...widenToFloat32(folded.get(name)?.dtype ?? "F32", folded.get(name)?.data ?? new Uint8Array())];
    assert.deepEqual(values(`${Q}.weight`), [7, -11, 1, 1, 2, -1]);
    assert.deepEqual(values(`${V}.weight`), [1, 2, 0, -0.5]);
    assert.equal(folded.get("model.norm.weight"), BASE.get("model.norm.weight"));
  });

  it("refuses a base without its layers, or with layers of another shape", async () => {
    await rejectsWith("adapter-target-missing", () => foldLora(new Map(), ADAPTER, "adapter"));
    const other = new Map(BASE).set(`${V}.weight`, tensor("F32", [2, 3], [0, 0, 0, 0, 0, 0]));
    await rejectsWith("adapter-shape-mismatch", () => foldLora(other, ADAPTER, "adapter"));
  });
});

describe("PEFT LoRA files", () => {
  it("give back what was written, ranks and scales of single modules included", async () => {
    const folder = temporaryFolder();
    await writePeftLora(ADAPTER, folder);
    assert.deepEqual(await readPeftLora(folder), ADAPTER);
    const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
    assert.deepEqual(Object.keys(config), Object.keys(config).sort());
    assert.deepEqual([config.rank_pattern, config.alpha_pattern], [{ [V]: 2 }, { [V]: 0.5 }]);
  });

  for (const [what, change, code] of [
    ["another adapter type", { peft_type: "LOHA" }, "adapter-type-unsupported"],
    ["DoRA", { use_dora: true }, "adapter-type-unsupported"],
    ["an initialisation that changed the base", { init_lora_weights: "pissa_niter_4" }, "adapter-type-unsupported"],
    ["a rank that is not a number", { r: "8" }, "adapter-config-invalid"],
    ["a pattern that does not compile", { alpha_pattern: { "(": 1 } }, "adapter-config-invalid"],
  ] as const) {
    it(`refuse ${what}`, async () => {
      const folder = temporaryFolder();
      await writePeftLora(ADAPTER, folder);
      const file = join(folder, "adapter_config.json");
      writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...change }));
      await rejectsWith(code, () => readPeftLora(folder));
    });
  }

  for (const [what, names, code] of [
    ["a lonely factor", [`base_model.model.${Q}.lora_A.weight`], "adapter-incomplete"],
    ["factors of different rank", [`base_model.model.${Q}.lora_A.weight`, `base_model.model.${Q}.lora_B.weight`], "adapter-incomplete"],
    ["a tensor that is no factor", [`base_model.model.${Q}.lora_magnitude_vector`], "adapter-tensor-unexpected"],
  ] as const) {
    it(`refuse ${what}`, async () => {
      const folder = temporaryFolder();
      await writePeftLora(ADAPTER, folder);
      const tensors = names.map((name) => ({ name, ...tensor("F32", [1, 2], [1, 2]) }));
      writeFileSync(join(folder, "adapter_model.safetensors"), encodeSafetensors(tensors));
      await rejectsWith(code, () => readPeftLora(folder));
    });
  }

  it("refuse a folder without them", () => rejectsWith("file-missing", () => readPeftLora(temporaryFolder())));
});
