import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as tf from "@tensorflow/tfjs-core";
import { openFile } from "../../merge-core/bytes/file-source.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { readHeader } from "../../merge-core/formats/safetensors.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { type DecoderConfig, parseDecoderConfig } from "../../merge-core/nn/config.ts";
import { forwardLogits, modulePath } from "../../merge-core/nn/llama.ts";
import { createDecoder, disposeDecoder, type TensorData } from "../../merge-core/nn/load.ts";
import { tinyConfig, tinyTensors } from "../helpers/tiny-decoder.ts";

const ORACLES = "test/fixtures/oracles";

describe("Llama forward pass", () => {
  before(() => initBackend({ threads: 1 }));

  for (const name of ["llama-tiny", "llama-tied", "llama3-rope-tiny", "mistral-tiny", "qwen2-tiny", "gpt2-tiny"]) {
    it(`gives the logits of transformers for ${name}`, async () => {
      const config = parseDecoderConfig(JSON.parse(readFileSync(`${ORACLES}/${name}/config.json`, "utf8")));
      const golden = JSON.parse(readFileSync(`${ORACLES}/${name}/logits.json`, "utf8")) as { input_ids: number[][]; logits: number[][][] };
      const logits = run(config, await readTensors(`${ORACLES}/${name}/model.safetensors`), golden.input_ids);
      assertClose(logits, golden.logits.flat(2), 2e-5);
    });
  }

  for (const changes of [{}, { tie_word_embeddings: true, num_key_value_heads: 1, attention_bias: true, mlp_bias: true }]) {
    it(`equals the formulas in float64 loops, ${JSON.stringify(changes)}`, () => {
      const config = tinyConfig(changes);
      const tensors = tinyTensors(config, 3);
      const ids = [1, 5, 9, 3, 3, 16, 0];
      assertClose(run(config, tensors, [ids]), referenceLogits(config, tensors, ids), 1e-5);
    });
  }

  it("keeps no tensor but the result", () => {
    const model = createDecoder(tinyConfig(), tinyTensors(tinyConfig()), "test");
    const before = tf.memory().numTensors;
    forwardLogits(model, Int32Array.of(1, 2, 3), 1).dispose();
    assert.equal(tf.memory().numTensors, before);
    disposeDecoder(model);
  });
});

function run(config: DecoderConfig, tensors: ReadonlyMap<string, TensorData>, ids: readonly (readonly number[])[]): Float32Array {
  const model = createDecoder(config, tensors, "test");
  const logits = forwardLogits(model, Int32Array.from(ids.flat()), ids.length);
  const data = logits.dataSync<"float32">().slice();
  logits.dispose();
  disposeDecoder(model);
  return data;
}

async function readTensors(file: string): Promise<Map<string, TensorData>> {
  const source = await openFile(file);
  const { tensors } = await readHeader(source);
  const entries = tensors.map(async ({ name, dtype, shape, begin, end }) => [name, { dtype, shape, data: await source.read(begin, end - begin) }] as const);
  const map = new Map(await Promise.all(entries));
  await source.close();
  return map;
}

function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  assert.equal(actual.length, expected.length);
  let worst = { difference: -1, index: 0 };
  for (let index = 0; index < expected.length; index++) {
    const difference = Math.abs((actual[index] ?? Number.NaN) - (expected[index] ?? Number.NaN));
    if (!(difference <= worst.difference)) worst = { difference, index };
  }
  assert.ok(worst.difference <= tolerance, `differs by ${worst.difference} at ${worst.index}: ${actual[worst.index]} and ${expected[worst.index]}`);
}

/** One sequence through the published formulas, a position at a time, in float64. Shares no code with the model. */
function referenceLogits(config: DecoderConfig, tensors: ReadonlyMap<string, TensorData>, ids: readonly number[]): number[] {
  const values = (name: string) => Array.from(widenToFloat32("F32", tensors.get(name)?.data ?? new Uint8Array()));
  const linear = (module: string, x: readonly number[]) => {
    const w = values(`${module}.weight`);
    const bias = values(`${module}.bias`);
    return Array.from({ length: w.length / x.length }, (_, o) => x.reduce((sum, xi, i) => sum + xi * (w[o * x.length + i] ?? 0), bias[o] ?? 0));
  };
  const norm = (name: string, x: readonly number[]) => {
    const rms = Math.sqrt(x.reduce((sum, xi) => sum + xi * xi, 0) / x.length + config.normEps);
    return values(name).map((g, i) => (g * (x[i] ?? 0)) / rms);
  };
  const rotate = (x: readonly number[], position: number) =>
    x.map((xi, i) => {
      const dim = i % config.headDim;
      const half = config.headDim / 2;
      const angle = position * config.ropeTheta ** (-(dim % half) / half);
      const partner = dim < half ? -(x[i + half] ?? 0) : (x[i - half] ?? 0);
      return xi * Math.cos(angle) + partner * Math.sin(angle);
    });
  const keys: number[][][] = Array.from({ length: config.layers }, () => []);
  const cached: number[][][] = Array.from({ length: config.layers }, () => []);
  return ids.flatMap((id, position) => {
    let x = values("model.embed_tokens.weight").slice(id * config.hiddenSize, (id + 1) * config.hiddenSize);
    for (let layer = 0; layer < config.layers; layer++) {
      const a = norm(`model.layers.${layer}.input_layernorm.weight`, x);
      const q = rotate(linear(modulePath(layer, "q_proj"), a), position);
      keys[layer]?.push(rotate(linear(modulePath(layer, "k_proj"), a), position));
      cached[layer]?.push(linear(modulePath(layer, "v_proj"), a));
      const mixed = q.map((_, i) => {
        const head = Math.floor(i / config.headDim);
        const shared = Math.floor(head / (config.heads / config.kvHeads)) * config.headDim;
        const exps = (keys[layer] ?? []).map((k) => {
          let dot = 0;
          for (let d = 0; d < config.headDim; d++) dot += (q[head * config.headDim + d] ?? 0) * (k[shared + d] ?? 0);
          return Math.exp(dot / Math.sqrt(config.headDim));
        });
        const total = exps.reduce((sum, e) => sum + e, 0);
        return exps.reduce((sum, e, t) => sum + (e / total) * (cached[layer]?.[t]?.[shared + (i % config.headDim)] ?? 0), 0);
      });
      x = linear(modulePath(layer, "o_proj"), mixed).map((o, i) => o + (x[i] ?? 0));
      const m = norm(`model.layers.${layer}.post_attention_layernorm.weight`, x);
      const up = linear(modulePath(layer, "up_proj"), m);
      const gated = linear(modulePath(layer, "gate_proj"), m).map((g, i) => (g / (1 + Math.exp(-g))) * (up[i] ?? 0));
      x = linear(modulePath(layer, "down_proj"), gated).map((o, i) => o + (x[i] ?? 0));
    }
    return linear(config.tiedHead ? "model.embed_tokens" : "lm_head", norm("model.norm.weight", x));
  });
}
