// Weights kept in 16 bits beside the same numbers in float32: every kernel gives the same bits.
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { matrix } from "../../merge-core/compute/gemm.ts";
import { narrowFromFloat32, widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { multiplyWeight } from "../../merge-core/nn/kernels/weight-product.ts";
import { forwardLogits } from "../../merge-core/nn/llama.ts";
import { createDecoder, disposeDecoder, type TensorData } from "../../merge-core/nn/load.ts";
import { embed, loraLinear } from "../../merge-core/nn/ops.ts";
import { requireBackend } from "../../merge-core/nn/storage.ts";
import { randomTensor } from "../helpers/backends.ts";
import { TINY_GPT2, testRandom, tinyConfig, tinyTensors } from "../helpers/tiny-decoder.ts";

function codesOf(dtype: "BF16" | "F16", size: number, seed: number): Uint8Array {
  const random = testRandom(seed);
  return narrowFromFloat32(
    dtype,
    Float32Array.from({ length: size }, () => random()),
  );
}

/** The same matrix both ways. */
function pair(shape: [number, number], seed: number, dtype: "BF16" | "F16" = "BF16"): [frozen: tf.Tensor2D, wide: tf.Tensor2D] {
  const codes = codesOf(dtype, shape[0] * shape[1], seed);
  return [requireBackend().frozen(codes, shape, dtype) as tf.Tensor2D, tf.tensor2d(widenToFloat32(dtype, codes), shape)];
}

describe("frozen weights in 16 bits", () => {
  for (const threads of [1, 2])
    it(`multiply, and give gradients, with the bits of float32, on ${threads} threads`, async () => {
      await initBackend({ threads });
      for (const dtype of ["BF16", "F16"] as const) {
        const [frozen, wide] = pair([67, 130], 1, dtype);
        const results = [frozen, wide].map((weight) =>
          tf.tidy(() => {
            const [x, a, b] = [randomTensor([300, 130], 2), randomTensor([3, 130], 3), randomTensor([67, 3], 4)] as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D];
            const through = (...[input]: tf.Tensor[]) => tf.sum(tf.square(tf.matMul(input as tf.Tensor2D, weight, false, true))) as tf.Scalar;
            const lora = (...all: tf.Tensor[]) => {
              const [input, low, high] = all as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D];
              return tf.sum(tf.square(loraLinear(input, weight, low, high, 0.5))) as tf.Scalar;
            };
            const tensors = [
              ...[tf.matMul(x, weight, false, true), tf.matMul(x, weight, false, true), tf.grad(through)(x)],
              ...[...tf.grads(lora)([x, a, b]), embed(weight, Int32Array.of(5, 66, 0, 5)), tf.add(weight, 1), tf.transpose(weight)],
            ];
            return tensors.map((tensor) => [...tensor.dataSync()]);
          }),
        );
        assert.deepEqual(results[0], results[1]);
        assert.deepEqual(frozen.dataSync(), wide.dataSync());
        tf.dispose([frozen, wide]);
      }
    });

  it("are widened block by block where they are large, to the same bits", async () => {
    await initBackend({ threads: 2 });
    const backend = requireBackend();
    const [frozen, wide] = pair([700, 40], 1);
    const [x, dy] = [randomTensor([50, 40], 2), randomTensor([50, 700], 3)] as [tf.Tensor2D, tf.Tensor2D];
    const product = (weight: tf.Tensor, transposed: boolean) => {
      const [input, columns] = transposed ? [x, 700] : [dy, 40];
      const to = backend.pool.arena.alloc(50 * columns * 4);
      const view = matrix(backend.address(input), 50, input.shape[1]);
      multiplyWeight(backend, { rows: 50, x: view, weight, transposed, to }, 300 * 40);
      const values = new Float32Array(backend.pool.memory.buffer, to, 50 * columns).slice();
      backend.pool.arena.free(to);
      backend.afterKernel();
      return values;
    };
    for (const transposed of [true, false]) assert.deepEqual(product(frozen, transposed), product(wide, transposed));
    tf.dispose([frozen, wide, x, dy]);
  });

  it("take half the memory, and leave nothing widened behind", async () => {
    await initBackend({ threads: 1 });
    const { arena } = requireBackend().pool;
    const before = arena.usedBytes;
    const frozen = requireBackend().frozen(codesOf("BF16", 64 * 64, 1), [64, 64], "BF16") as tf.Tensor2D;
    assert.equal(arena.usedBytes - before, 64 * 64 * 2);
    tf.dispose(tf.tidy(() => tf.matMul(frozen, tf.add(frozen, 1))));
    assert.equal(arena.usedBytes - before, 64 * 64 * 2);
    frozen.dispose();
    assert.equal(arena.usedBytes, before);
  });

  it("move to another backend as the numbers they are", async () => {
    await initBackend({ threads: 1 });
    const [frozen, wide] = pair([9, 7], 1);
    await initBackend({ threads: 2 });
    assert.deepEqual(tf.add(frozen, 1).dataSync(), tf.add(wide, 1).dataSync());
    tf.dispose([frozen, wide]);
  });

  for (const [name, changes] of [
    ["Llama", { tie_word_embeddings: true }],
    ["GPT-2", TINY_GPT2],
  ] as const)
    it(`give a decoder the same scores: ${name}`, async () => {
      await initBackend({ threads: 1 });
      const config = tinyConfig(changes);
      const half = new Map(
        [...tinyTensors(config)].map(([key, { shape, data }]): [string, TensorData] => [
          key,
          { dtype: "BF16", shape, data: narrowFromFloat32("BF16", widenToFloat32("F32", data)) },
        ]),
      );
      const { arena } = requireBackend().pool;
      const before = arena.usedBytes;
      const [bytes, scores] = [true, false].map((frozen) => {
        const model = createDecoder(config, half, "test", { frozen });
        const bytes = arena.usedBytes - before;
        const logits = forwardLogits(model, Int32Array.of(3, 1, 4, 1, 5, 9, 2, 6), 2);
        const values = logits.dataSync();
        tf.dispose(logits);
        disposeDecoder(model);
        return { bytes, values };
      }) as [{ bytes: number; values: unknown }, { bytes: number; values: unknown }];
      assert.ok(bytes.bytes < 0.8 * scores.bytes, `${bytes.bytes} of ${scores.bytes}`);
      assert.deepEqual(bytes.values, scores.values);
    });
});
