// A program of its own, started with a driver's variables: losses of a few LoRA steps and logits on our engine and on WebGPU, as JSON.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
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
process.exit(0);
