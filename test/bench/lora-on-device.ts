// Seconds of a LoRA step of a Llama with 110M parameters on each device that is here, and by torch on the same GPU, with PEFT where it is.
import * as tf from "@tensorflow/tfjs-core";
import { NOT_INSTALLED } from "../../merge-core/compute/providers/find-package.ts";
import { TFJS_DEVICES, type TfjsDevice } from "../../merge-core/compute/providers/load-tfjs.ts";
import { parseDecoderConfig } from "../../merge-core/nn/config.ts";
import type { TokenRow } from "../../merge-core/nn/data.ts";
import { initDevice } from "../../merge-core/nn/device/backend.ts";
import { PROJECTIONS } from "../../merge-core/nn/llama.ts";
import { createDecoder } from "../../merge-core/nn/load.ts";
import { ropeTable } from "../../merge-core/nn/rope.ts";
import { adapterTrainable } from "../../merge-core/train/adapter-trainable.ts";
import { TRAIN_DEFAULTS } from "../../merge-core/train/config.ts";
import { stepGradients } from "../../merge-core/train/gradients.ts";
import { makeOptimizer } from "../../merge-core/train/make-optimizer.ts";
import { defaultSettings } from "../../merge-core/train/make-trainable.ts";
import { globalNorm } from "../../merge-core/train/optimizer.ts";
import { testRandom, tinyConfigJson, tinyTensors } from "../helpers/tiny-decoder.ts";
import { findTorch, runPeer } from "./peers/torch.ts";

/** `BENCH_LAYERS`, `BENCH_HIDDEN`, `BENCH_BATCH` and `BENCH_TOKENS` make less of it, for machines that only imitate a GPU. */
const LAYERS = Number(process.env.BENCH_LAYERS ?? 12);
const WIDTHS = {
  hidden_size: Number(process.env.BENCH_HIDDEN ?? 768),
  intermediate_size: 2048,
  num_attention_heads: 12,
  num_key_value_heads: 12,
  head_dim: 64,
};
const CONFIG = tinyConfigJson({ ...WIDTHS, num_hidden_layers: LAYERS, vocab_size: 32000, max_position_embeddings: 512, tie_word_embeddings: true });
const [BATCH, SEQ, RANK, STEPS] = [Number(process.env.BENCH_BATCH ?? 8), Number(process.env.BENCH_TOKENS ?? 256), 8, 5];

async function ours(device: TfjsDevice): Promise<{ name: string; seconds: number }> {
  const { name } = await initDevice(device);
  const config = parseDecoderConfig(CONFIG);
  const model = createDecoder(config, tinyTensors(config), "bench");
  const random = testRandom(5);
  const row = (): TokenRow => ({ tokens: Array.from({ length: SEQ + 1 }, () => Math.floor(((random() + 1) / 2) * config.vocabSize)), lossFrom: 1 });
  const rows = Array.from({ length: BATCH }, row);
  const method = { family: "LORA", targetModules: PROJECTIONS, dropout: 0, settings: { ...defaultSettings("LORA"), r: RANK, lora_alpha: 2 * RANK } };
  const trainable = await adapterTrainable(model, method, { ...TRAIN_DEFAULTS, model: "", data: { train: [""], validation: [] } });
  const optimizer = makeOptimizer(trainable.parameters, TRAIN_DEFAULTS.optimizer, 0);
  const table = ropeTable(config, SEQ);
  let seconds = Number.POSITIVE_INFINITY;
  for (let step = 1; step <= STEPS; step++) {
    const start = performance.now();
    const { gradients } = stepGradients(trainable.parameters, [rows], () => trainable.pass(rows, { name: String(step), progress: 0 }), table);
    optimizer.step(gradients, { lr: 1e-3, step, gradientScale: Math.min(1, 1 / globalNorm(gradients)), rateOf: () => 1 });
    tf.dispose([...gradients.values()]);
    if (step > 1) seconds = Math.min(seconds, (performance.now() - start) / 1000);
  }
  optimizer.dispose();
  trainable.dispose();
  return { name, seconds };
}

interface Peer {
  readonly seconds: number;
  /** With or without PEFT. */
  readonly peer: string;
}

function torchSeconds(): Peer | Error {
  const torch = findTorch();
  if (typeof torch === "string") return new Error(torch);
  const settings = { threads: 8, batch: BATCH, seq: SEQ, steps: 4 * STEPS, r: RANK, targets: PROJECTIONS, device: torch.device };
  try {
    const [found] = runPeer<Peer>(torch.python, ["test/bench/peers/lora_step.py", JSON.stringify(CONFIG), JSON.stringify(settings)]);
    return found ?? new Error("it said nothing");
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Says a table. @returns whether a device that is installed did not fail */
export async function benchLora(say: (line: string) => void): Promise<boolean> {
  const torch = torchSeconds();
  const [peer, seconds] = torch instanceof Error ? ["torch", `not measured, ${torch.message}`] : [torch.peer, torch.seconds.toFixed(3)];
  say(`\nLoRA of rank ${RANK} on all projections, ${LAYERS} layers of ${WIDTHS.hidden_size}, ${BATCH} x ${SEQ} tokens\n`);
  say(`| device | seconds per step | times ${peer} |\n|---|---|---|\n| ${peer} | ${seconds} | |`);
  let worked = true;
  for (const device of TFJS_DEVICES) {
    const found = await ours(device).catch((error: Error) => error);
    if (!(found instanceof Error))
      say(`| ${found.name} | ${found.seconds.toFixed(3)} | ${torch instanceof Error ? "not measured" : (torch.seconds / found.seconds).toFixed(2)} |`);
    else if (found.message.endsWith(NOT_INSTALLED)) say(`| ${device} | not installed | |`);
    else {
      worked = false;
      say(`| ${device} | failed: ${found.message} | |`);
    }
  }
  return worked;
}
