// A decoder -> a folder that transformers loads. Node only.
import { copyFile, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { narrowFromFloat32 } from "../formats/dtype-codecs.ts";
import { encodeSafetensors } from "../formats/safetensors-write.ts";
import { isTransposed } from "./gpt2.ts";
import type { Model } from "./model.ts";
import { liveValues } from "./storage.ts";

export type SavedDType = "F32" | "BF16" | "F16";

const TORCH_NAMES: Readonly<Record<SavedDType, string>> = { F32: "float32", BF16: "bfloat16", F16: "float16" };

/** Files that belong to a model's text side and go wherever its weights go. */
const SIDE_FILES = /^(tokenizer.*|special_tokens_map|added_tokens|vocab|merges|generation_config|chat_template)\.(json|txt|model|jinja)$/;

/** Writes weights in `dtype`, config.json true to them, and the side files of the folder the model came from. The caller makes the write atomic. */
export async function saveModel(model: Model, folder: string, dtype: SavedDType): Promise<void> {
  await mkdir(folder, { recursive: true });
  const tensors = [...model.decoder.weights].map(([name, weight]) => {
    const tensor = isTransposed(model.decoder.config, name) ? tf.transpose(weight) : weight;
    const stored = { name, dtype, shape: tensor.shape, data: narrowFromFloat32(dtype, liveValues(tensor)) };
    if (tensor !== weight) tensor.dispose();
    return stored;
  });
  await writeFile(join(folder, "model.safetensors"), encodeSafetensors(tensors));
  // transformers 5 reads dtype, earlier versions torch_dtype.
  const config = { ...model.configJson, dtype: TORCH_NAMES[dtype], torch_dtype: TORCH_NAMES[dtype] };
  await writeJson(join(folder, "config.json"), config);
  await copySideFiles(model, folder);
}

export async function writeJson(file: string, value: unknown): Promise<void> {
  await writeFile(file, `${JSON.stringify(value, undefined, 2)}\n`);
}

async function copySideFiles(model: Model, folder: string): Promise<void> {
  const names = await copyTextFiles(model.folder, folder);
  if (names.includes("generation_config.json")) return;
  const { bos_token_id, eos_token_id, pad_token_id } = model.configJson;
  await writeJson(join(folder, "generation_config.json"), { bos_token_id, do_sample: false, eos_token_id, pad_token_id });
}

/** Copies what belongs to a model's text side. Returns the names. */
export async function copyTextFiles(from: string, to: string): Promise<string[]> {
  const names = (await readdir(from)).filter((name) => SIDE_FILES.test(name));
  for (const name of names) await copyFile(join(from, name), join(to, name));
  return names;
}
