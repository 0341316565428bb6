// Time of one training step (forward, backward, clipping norm, AdamW) against the time its matrix products alone would take
// at the rate that our GEMM reaches in the same run.
import { pathToFileURL } from "node:url";
import * as tf from "@tensorflow/tfjs-core";
import { gemm, matrix } from "../../merge-core/compute/gemm.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import type { DecoderConfig } from "../../merge-core/nn/config.ts";
import type { TokenRow } from "../../merge-core/nn/data.ts";
import { createDecoder, disposeDecoder } from "../../merge-core/nn/load.ts";
import { ropeTable } from "../../merge-core/nn/rope.ts";
import { requireBackend } from "../../merge-core/nn/storage.ts";
import { stepGradients } from "../../merge-core/train/gradients.ts";
import { adamW, createAdamState, disposeAdamState, globalNorm } from "../../merge-core/train/optimizer.ts";
import { testRandom, tinyConfig, tinyTensors } from "../helpers/tiny-decoder.ts";

interface Case {
  readonly name: string;
  readonly config: DecoderConfig;
  readonly batch: number;
  readonly seq: number;
}

const llama = (hidden: number, inner: number, layers: number, heads: number, vocab: number): DecoderConfig =>
  tinyConfig({
    hidden_size: hidden,
    intermediate_size: inner,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: heads,
    head_dim: hidden / heads,
    vocab_size: vocab,
    max_position_embeddings: 256,
    rope_theta: 10000,
  });

const CASES: readonly Case[] = [
  { name: "4.2M parameters, 8 x 128 tokens", config: llama(256, 688, 4, 4, 2048), batch: 8, seq: 128 },
  { name: "0.6M parameters, 64 x 24 tokens", config: llama(128, 344, 3, 4, 64), batch: 64, seq: 24 },
];
const STEPS = 6;

interface Measured {
  readonly name: string;
  readonly parameters: number;
  readonly stepMs: number;
  readonly gemmGflop: number;
  readonly gemmGflopPerSecond: number;
  /** Step time / time of its matrix products at the measured rate. */
  readonly ratio: number;
  readonly tokensPerSecond: number;
  readonly losses: readonly number[];
}

/** Multiplications and additions of all matrix products of one step: forward once, backward twice. Attention counted in full. */
function gemmFlop({ config: c, batch, seq }: Case): number {
  const attention = c.hiddenSize * (2 * c.heads + 2 * c.kvHeads) * c.headDim;
  const weights = c.layers * (attention + 3 * c.hiddenSize * c.intermediateSize) + c.hiddenSize * c.vocabSize;
  return 6 * batch * seq * weights + 3 * c.layers * batch * c.heads * 2 * (2 * seq * seq * c.headDim);
}

/** GFLOP/s of a square product on all threads, the best of a few. */
function gemmRate(n = 1024): number {
  const { pool } = requireBackend();
  const blocks = [0, 1, 2].map(() => pool.arena.alloc(n * n * 4));
  const [a = 0, b = 0, c = 0] = blocks;
  const times = Array.from({ length: 5 }, () => {
    const start = performance.now();
    gemm(pool, { rows: n, columns: n, depth: n, a: matrix(a, n, n), b: matrix(b, n, n), c: matrix(c, n, n) });
    return performance.now() - start;
  });
  for (const block of blocks) pool.arena.free(block);
  return (2 * n ** 3) / Math.min(...times) / 1e6;
}

function measure(test: Case): Measured {
  const { config, batch, seq } = test;
  const tensors = new Map([...tinyTensors(config)].map(([name, tensor]) => [name, /norm/.test(name) ? tensor : scaled(tensor, 0.1)]));
  const model = createDecoder(config, tensors, "bench");
  const random = testRandom(5);
  const row = (): TokenRow => ({ tokens: Array.from({ length: seq + 1 }, () => Math.floor(((random() + 1) / 2) * config.vocabSize)), lossFrom: 1 });
  const rows = Array.from({ length: batch }, row);
  const adam = createAdamState(model.weights);
  const table = ropeTable(config, seq);
  const losses: number[] = [];
  const times: number[] = [];
  for (let step = 1; step <= STEPS; step++) {
    const start = performance.now();
    const { loss, gradients } = stepGradients(model.weights, [rows], () => model, table);
    const gradientScale = Math.min(1, 1 / globalNorm(gradients));
    adamW(model.weights, gradients, adam, { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01, step, gradientScale });
    tf.dispose([...gradients.values()]);
    times.push(performance.now() - start);
    losses.push(loss);
  }
  const parameters = [...model.weights.values()].reduce((sum, tensor) => sum + tensor.size, 0);
  disposeAdamState(adam);
  disposeDecoder(model);
  const stepMs = Math.min(...times);
  const gemmGflopPerSecond = gemmRate();
  const gemmGflop = gemmFlop(test) / 1e9;
  const ratio = stepMs / ((1000 * gemmGflop) / gemmGflopPerSecond);
  return { name: test.name, parameters, stepMs, gemmGflop, gemmGflopPerSecond, ratio, tokensPerSecond: (1000 * batch * seq) / stepMs, losses };
}

function scaled<T extends { readonly data: Uint8Array }>(tensor: T, factor: number): T {
  const values = new Float32Array(tensor.data.slice().buffer).map((x) => x * factor);
  return { ...tensor, data: new Uint8Array(values.buffer) };
}

/** Steps of each case on `threads` threads (default: all cores). */
export async function trainBench(threads?: number): Promise<Measured[]> {
  await initBackend(threads === undefined ? {} : { threads });
  return CASES.map(measure);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const threads = process.argv[2] === undefined ? undefined : Number(process.argv[2]);
  const results = await trainBench(threads);
  console.log("| model | step ms | tokens/s | GEMM GFLOP | GFLOP/s | step / GEMM time | loss, first -> last |");
  console.log("| --- | --- | --- | --- | --- | --- | --- |");
  for (const r of results) {
    const numbers = [r.stepMs.toFixed(0), r.tokensPerSecond.toFixed(0), r.gemmGflop.toFixed(1), r.gemmGflopPerSecond.toFixed(0), r.ratio.toFixed(2)];
    console.log(`| ${[r.name, ...numbers, `${r.losses[0]?.toFixed(3)} -> ${r.losses.at(-1)?.toFixed(3)}`].join(" | ")} |`);
  }
}
