// Products of the pool's threads by the machine's BLAS, where there is one, against float64 sums and against our kernels.
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-core/dist/register_all_gradients.js";
import { gemm, matrix } from "../../../merge-core/compute/gemm.ts";
import { type ComputePool, createPool } from "../../../merge-core/compute/pool.ts";
import { type Blas, loadBlas } from "../../../merge-core/compute/providers/blas.ts";
import { libraryParts, MIN_LIBRARY_WORK } from "../../../merge-core/compute/providers/blas-parts.ts";
import { initBackend } from "../../../merge-core/nn/backend.ts";
import { causalAttention, type HeadLayout } from "../../../merge-core/nn/ops.ts";
import { assertSame, type Result, randomTensor } from "../../helpers/backends.ts";
import { testRandom } from "../../helpers/tiny-decoder.ts";

interface Shape {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly accumulate?: boolean;
  readonly batch?: number;
}

function random(size: number, seed: number): Float32Array {
  const next = testRandom(seed);
  return Float32Array.from({ length: size }, () => next());
}

const viewsOf = ({ rows, columns, depth, transposeA = false, transposeB = false }: Shape, a: number, b: number) => ({
  a: transposeA ? matrix(a, depth, rows, true) : matrix(a, rows, depth),
  b: transposeB ? matrix(b, columns, depth, true) : matrix(b, depth, columns),
});

function product(pool: ComputePool, shape: Shape): Float32Array {
  const { rows, columns, depth, accumulate = false, batch = 1 } = shape;
  const [a, b, c] = [rows * depth, depth * columns, rows * columns].map((size, seed) => {
    const address = pool.arena.alloc(batch * size * 4);
    new Float32Array(pool.memory.buffer, address, batch * size).set(random(batch * size, seed));
    return address;
  }) as [number, number, number];
  gemm(pool, { rows, columns, depth, accumulate, batch, ...viewsOf(shape, a, b), c: matrix(c, rows, columns) });
  const out = new Float32Array(pool.memory.buffer, c, batch * rows * columns).slice();
  for (const address of [a, b, c]) pool.arena.free(address);
  return out;
}

function sums({ rows, columns, depth, transposeA, transposeB, accumulate, batch = 1 }: Shape): Float64Array {
  const [a, b, c] = [rows * depth, depth * columns, rows * columns].map((size, seed) => random(batch * size, seed)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  return Float64Array.from(c, (start, at) => {
    const entry = Math.floor(at / (rows * columns));
    const [i, j] = [Math.floor(at / columns) % rows, at % columns];
    let sum = accumulate ? start : 0;
    for (let k = 0; k < depth; k++) {
      const left = a[entry * rows * depth + (transposeA ? k * rows + i : i * depth + k)] as number;
      sum += left * (b[entry * depth * columns + (transposeB ? j * depth + k : k * columns + j)] as number);
    }
    return sum;
  });
}

const CASES: readonly Shape[] = [
  ...[false, true].flatMap((transposeA) => [false, true].map((transposeB) => ({ rows: 301, columns: 130, depth: 257, transposeA, transposeB }))),
  { rows: 70, columns: 403, depth: 150, accumulate: true },
  { rows: 1, columns: 400, depth: 200, transposeB: true },
  { rows: 400, columns: 1, depth: 200, transposeA: true },
  { rows: 300, columns: 300, depth: 1 },
  { rows: 40, columns: 50, depth: 60, batch: 3, transposeB: true },
];

describe("matrix products by BLAS on the pool's threads", () => {
  let blas: Blas;
  let pools: ComputePool[] = [];
  before(async function () {
    const found = await loadBlas(1).catch(() => undefined);
    if (found === undefined) this.skip();
    blas = found;
    pools = [1, 2, 3].map((threads) => createPool({ threads, blas }));
  });
  after(async () => {
    await Promise.all(pools.map((pool) => pool.close()));
    await initBackend({ threads: 1 });
  });

  it("are those of float64 sums, with the same bits on any number of threads", () => {
    for (const shape of CASES) {
      const expected = sums(shape);
      const [first, ...others] = pools.map((pool) => product(pool, shape)) as [Float32Array, ...Float32Array[]];
      const worst = first.reduce((most, x, i) => Math.max(most, Math.abs(x - (expected[i] as number))), 0);
      assert.ok(worst <= 4e-6 * (Math.sqrt(shape.depth) + 2), `${JSON.stringify(shape)}: off by ${worst}`);
      for (const other of others) assert.deepEqual(other, first);
    }
  });

  it("give attention its value and gradients", async () => {
    const layouts: HeadLayout[] = [
      { batch: 2, seq: 150, heads: 4, kvHeads: 2, headDim: 48 },
      { batch: 1, seq: 100, heads: 2, kvHeads: 2, headDim: 64, window: 30 },
    ];
    for (const layout of layouts) {
      const compute = (): Result[] => {
        const widths = [layout.heads, layout.kvHeads, layout.kvHeads].map((heads) => heads * layout.headDim);
        const inputs = widths.map((width, i) => randomTensor([layout.batch * layout.seq, width], i + 1));
        const attend = (...[q, k, v]: tf.Tensor[]) => causalAttention(q as tf.Tensor2D, k as tf.Tensor2D, v as tf.Tensor2D, layout);
        const weights = randomTensor([layout.batch * layout.seq, layout.heads * layout.headDim], 9);
        const results = [attend(...inputs), ...tf.grads((...all: tf.Tensor[]) => tf.sum(tf.mul(attend(...all), weights)))(inputs)];
        return results.map((tensor) => ({ shape: tensor.shape, dtype: tensor.dtype, values: tensor.dataSync() }));
      };
      await initBackend({ threads: 2 });
      const expected = tf.tidy(compute as unknown as () => tf.TensorContainer) as unknown as Result[];
      await initBackend({ threads: 2, blas });
      assertSame(tf.tidy(compute as unknown as () => tf.TensorContainer) as unknown as Result[], expected, 5e-6, JSON.stringify(layout));
    }
  });
});

describe("what is left to the library", () => {
  it("is all but small products and strides that no BLAS takes, in parts that cover the result once", () => {
    const [rows, columns, depth] = [1000, 300, 200];
    const c = matrix(0, rows, columns);
    assert.equal(
      libraryParts({ rows: 8, columns: 8, depth: MIN_LIBRARY_WORK / 64 - 1, a: matrix(0, 8, 8), b: matrix(0, 8, 8), c: matrix(0, 8, 8) }),
      undefined,
    );
    assert.equal(libraryParts({ rows, columns, depth, a: { address: 0, rowStride: 2 * depth, columnStride: 2 }, b: matrix(0, depth, columns), c }), undefined);
    const parts = libraryParts({ rows, columns, depth, a: matrix(0, rows, depth), b: matrix(0, depth, columns), c }) ?? [];
    assert.ok(parts.length > 4);
    let next = 0;
    for (const [size = 0, width, , a, , , , , , to] of parts) {
      assert.deepEqual([width, a, to], [columns, next * depth * 4, next * columns * 4]);
      next += size;
    }
    assert.equal(next, rows);
  });
});
