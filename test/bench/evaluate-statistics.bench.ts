// What Fisher information and Gram matrices cost, as ratios to plain training steps (forward, backward, AdamW) and to forward passes on the same
// examples, by turns. Fisher information is to take at most 2.5 times a step, Grams 2.5 times a forward pass.
//   npm run bench -- evaluate-statistics
import * as tf from "@tensorflow/tfjs-core";
import { fisherDiagonal } from "../../merge-core/evaluate/statistics/fisher.ts";
import { gramMatrices } from "../../merge-core/evaluate/statistics/gram.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { padRows, type TokenRow } from "../../merge-core/nn/data.ts";
import { weightedLoss } from "../../merge-core/nn/llama.ts";
import { createDecoder, disposeDecoder } from "../../merge-core/nn/load.ts";
import { ropeTable } from "../../merge-core/nn/rope.ts";
import { stepGradients } from "../../merge-core/train/gradients.ts";
import { adamW, createAdamState, disposeAdamState, globalNorm } from "../../merge-core/train/optimizer.ts";
import { testRandom, tinyConfig, tinyTensors } from "../helpers/tiny-decoder.ts";
import { type Cost, measure, noCost, ratio } from "./files.ts";

const LIMIT = 2.5;
const REPEATS = 4;
const shape = (hidden: number, inner: number, layers: number, vocab: number) =>
  tinyConfig({
    hidden_size: hidden,
    intermediate_size: inner,
    num_hidden_layers: layers,
    num_attention_heads: 4,
    num_key_value_heads: 4,
    head_dim: hidden / 4,
    vocab_size: vocab,
  });
const CASES = [
  { name: "4.2M parameters, 8 x 128 tokens", config: shape(256, 688, 4, 2048), batch: 8, seq: 128 },
  { name: "0.6M parameters, 32 x 24 tokens", config: shape(128, 344, 3, 64), batch: 32, seq: 24 },
];

async function costs({ config, batch, seq }: (typeof CASES)[number]): Promise<Record<"step" | "forward" | "sampled" | "empirical" | "gram", Cost>> {
  const model = createDecoder(config, tinyTensors(config), "bench");
  const random = testRandom(5);
  const token = (): number => Math.floor(((random() + 1) / 2) * config.vocabSize);
  const rows = Array.from({ length: batch }, (): TokenRow => ({ tokens: Array.from({ length: seq + 1 }, token), lossFrom: 1 }));
  const table = ropeTable(config, seq);
  const adam = createAdamState(model.weights);
  const step = async () => {
    const { gradients } = stepGradients(model.weights, [rows], () => model, table);
    // The weights stay as they are: all that is measured looks at the same model.
    adamW(model.weights, gradients, adam, {
      lr: 0,
      betas: [0.9, 0.999],
      eps: 1e-8,
      weightDecay: 0,
      step: 1,
      gradientScale: Math.min(1, 1 / globalNorm(gradients)),
    });
    tf.dispose([...gradients.values()]);
  };
  const forward = async () => tf.tidy(() => weightedLoss(model, padRows(rows, 1), table).dataSync());
  const found = { step: noCost(), forward: noCost(), sampled: noCost(), empirical: noCost(), gram: noCost() };
  for (let i = 0; i < REPEATS; i++) {
    await measure(step, found.step);
    await measure(forward, found.forward);
    await measure(() => fisherDiagonal(model, rows, { mode: "sampled", batchSize: batch }), found.sampled);
    await measure(() => fisherDiagonal(model, rows, { mode: "empirical", batchSize: batch }), found.empirical);
    await measure(() => gramMatrices(model, rows, { batchSize: batch }), found.gram);
  }
  disposeAdamState(adam);
  disposeDecoder(model);
  return found;
}

await initBackend({});
console.log("| model | step | Fisher, sampled | Fisher, empirical | forward | Grams | Grams / step |\n|---|---|---|---|---|---|---|");
for (const test of CASES) {
  const { step, forward, sampled, empirical, gram } = await costs(test);
  const ratios = [ratio(sampled.cpuMs, step.cpuMs), ratio(empirical.cpuMs, step.cpuMs), ratio(gram.cpuMs, forward.cpuMs), ratio(gram.cpuMs, step.cpuMs)];
  const [ofSampled, ofEmpirical, ofGram, ofStep] = ratios;
  const cells = [`${step.cpuMs.toFixed(0)} ms`, `${ofSampled} x`, `${ofEmpirical} x`, `${forward.cpuMs.toFixed(0)} ms`, `${ofGram} x`, `${ofStep} x`];
  console.log(`| ${[test.name, ...cells].join(" | ")} |`);
  if (ratios.some((value) => value > LIMIT)) process.exitCode = 1;
}
process.exit();
