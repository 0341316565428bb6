import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { initBackend } from "../../merge-core/nn/backend.ts";
import * as fused from "../../merge-core/nn/ops.ts";
import * as plain from "../../merge-core/nn/plain-ops.ts";
import { ropeTable } from "../../merge-core/nn/rope.ts";
import { assertSame, onBackend, randomTensor } from "../helpers/backends.ts";

type Ops = typeof plain;
type Inputs = readonly number[][];

/** An operation under test as a function of its differentiable inputs. */
interface Case {
  readonly title: string;
  readonly shapes: Inputs;
  readonly apply: (ops: Ops, inputs: tf.Tensor[]) => tf.Tensor;
}

const table = (half: number) => ropeTable({ headDim: 2 * half, ropeTheta: 100, ropeScaling: undefined }, 80);

function attention(title: string, layout: fused.HeadLayout): Case {
  const rows = layout.batch * layout.seq;
  const [q, kv] = [layout.heads * layout.headDim, layout.kvHeads * layout.headDim];
  return {
    title: `causal attention, ${title}`,
    shapes: [
      [rows, q],
      [rows, kv],
      [rows, kv],
    ],
    apply: (ops, [q, k, v]) => ops.causalAttention(q as tf.Tensor2D, k as tf.Tensor2D, v as tf.Tensor2D, layout),
  };
}

const targets = Int32Array.of(3, 0, 10, 3, 7);
const manyIds = Int32Array.from({ length: 1400 }, (_, i) => (i * i) % 13);

const CASES: readonly Case[] = [
  ...[
    [3, 8],
    [5, 13],
    [300, 260],
  ].map(([rows, n]) => ({
    title: `RMS norm of [${rows}, ${n}]`,
    shapes: [[rows!, n!], [n!]],
    apply: (ops: Ops, [x, w]: tf.Tensor[]) => ops.rmsNorm(x as tf.Tensor2D, w as tf.Tensor1D, 1e-3),
  })),
  ...[
    [3, 8],
    [5, 13],
    [300, 260],
  ].map(([rows, n]) => ({
    title: `layer norm of [${rows}, ${n}]`,
    shapes: [[rows!, n!], [n!], [n!]],
    apply: (ops: Ops, [x, w, b]: tf.Tensor[]) => ops.layerNorm(x as tf.Tensor2D, w as tf.Tensor1D, b as tf.Tensor1D, 1e-3),
  })),
  ...[
    [2, 7],
    [300, 260],
  ].map(([rows, n]) => ({
    title: `GELU of [${rows}, ${n}]`,
    shapes: [[rows!, n!]],
    apply: (ops: Ops, [x]: tf.Tensor[]) => ops.gelu(tf.mul(x!, 4) as tf.Tensor2D),
  })),
  ...[
    [3, 5, 7, 2],
    [300, 130, 70, 9],
  ].map(([rows, inputs, outputs, rank]) => ({
    title: `low-rank change of a layer of [${outputs}, ${inputs}]`,
    shapes: [
      [rows!, inputs!],
      [outputs!, inputs!],
      [rank!, inputs!],
      [outputs!, rank!],
    ],
    apply: (ops: Ops, [x, w, a, b]: tf.Tensor[]) => ops.loraLinear(tf.mul(x!, 0.02) as tf.Tensor2D, w as tf.Tensor2D, a as tf.Tensor2D, b as tf.Tensor2D, 1.5),
  })),
  ...[
    [2, 7],
    [300, 260],
  ].map(([rows, n]) => ({
    title: `SwiGLU of [${rows}, ${n}]`,
    shapes: [
      [rows!, n!],
      [rows!, n!],
    ],
    apply: (ops: Ops, [gate, up]: tf.Tensor[]) => ops.swiGlu(gate as tf.Tensor2D, up as tf.Tensor2D),
  })),
  ...[
    [2, 3, 2, 3],
    [2, 5, 3, 4],
    [4, 70, 8, 16],
  ].map(([batch, seq, heads, half]) => ({
    title: `rotary positions, ${batch} x ${seq}, ${heads} heads of ${2 * half!}`,
    shapes: [[batch! * seq!, heads! * 2 * half!]],
    apply: (ops: Ops, [x]: tf.Tensor[]) => ops.rope(x as tf.Tensor2D, table(half!), batch!, seq!),
  })),
  attention("one head", { batch: 1, seq: 5, heads: 1, kvHeads: 1, headDim: 4 }),
  attention("grouped heads", { batch: 2, seq: 7, heads: 4, kvHeads: 2, headDim: 6 }),
  attention("a window of 3", { batch: 2, seq: 9, heads: 2, kvHeads: 1, headDim: 4, window: 3 }),
  attention("more rows than one block", { batch: 2, seq: 150, heads: 4, kvHeads: 2, headDim: 8 }),
  attention("one position", { batch: 3, seq: 1, heads: 2, kvHeads: 2, headDim: 4 }),
  { title: "token losses", shapes: [[5, 11]], apply: (ops, [x]) => ops.tokenLosses(tf.mul(x!, 6) as tf.Tensor2D, targets) },
  {
    title: "weighted cross-entropy",
    shapes: [[5, 11]],
    apply: (ops, [x]) => ops.crossEntropy(tf.mul(x!, 6) as tf.Tensor2D, targets, Float32Array.of(1, 0, 0.5, 2, 0.1)),
  },
  { title: "many token losses", shapes: [[130, 300]], apply: (ops, [x]) => ops.tokenLosses(x as tf.Tensor2D, manyIds.subarray(0, 130)) },
  { title: "embedding", shapes: [[11, 6]], apply: (ops, [x]) => ops.embed(x as tf.Tensor2D, targets) },
  { title: "embedding of many rows", shapes: [[13, 200]], apply: (ops, [x]) => ops.embed(x as tf.Tensor2D, manyIds) },
];

