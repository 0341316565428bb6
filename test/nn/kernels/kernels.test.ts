import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { initBackend } from "../../../merge-core/nn/backend.ts";
import { assertSame, matchesCpu, onBackend, randomTensor } from "../../helpers/backends.ts";

/** Shape pairs: equal, scalar, row, column, middle, both ways, more axes than one kernel call takes, empty. */
const PAIRS: readonly [number[], number[]][] = [
  [
    [3, 5],
    [3, 5],
  ],
  [[7], []],
  [[], [2, 3]],
  [[4, 9], [9]],
  [
    [4, 9],
    [4, 1],
  ],
  [
    [4, 1],
    [1, 6],
  ],
  [
    [2, 3, 4, 5],
    [3, 1, 5],
  ],
  [
    [2, 1, 3, 1, 2],
    [1, 4, 1, 5, 1],
  ],
  [
    [2, 3, 2, 3, 2, 3],
    [3, 1, 3, 1, 3],
  ],
  [[0, 4], [4]],
];

describe("tfjs kernels of the backend", () => {
  const a = (shape: number[], seed = 1) => randomTensor(shape, seed);
  const positive = (shape: number[], seed = 1) => tf.add(tf.abs(a(shape, seed)), 0.1);

  it("compute element by element with every kind of broadcast", async () => {
    const operations = {
      add: tf.add,
      sub: tf.sub,
      mul: tf.mul,
      div: tf.div,
      maximum: tf.maximum,
      minimum: tf.minimum,
      squaredDifference: tf.squaredDifference,
    };
    for (const [name, operation] of Object.entries(operations)) {
      for (const [left, right] of PAIRS) {
        const divisor = () => (name === "div" ? positive(right, 2) : a(right, 2));
        await matchesCpu(`${name} [${left}] [${right}]`, () => operation(a(left), divisor()), 1e-7);
      }
    }
  });

  it("leave integers to the stock kernels", async () => {
    await matchesCpu("int add", () => tf.add(tf.tensor1d([1, 2, 3], "int32"), tf.scalar(4, "int32")));
    await matchesCpu("int sum", () =>
      tf.sum(
        tf.tensor2d(
          [
            [1, 2],
            [3, 4],
          ],
          undefined,
          "int32",
        ),
        0,
      ),
    );
  });

  it("apply functions of one argument", async () => {
    const functions = { square: tf.square, neg: tf.neg, sigmoid: tf.sigmoid, exp: tf.exp, tanh: tf.tanh, relu: tf.relu, abs: tf.abs };
    for (const size of [0, 1, 3, 8, 70001]) {
      for (const [name, f] of Object.entries(functions)) await matchesCpu(`${name} of ${size}`, () => f(tf.mul(a([size]), 9)), 3e-7);
      for (const f of [tf.sqrt, tf.rsqrt, tf.log]) await matchesCpu(`${f.name} of ${size}`, () => f(positive([size])), 3e-7);
    }
  });

  it("keep the limits of exp, log, tanh and sigmoid", async () => {
    const edges = [0, -0, 1e-40, 3.4e38, 88, 88.7, 89.5, -87, -88, -103, -104.5, 1e30, -1e30, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
    for (const f of [tf.exp, tf.log, tf.tanh, tf.sigmoid]) await matchesCpu(f.name, () => f(tf.tensor1d(edges)), 3e-7);
  });

  it("reduce over any axes", async () => {
    const axes: (number | number[] | undefined)[] = [undefined, 0, 1, 2, -1, [0, 1], [1, 2], [0, 2], [0, 1, 2]];
    for (const axis of axes) {
      for (const keep of [false, true]) {
        await matchesCpu(`sum over ${axis}`, () => tf.sum(a([4, 9, 5]), axis, keep), 3e-7);
        await matchesCpu(`mean over ${axis}`, () => tf.mean(a([4, 9, 5]), axis, keep), 3e-7);
        await matchesCpu(`max over ${axis}`, () => tf.max(a([4, 9, 5]), axis, keep));
      }
    }
    await matchesCpu("sum of size-one axes", () => tf.sum(a([1, 6, 1]), [0, 2]));
    await matchesCpu("sum of nothing", () => tf.sum(a([0, 3]), 0));
    await matchesCpu("sum of many", () => tf.sum(a([700, 600]), 0), 1e-6, [1, 2]);
  });

  it("take softmax and log-softmax", async () => {
    await matchesCpu("softmax", () => tf.softmax(tf.mul(a([5, 7]), 8)), 3e-7);
    await matchesCpu("logSoftmax", () => tf.logSoftmax(tf.mul(a([5, 7]), 8)), 1e-6);
    await matchesCpu("softmax with -Infinity", () => tf.softmax(tf.tensor2d([[1, Number.NEGATIVE_INFINITY, 2, 3, 1]])), 1e-7);
  });

  it("transpose by every permutation of four axes", async () => {
    const permutations = [
      [0, 1, 2, 3],
      [0, 2, 1, 3],
      [1, 0, 2, 3],
      [3, 2, 1, 0],
      [0, 1, 3, 2],
      [2, 3, 0, 1],
      [1, 3, 0, 2],
    ];
    for (const perm of permutations) await matchesCpu(`transpose ${perm}`, () => tf.transpose(a([2, 5, 3, 7]), perm));
    await matchesCpu("large transpose", () => tf.transpose(a([601, 703])), 0, [1, 3]);
    await matchesCpu("six axes", () => tf.transpose(a([2, 3, 2, 2, 3, 2]), [5, 3, 1, 0, 2, 4]));
  });

  it("slice, tile, concatenate, split, stack and unstack", async () => {
    await matchesCpu("slice", () => tf.slice(a([4, 5, 6]), [1, 0, 2], [2, 4, 3]));
    await matchesCpu("slice to the end", () => tf.slice(a([4, 5]), [1, 2], [-1, -1]));
    await matchesCpu("int slice", () => tf.slice(tf.range(0, 12, 1, "int32"), 3, 5));
    await matchesCpu("tile", () => tf.tile(a([2, 1, 3]), [2, 3, 2]));
    for (const axis of [0, 1, 2]) {
      const shape = (n: number) => [2, 3, 4].with(axis, n);
      await matchesCpu(`concat ${axis}`, () => tf.concat([a(shape(1)), a(shape(0), 2), a(shape(3), 3)], axis));
      await matchesCpu(`split ${axis}`, () => tf.split(a(shape(6)), [1, 3, 2], axis));
      await matchesCpu(`stack ${axis}`, () => tf.stack([a([2, 3, 4]), a([2, 3, 4], 2)], axis));
      await matchesCpu(`unstack ${axis}`, () => tf.unstack(a([2, 3, 4]), axis));
    }
  });

  it("gather rows and add them up again", async () => {
    const ids = () => tf.tensor1d([4, 0, 4, 2], "int32");
    await matchesCpu("gather", () => tf.gather(a([5, 3]), ids()));
    await matchesCpu("gather by a matrix", () =>
      tf.gather(
        a([5, 2, 2]),
        tf.tensor2d(
          [
            [1, 2],
            [0, 4],
          ],
          undefined,
          "int32",
        ),
      ),
    );
    await matchesCpu("gather along the last axis", () => tf.gather(a([3, 5]), ids(), 1));
    await matchesCpu("unsortedSegmentSum", () => tf.unsortedSegmentSum(a([4, 6]), ids(), 5), 1e-7);
    await matchesCpu("gradient of gather", () => tf.grad((x) => tf.sum(tf.square(tf.gather(x, ids()))))(a([5, 3])), 1e-6);
  });

  it("refuse indices outside the table", async () => {
    await initBackend({ threads: 1 });
    assert.throws(() => tf.gather(a([5, 3]), tf.tensor1d([1, 5], "int32")), /index-out-of-range.*found 5 at position 1, expected 0 to 4/);
  });

  it("select, cast, fill and encode", async () => {
    await matchesCpu("where", () => tf.where(tf.greater(a([3, 5]), 0), a([3, 5], 2), a([3, 5], 3)));
    await matchesCpu("where with a scalar", () => tf.where(tf.greater(a([3, 5]), 0), a([3, 5], 2), tf.scalar(0)));
    await matchesCpu("to int", () => tf.cast(tf.mul(a([9]), 9), "int32"));
    await matchesCpu("int to float", () => tf.cast(tf.tensor1d([1, -2, 3], "int32"), "float32"));
    await matchesCpu("bool to float", () => tf.cast(tf.greater(a([9]), 0), "float32"));
    await matchesCpu("to bool", () => tf.cast(a([4]), "bool"));
    await matchesCpu("fill", () => [tf.fill([3, 2], 1.5), tf.fill([3], -7, "int32"), tf.zerosLike(a([2])), tf.onesLike(a([2, 2]))]);
    await matchesCpu("oneHot", () => [tf.oneHot(tf.tensor1d([2, 0, 9, -1], "int32"), 4, 5, -1), tf.oneHot(tf.tensor1d([1], "int32"), 3)]);
    await matchesCpu("addN", () => tf.addN([a([3]), a([3], 2), a([3], 3), a([3], 4)]), 1e-7);
  });

  it("multiply matrices, transposed, batched and broadcast", async () => {
    for (const [ta, tb] of [
      [false, false],
      [false, true],
      [true, false],
      [true, true],
    ] as const) {
      const left = (batch: number[]) => a([...batch, ...(ta ? [7, 5] : [5, 7])]);
      const right = (batch: number[]) => a([...batch, ...(tb ? [6, 7] : [7, 6])], 2);
      for (const [outerA, outerB] of [
        [[], []],
        [[3], [3]],
        [
          [2, 3],
          [2, 3],
        ],
        [[4], [1]],
        [[1], [4]],
        [
          [2, 1],
          [1, 3],
        ],
      ] as [number[], number[]][]) {
        await matchesCpu(`matMul ${ta} ${tb} [${outerA}] [${outerB}]`, () => tf.matMul(left(outerA), right(outerB), ta, tb), 1e-6);
      }
    }
    await matchesCpu("an empty sum", () => tf.matMul(a([2, 0]), a([0, 3])));
  });

  it("give the same bits on one, two and three threads", async () => {
    const compute = () => {
      const x = a([900, 500]);
      const y = tf.softmax(tf.matMul(x, a([500, 310], 2)));
      return [y, tf.sum(y), tf.mean(x, 0), tf.transpose(tf.tanh(x)), tf.mul(x, tf.mean(x, 1, true)), tf.concat([x, x], 1)];
    };
    const one = await onBackend("weightsmith", compute, 1);
    for (const threads of [2, 3]) assertSame(await onBackend("weightsmith", compute, threads), one, 0, `${threads} threads`);
  });
});
