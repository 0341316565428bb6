// A program of its own, started with a driver's variables: losses of a few LoRA steps and logits on our engine and on WebGPU, then of a run
// whose device is destroyed on the way, and what becomes of a tensor that no buffer can hold. One line of JSON each.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import type { DeviceBackend } from "../../../merge-core/nn/device/backend.ts";
import { initEngine } from "../../../merge-core/nn/engine.ts";
import { forwardLogits } from "../../../merge-core/nn/llama.ts";
import { disposeDecoder } from "../../../merge-core/nn/load.ts";
import { loadModel } from "../../../merge-core/nn/model.ts";
import { TRAIN_DEFAULTS, type TrainConfig } from "../../../merge-core/train/config.ts";
import { train } from "../../../merge-core/train/train.ts";
import { temporaryFolder } from "../../helpers/folders.ts";
import { writeTinyModel } from "../../helpers/tiny-decoder.ts";

const folder = temporaryFolder();
const data = join(folder, "train.jsonl");
writeFileSync(data, ["ab", "cd", "ef", "ba"].map((prompt) => JSON.stringify({ prompt, completion: prompt[1] })).join("\n"));
const model = writeTinyModel(join(folder, "model"));
const config: TrainConfig = {
  ...TRAIN_DEFAULTS,
  ...{ model, data: { train: [data], validation: [] }, length: { steps: 3 }, batchSize: 2, dtype: "F32" },
  method: { kind: "lora", r: 2, alpha: 4, dropout: 0, targetModules: ["q_proj", "down_proj"] },
};
for (const device of [undefined, "webgpu"] as const) {
  const losses: number[] = [];
  await train(config, join(folder, device ?? "cpu"), { threads: 1, device, onProgress: ({ loss }) => losses.push(loss) });
  await initEngine({ device });
  const { decoder } = await loadModel(model);
  const logits = tf.tidy(() => [...forwardLogits(decoder, Int32Array.of(1, 3, 4, 5, 6, 7), 2).dataSync()]);
  disposeDecoder(decoder);
  console.log(JSON.stringify({ device: device ?? "cpu", losses, logits }));
}
const losses: number[] = [];
const warnings: string[] = [];
await train(config, join(folder, "destroyed"), {
  ...{ threads: 1, device: "webgpu" },
  onProgress({ step, loss }) {
    losses.push(loss);
    if (step === 1) (tf.findBackend("webgpu") as DeviceBackend).lose();
  },
  onWarning: ({ code, found }) => warnings.push(`${code}: ${found}`),
});
console.log(JSON.stringify({ losses, logits: [], warnings }));

await initEngine({ device: "webgpu" });
let refused = "";
try {
  // 8 GB; only one number of it is asked for.
  console.error(tf.slice1d(tf.fill([2 ** 31], 3), 0, 1).dataSync());
} catch (error) {
  refused = String(error);
}
console.log(JSON.stringify({ losses: [], logits: [], refused }));
process.exit(0);
