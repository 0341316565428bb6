// LoRA adapters as PEFT stores them: adapter_config.json and adapter_model.safetensors. Node only.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openFile } from "../bytes/file-source.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { inputError } from "../diagnostics.ts";
import { narrowFromFloat32, widenToFloat32 } from "../formats/dtype-codecs.ts";
import { isFloat } from "../formats/dtypes.ts";
import { encodeSafetensors } from "../formats/safetensors-write.ts";
import type { LoraAdapter, LoraFactors } from "./lora.ts";
import { CONFIG, loraScale, numberOf, readLoraConfig, TENSORS } from "./peft-config.ts";

const PREFIX = "base_model.model.";

/** Writes both files. The caller makes the write atomic. */
export async function writePeftLora(adapter: LoraAdapter, folder: string, dtype: "F32" | "BF16" | "F16" = "F32"): Promise<void> {
  await mkdir(folder, { recursive: true });
  const tensors = [...adapter.modules].flatMap(([module, { r, inFeatures, outFeatures, a, b }]) => [
    { name: `${PREFIX}${module}.lora_A.weight`, dtype, shape: [r, inFeatures], data: narrowFromFloat32(dtype, a) },
    { name: `${PREFIX}${module}.lora_B.weight`, dtype, shape: [outFeatures, r], data: narrowFromFloat32(dtype, b) },
  ]);
  tensors.sort((x, y) => (x.name < y.name ? -1 : 1));
  await writeFile(join(folder, TENSORS), encodeSafetensors(tensors));
  await writeFile(join(folder, CONFIG), `${JSON.stringify(configJson(adapter), undefined, 2)}\n`);
}

/** Keys in PEFT's alphabetical order, with everything that bears on the scale spelled out. */
function configJson(adapter: LoraAdapter): Record<string, unknown> {
  const modules = [...adapter.modules];
  const otherRank = modules.filter(([, { r }]) => r !== adapter.r);
  const otherScale = modules.filter(([, { r, scale }]) => scale !== adapter.alpha / r);
  return {
    alpha_pattern: Object.fromEntries(otherScale.map(([module, { r, scale }]) => [module, scale * r])),
    auto_mapping: null,
    base_model_name_or_path: adapter.baseModel ?? null,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: adapter.alpha,
    lora_dropout: adapter.dropout,
    modules_to_save: null,
    peft_type: "LORA",
    r: adapter.r,
    rank_pattern: Object.fromEntries(otherRank.map(([module, { r }]) => [module, r])),
    revision: null,
    target_modules: adapter.targetModules,
    task_type: "CAUSAL_LM",
    use_dora: false,
    use_rslora: false,
  };
}

/** @throws WeightsmithError `file-missing`, `adapter-config-invalid`, `adapter-type-unsupported`, `adapter-tensor-unexpected`, `adapter-incomplete` */
export async function readPeftLora(folder: string): Promise<LoraAdapter> {
  const file = join(folder, CONFIG);
  const config = await readLoraConfig(file);
  const targets = config.target_modules;
  return {
    r: numberOf(config, "r", 8, file),
    alpha: numberOf(config, "lora_alpha", 8, file),
    dropout: numberOf(config, "lora_dropout", 0, file),
    targetModules: typeof targets === "string" ? targets : Array.isArray(targets) ? targets.map(String) : [],
    baseModel: typeof config.base_model_name_or_path === "string" ? config.base_model_name_or_path : undefined,
    modules: await readFactors(join(folder, TENSORS), loraScale(config, file)),
  };
}

async function readFactors(file: string, scaleOf: (module: string, rank: number) => number): Promise<Map<string, LoraFactors>> {
  const checkpoint = await openCheckpoint(file);
  const source = await openFile(file);
  const sides = new Map<string, Partial<Record<"A" | "B", { shape: readonly number[]; values: Float32Array }>>>();
  try {
    for (const { name, dtype, shape, offset, byteLength } of checkpoint.tensors.values()) {
      const [, module, side] = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/.exec(name) ?? [];
      if (module === undefined || (side !== "A" && side !== "B") || !isFloat(dtype) || shape.length !== 2)
        throw inputError("adapter-tensor-unexpected", `tensor ${name} is not a LoRA factor of a linear layer`, {
          file,
          found: `${dtype} [${shape.join(", ")}]`,
        });
      sides.set(module, { ...sides.get(module), [side]: { shape, values: widenToFloat32(dtype, await source.read(offset, byteLength)) } });
    }
  } finally {
    await source.close();
  }
  return new Map([...sides].map(([module, { A, B }]) => [module, joinFactors(module, A, B, scaleOf, file)]));
}

function joinFactors(
  module: string,
  a: { shape: readonly number[]; values: Float32Array } | undefined,
  b: { shape: readonly number[]; values: Float32Array } | undefined,
  scaleOf: (module: string, rank: number) => number,
  file: string,
): LoraFactors {
  const [r = 0, inFeatures = 0] = a?.shape ?? [];
  const [outFeatures = 0, rank] = b?.shape ?? [];
  if (a === undefined || b === undefined || r !== rank) {
    throw inputError("adapter-incomplete", `the factors of ${module} do not belong together`, {
      file,
      found: `A ${a === undefined ? "missing" : `[${a.shape.join(", ")}]`}, B ${b === undefined ? "missing" : `[${b.shape.join(", ")}]`}`,
      expected: "A [r, in] and B [out, r]",
    });
  }
  return { r, inFeatures, outFeatures, a: a.values, b: b.values, scale: scaleOf(module, r) };
}
