// Memory of a LoRA run on a base of bf16, kept as it is stored and held as float32: what the weights take, and the peak of the process.
//   npm run bench -- train-memory
import { spawnSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel } from "../../merge-core/nn/model.ts";
import { requireBackend } from "../../merge-core/nn/storage.ts";
import { TRAIN_DEFAULTS, type TrainConfig } from "../../merge-core/train/config.ts";
import { train } from "../../merge-core/train/train.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";

const SHAPE = { hidden_size: 1024, intermediate_size: 2816, num_hidden_layers: 8, num_attention_heads: 16, num_key_value_heads: 16, head_dim: 64 };
const MB = 1e6;

interface Measured {
  readonly weights: number;
  readonly peak: number;
  readonly loss: number;
}

/** In a process of its own: a peak never falls. */
async function measure(folder: string, baseDtype: "auto" | "float32"): Promise<Measured> {
  await initBackend({ threads: 2 });
  const model = await loadModel(join(folder, "model"), { frozen: baseDtype === "auto" });
  const weights = requireBackend().pool.arena.usedBytes;
  disposeDecoder(model.decoder);
  const config: TrainConfig = {
    ...TRAIN_DEFAULTS,
    model: join(folder, "model"),
    data: { train: [join(folder, "train.jsonl")], validation: [] },
    method: { kind: "lora", r: 8, alpha: 16, dropout: 0, targetModules: ["q_proj", "v_proj"] },
    length: { steps: 2 },
    batchSize: 4,
    ...(baseDtype === "float32" ? { baseDtype } : {}),
  };
  const { trainLoss: loss } = await train(config, join(folder, baseDtype), { threads: 2 });
  return { weights, peak: process.resourceUsage().maxRSS * 1024, loss };
}

if (process.argv[2] === "--measure") {
  console.log(JSON.stringify(await measure(process.argv[3] ?? "", process.argv[4] === "float32" ? "float32" : "auto")));
} else {
  const folder = temporaryFolder();
  writeTinyModel(join(folder, "model"), { ...SHAPE, initializer_range: 0.02 }, 1, "BF16");
  writeFileSync(join(folder, "train.jsonl"), [..."abcdefgh"].map((a) => JSON.stringify({ prompt: `${a}${a}`, completion: a })).join("\n"));
  console.log("LoRA beside 103M parameters stored as bf16\n| base_dtype | weights | peak of the process | loss after 2 steps |\n| --- | --- | --- | --- |");
  for (const dtype of ["float32", "auto"]) {
    const { stdout, stderr, status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), "--measure", folder, dtype], { encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
    const { weights, peak, loss } = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Measured;
    console.log(`| ${dtype} | ${(weights / MB).toFixed(0)} MB | ${(peak / MB).toFixed(0)} MB | ${loss} |`);
  }
  rmSync(folder, { recursive: true });
}
process.exit(0);
