// The same tfjs computation on two backends, for comparing ours with the stock one.
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-core/dist/register_all_gradients.js";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { testRandom } from "./tiny-decoder.ts";

// Before first use: it silences the banner of the stock backend.
tf.enableProdMode();

/** Uniform float32 numbers in [-1, 1). */
export function randomTensor(shape: number[], seed: number): tf.Tensor {
  const random = testRandom(seed);
  return tf.tensor(
    Float32Array.from({ length: tf.util.sizeFromShape(shape) }, () => random()),
    shape,
  );
}

export interface Result {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly values: ArrayLike<number>;
}

/** Runs `compute` on the named backend; it makes its own inputs there. */
export async function onBackend(name: "cpu" | "weightsmith", compute: () => tf.Tensor | tf.Tensor[], threads = 1): Promise<Result[]> {
  if (name === "weightsmith") await initBackend({ threads });
  else await tf.setBackend("cpu");
  const tensors = tf.tidy(compute);
  const list = Array.isArray(tensors) ? tensors : [tensors];
  const results = list.map((tensor) => ({ shape: tensor.shape, dtype: tensor.dtype, values: tensor.dataSync() }));
  tf.dispose(list);
  return results;
}

/** @param tolerance largest difference, relative where the expected value exceeds 1. */
export function assertSame(actual: readonly Result[], expected: readonly Result[], tolerance: number, title: string): void {
  assert.equal(actual.length, expected.length, title);
  for (const [i, want] of expected.entries()) {
    const got = actual[i] as Result;
    assert.deepEqual([got.shape, got.dtype, got.values.length], [want.shape, want.dtype, want.values.length], `${title}, result ${i}`);
    for (let j = 0; j < want.values.length; j++) {
      const x = want.values[j] as number;
      const y = got.values[j] as number;
      const close = Object.is(x, y) || x === y || Math.abs(x - y) <= tolerance * Math.max(1, Math.abs(x));
      if (!close) assert.fail(`${title}, result ${i}: element ${j} of [${want.shape}] is ${y}, expected ${x}`);
    }
  }
}

/** The computation gives on our backend, with each number of threads, what it gives on tfjs's own. */
export async function matchesCpu(title: string, compute: () => tf.Tensor | tf.Tensor[], tolerance = 0, threads: readonly number[] = [1]): Promise<void> {
  const expected = await onBackend("cpu", compute);
  for (const count of threads) assertSame(await onBackend("weightsmith", compute, count), expected, tolerance, `${title}, ${count} threads`);
}
