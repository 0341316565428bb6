import assert from "node:assert/strict";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeAdapter } from "../../merge-core/adapters/describe-adapter.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors } from "../oracles/read-tensors.ts";

const ORACLES = "test/fixtures/oracles";

/** A stored adapter with another config, and tensors that `rename` lets through under their new names. */
async function changed(adapter: string, config: Readonly<Record<string, unknown>>, rename = (name: string): string | undefined => name): Promise<string> {
  const folder = join(temporaryFolder(), "adapter");
  cpSync(`${ORACLES}/${adapter}`, folder, { recursive: true });
  const file = join(folder, "adapter_config.json");
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...config }));
  const tensors = [...(await readTensors(join(folder, "adapter_model.safetensors")))].flatMap(([name, tensor]) => {
    const renamed = rename(name);
    return renamed === undefined ? [] : [{ name: renamed, ...tensor }];
  });
  writeFileSync(join(folder, "adapter_model.safetensors"), encodeSafetensors(tensors));
  return folder;
}

describe("describeAdapter", () => {
  it("tells ranks, targets, parameters, and each scale with where it comes from", async () => {
    const summary = await describeAdapter(`${ORACLES}/peft/patterns`, await openCheckpoint(`${ORACLES}/llama-tiny`));
    assert.deepEqual(summary.ranks, { 2: 2, 4: 3, 6: 1 });
    assert.deepEqual(summary.targets, { down_proj: 2, q_proj: 2, o_proj: 2 });
    assert.deepEqual(
      summary.scales.map(({ scale, from, modules }) => [scale, from, modules]).sort(),
      [
        [0.75, "alpha_pattern 3 / r 4", 1],
        [2, "lora_alpha 8 / r 4", 2],
        [4, "lora_alpha 8 / rank_pattern 2", 2],
        [8 / 6, "lora_alpha 8 / rank_pattern 6", 1],
      ].sort(),
    );
    // q_proj 16 + 16, o_proj 16 + 16, down_proj 40 + 16, each times its rank.
    assert.equal(summary.parameters, 32 * (4 + 6) + 32 * (4 + 4) + 56 * (2 + 2));
    assert.equal(summary.baseModel, `${ORACLES}/llama-tiny`);
    assert.deepEqual([summary.fits?.ok, summary.findings], [true, []]);
  });

  it("tells a scale of rank-stabilised LoRA", async () => {
    const { scales } = await describeAdapter(`${ORACLES}/peft/rslora`);
    assert.deepEqual(scales, [{ scale: 5 / Math.sqrt(3), from: "lora_alpha 5 / sqrt(r 3)", modules: 4 }]);
  });

  it("says that another base does not fit, and why", async () => {
    const { fits, findings } = await describeAdapter(`${ORACLES}/peft/lora`, await openCheckpoint(`${ORACLES}/gpt2-tiny`));
    assert.deepEqual([fits?.ok, findings[0]?.code], [false, "adapter-target-missing"]);
  });

  for (const [what, adapter, config, code] of [
    ["a rank that the tensors do not have", "peft/lora", { r: 8 }, "adapter-rank-mismatch"],
    ["a missing alpha", "peft/lora", { lora_alpha: undefined }, "adapter-alpha-missing"],
    ["a missing alpha of LoHa", "peft-families/loha", { alpha: undefined, alpha_pattern: {} }, "adapter-alpha-missing"],
    ["targets that match nothing", "peft/lora", { target_modules: ["q_proj", "qkv_proj"] }, "adapter-target-idle"],
  ] as const) {
    it(`finds ${what}`, async () => {
      const { findings } = await describeAdapter(await changed(adapter, config));
      assert.deepEqual(
        findings.map((finding) => finding.code),
        [code],
      );
    });
  }

  it("warns where the config names another base of the same shapes", async () => {
    const folder = await changed("peft/lora", { base_model_name_or_path: "someone/other-model" });
    const { findings, fits } = await describeAdapter(folder, await openCheckpoint(`${ORACLES}/llama-tiny`));
    assert.equal(fits?.ok, true);
    assert.deepEqual([findings.map(({ code }) => code), findings[0]?.found], [["adapter-base-other"], "someone/other-model"]);
    const elsewhere = await changed("peft/lora", { base_model_name_or_path: "someone/Llama-Tiny" });
    assert.deepEqual((await describeAdapter(elsewhere, await openCheckpoint(`${ORACLES}/llama-tiny`))).findings, []);
  });

  it("names a missing tensor when it is checked against a base", async () => {
    const folder = await changed("peft-families/loha", {}, (name) => (name.endsWith("layers.1.self_attn.q_proj.hada_w2_b") ? undefined : name));
    const { findings, fits } = await describeAdapter(folder, await openCheckpoint(`${ORACLES}/llama-tiny`));
    assert.equal(fits?.ok, false);
    assert.match(findings[0]?.message ?? "", /layers\.1\.self_attn\.q_proj lacks its hada_w2_b/);
  });

  it("says what PEFT's PSOFT needs beside its file", async () => {
    const folder = await changed("peft-families/psoft", {});
    const base = await openCheckpoint(`${ORACLES}/llama-tiny`);
    assert.equal((await describeAdapter(folder, base)).fits?.ok, true);
    rmSync(join(folder, "psoft_vectors.safetensors"));
    const { findings, fits } = await describeAdapter(folder, base);
    assert.deepEqual([fits?.ok, findings[0]?.code], [false, "adapter-incomplete"]);
    assert.match(findings[0]?.remedy ?? "", /psoft_vectors\.safetensors is not beside it/);
  });

  it("refuses a tensor under a name that its family does not have, with the nearest", async () => {
    const folder = await changed("peft-families/loha", {}, (name) => name.replace("hada_w2_b", "hada_w2b"));
    const { remedy, message } = await rejectsWith("adapter-tensor-unexpected", () => describeAdapter(folder));
    assert.match(message, /hada_w2b/);
    assert.equal(remedy, "did you mean hada_w2_b?");
  });

  it("refuses families that it does not know, and settings that mean something else", async () => {
    const refused = async (type: string) =>
      (await rejectsWith("adapter-type-unsupported", async () => describeAdapter(await changed("peft/lora", { peft_type: type })))).remedy ?? "";
    assert.match(await refused("XLORA"), /depends on the input/);
    assert.match(await refused("RANDLORA"), /save_as_lora/);
    assert.match(await refused("PREFIX_TUNING"), /prefix/);
    assert.equal(await refused("LOAH"), "did you mean LOHA?");
    await rejectsWith("adapter-type-unsupported", async () => describeAdapter(await changed("peft-families/loha", { layer_replication: [[0, 2]] })));
  });

  it("finds a setting of the wrong kind", async () => {
    const { findings } = await describeAdapter(await changed("peft-families/oft", { use_cayley_neumann: "yes" }));
    assert.deepEqual(
      findings.map((finding) => finding.code),
      ["adapter-config-invalid"],
    );
  });
});
