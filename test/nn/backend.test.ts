import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { createPool } from "../../merge-core/compute/pool.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { padRows, type TokenRow } from "../../merge-core/nn/data.ts";
import { weightedLoss } from "../../merge-core/nn/llama.ts";
import { createDecoder } from "../../merge-core/nn/load.ts";
import { ropeTable } from "../../merge-core/nn/rope.ts";
import { requireBackend, SharedBackend } from "../../merge-core/nn/storage.ts";
import { randomTensor } from "../helpers/backends.ts";
import { tinyConfig, tinyTensors } from "../helpers/tiny-decoder.ts";

const config = tinyConfig({ num_hidden_layers: 1 });
const rows: readonly TokenRow[] = [
  { tokens: [1, 5, 9, 3, 3, 16, 0, 2], lossFrom: 1 },
  { tokens: [1, 4, 4, 11, 2], lossFrom: 2 },
];

interface Curve {
  readonly losses: number[];
  readonly weights: number[];
  /** Tensors alive after each step. */
  readonly tensors: number[];
  /** Bytes of shared memory in use after each step; zeros on another backend. */
  readonly bytes: number[];
}

/** Losses of a one-layer decoder under plain gradient descent on the active backend. */
function descend(steps: number): Curve {
  const curve: Curve = { losses: [], weights: [], tensors: [], bytes: [] };
  const batch = padRows(rows, 1 / 10);
  const table = ropeTable(config, batch.seq);
  let model = createDecoder(config, tinyTensors(config), "test");
  for (let step = 0; step < steps; step++) {
    const names = [...model.weights.keys()];
    const { value, grads } = tf.valueAndGrads(() => weightedLoss(model, batch, table))([...model.weights.values()]);
    const next = tf.tidy(() => grads.map((gradient, i) => tf.sub(model.weights.get(names[i]!)!, tf.mul(gradient, 0.2))));
    curve.losses.push(value.dataSync()[0]!);
    tf.dispose([value, grads, [...model.weights.values()]]);
    model = { ...model, weights: new Map(names.map((name, i) => [name, next[i]!])) };
    curve.tensors.push(tf.memory().numTensors);
    curve.bytes.push(tf.getBackend() === "weightsmith" ? requireBackend().pool.arena.usedBytes : 0);
  }
  for (const tensor of model.weights.values()) curve.weights.push(...tensor.dataSync());
  tf.dispose([...model.weights.values()]);
  return curve;
}

describe("the tfjs backend", () => {
  it("learns along the curve of tfjs's own backend", async () => {
    await initBackend({ threads: 2 });
    const ours = descend(12).losses;
    await tf.setBackend("cpu");
    const theirs = descend(12).losses;
    assert.ok(ours.at(-1)! < 0.9 * ours[0]!, `the loss fell only from ${ours[0]} to ${ours.at(-1)}`);
    for (const [i, loss] of theirs.entries()) assert.ok(Math.abs(loss - ours[i]!) <= 1e-4, `step ${i}: ${ours[i]}, tfjs has ${loss}`);
  });

  it("trains to the same bits on one, two and three threads", async () => {
    const curves: Curve[] = [];
    for (const threads of [1, 2, 3]) {
      await initBackend({ threads });
      curves.push(descend(3));
    }
    for (const curve of curves.slice(1)) assert.deepEqual([curve.losses, curve.weights], [curves[0]!.losses, curves[0]!.weights]);
  });

  it("holds as many tensors and bytes after each step as after the first", async () => {
    await initBackend({ threads: 1 });
    const { tensors, bytes } = descend(6);
    assert.deepEqual(new Set(tensors).size, 1);
    assert.deepEqual(new Set(bytes).size, 1);
  });

  it("frees the memory of disposed tensors, and leaves what was read alone", async () => {
    await initBackend({ threads: 1 });
    const { arena } = requireBackend().pool;
    const before = arena.usedBytes;
    const x = tf.tensor1d([1, 2, 3]);
    const view = tf.reshape(x, [3, 1]);
    assert.equal(arena.usedBytes, before + 64);
    const read = x.dataSync();
    x.dispose();
    assert.equal(arena.usedBytes, before + 64, "another tensor still shows the data");
    view.dispose();
    assert.equal(arena.usedBytes, before);
    const other = tf.tensor1d([7, 8, 9]);
    assert.deepEqual([...read], [1, 2, 3]);
    other.dispose();
  });

  it("takes over tensors from another backend and gives them back", async () => {
    await tf.setBackend("cpu");
    const x = randomTensor([4, 4], 3);
    const values = x.dataSync().slice();
    await initBackend({ threads: 1 });
    const doubled = tf.add(x, x);
    assert.deepEqual(
      doubled.dataSync(),
      values.map((v) => 2 * v),
    );
    await tf.setBackend("cpu");
    assert.deepEqual(
      tf.add(doubled, 0).dataSync(),
      values.map((v) => 2 * v),
    );
    tf.dispose([x, doubled]);
  });

  it("keeps tensors when the number of threads changes", async () => {
    await initBackend({ threads: 1 });
    const x = randomTensor([5, 5], 4);
    const values = x.dataSync();
    await initBackend({ threads: 2 });
    const negative = tf.neg(x);
    assert.deepEqual(
      negative.dataSync(),
      values.map((v) => -v),
    );
    tf.dispose([x, negative]);
  });

  it("says how much memory a tensor would have needed", async () => {
    const pool = createPool({ threads: 1, maxMemoryBytes: 1 << 20 });
    const backend = new SharedBackend(pool);
    assert.throws(() => backend.output([1 << 10, 1 << 10]), /out-of-memory.*\[1024,1024\].*4194304 bytes.*batch/s);
    await pool.close();
  });

  it("refuses work on the shared memory while another backend is active", async () => {
    await tf.setBackend("cpu");
    assert.throws(() => requireBackend(), /wrong-backend.*found tfjs backend "cpu"/);
  });
});