const inputsOf = ({ shapes }: Case): tf.Tensor[] => shapes.map((shape, i) => randomTensor(shape, i + 1));

/** A weighted sum of the result, so that each element's gradient counts differently. */
function objective(test: Case, ops: Ops, inputs: tf.Tensor[]): tf.Scalar {
  const y = test.apply(ops, inputs);
  return tf.sum(tf.mul(y, randomTensor(y.shape, 9)));
}

const valueAndGradients = (test: Case, ops: Ops) => (): tf.Tensor[] => {
  const inputs = inputsOf(test);
  return [test.apply(ops, inputs), ...tf.grads((...args: tf.Tensor[]) => objective(test, ops, args))(inputs)];
};

describe("fused operations", () => {
  for (const test of CASES) {
    it(`${test.title}: value and gradients of the plain composition, on any number of threads`, async () => {
      const expected = await onBackend("cpu", valueAndGradients(test, plain));
      const one = await onBackend("weightsmith", valueAndGradients(test, fused), 1);
      assertSame(one, expected, 5e-6, test.title);
      for (const threads of [2, 3]) assertSame(await onBackend("weightsmith", valueAndGradients(test, fused), threads), one, 0, `${threads} threads`);
    });
  }

  for (const test of CASES.filter(({ shapes }) => shapes.every((shape) => tf.util.sizeFromShape(shape) <= 200))) {
    it(`${test.title}: gradients by finite differences`, async () => {
      await initBackend({ threads: 1 });
      const inputs = inputsOf(test);
      const gradients = tf.grads((...args: tf.Tensor[]) => objective(test, fused, args))(inputs);
      for (const [which, input] of inputs.entries()) {
        const gradient = gradients[which]!.dataSync();
        for (let i = 0; i < input.size; i += Math.max(1, input.size >> 4)) {
          const moved = (by: number) => objectiveAt(test, inputs, which, i, by);
          const slope = (moved(4e-3) - moved(-4e-3)) / 8e-3;
          assert.ok(
            Math.abs(slope - gradient[i]!) <= 3e-3 * Math.max(1, Math.abs(slope)),
            `input ${which}, element ${i}: ${gradient[i]}, differences give ${slope}`,
          );
        }
      }
      tf.dispose([inputs, gradients]);
    });
  }

  it("make gradients of nothing but what they are wanted of", async () => {
    await initBackend({ threads: 1 });
    const [x, w, a, b] = [
      [4, 5],
      [6, 5],
      [2, 5],
      [6, 2],
    ].map((shape, i) => randomTensor(shape, i + 1)) as tf.Tensor2D[];
    const { kernels } = await tf.profile(() => tf.tidy(() => tf.grad((factor) => tf.sum(fused.loraLinear(x!, w!, factor as tf.Tensor2D, b!, 1)))(a!)));
    // The three products of the layer are one kernel; of the way back there are those of dh and of dA.
    assert.equal(kernels.filter(({ name }) => name === "BatchMatMul").length, 2);
    assert.ok(!kernels.some(({ name }) => name === "FusedLoraLinearInputGrad"));
    tf.dispose([x!, w!, a!, b!]);
  });

  it("fall back to the compositions on another backend", async () => {
    for (const test of CASES.slice(0, 6)) {
      assertSame(await onBackend("cpu", valueAndGradients(test, fused)), await onBackend("cpu", valueAndGradients(test, plain)), 0, test.title);
    }
  });

  it("refuse targets and ids outside the vocabulary", async () => {
    await initBackend({ threads: 1 });
    tf.tidy(() => {
      const logits = randomTensor([2, 4], 1) as tf.Tensor2D;
      assert.throws(() => fused.tokenLosses(logits, Int32Array.of(1, 4)), /index-out-of-range.*found 4 at position 1, expected 0 to 3/);
      assert.throws(() => fused.embed(logits, Int32Array.of(-1)), /index-out-of-range/);
    });
  });

  it("keep nothing but their result", async () => {
    await initBackend({ threads: 1 });
    for (const test of CASES) {
      const inputs = inputsOf(test);
      const before = tf.memory().numTensors;
      const result = tf.tidy(() => test.apply(fused, inputs));
      assert.equal(tf.memory().numTensors, before + 1, test.title);
      tf.dispose([result, inputs]);
    }
  });
});

function objectiveAt(test: Case, inputs: readonly tf.Tensor[], which: number, element: number, by: number): number {
  return tf.tidy(() => {
    const values = inputs[which]!.dataSync().slice();
    values[element]! += by;
    const changed = inputs.with(which, tf.tensor(values, inputs[which]!.shape));
    return objective(test, fused, changed).dataSync()[0]!;
  });
}
