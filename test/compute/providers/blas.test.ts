// The machine's own linear algebra against the plain space, where there is some: named by WEIGHTSMITH_BLAS or known to the system.
import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import type { Matrix, MatrixSpace } from "../../../merge-core/compute/linalg/matrix.ts";
import { plainSpace } from "../../../merge-core/compute/linalg/plain-space.ts";
import { polarFactor } from "../../../merge-core/compute/linalg/polar.ts";
import { type PoolSpace, poolSpace } from "../../../merge-core/compute/linalg/pool-space.ts";
import { atOnce } from "../../../merge-core/compute/linalg/steps.ts";
import { svd } from "../../../merge-core/compute/linalg/svd.ts";
import { type ComputePool, createPool } from "../../../merge-core/compute/pool.ts";
import { BLAS_VARIABLE, loadBlas, MIN_SHARED } from "../../../merge-core/compute/providers/blas.ts";
import { randomKey, uniforms } from "../../../merge-core/compute/rng.ts";

const noise = (seed: number, size: number) => Float64Array.from(uniforms(randomKey(seed, "blas"), { model: 0, purpose: 0 }, 0, size), (u) => u - 0.5);

function load(space: MatrixSpace, rows: number, columns: number, seed: number): Matrix {
  const matrix = space.zeros(rows, columns);
  matrix.data.set(Float32Array.from(noise(seed, rows * columns)));
  return matrix;
}

function near(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  assert.equal(found.length, expected.length);
  for (let i = 0; i < found.length; i++)
    assert.ok(Math.abs((found[i] as number) - (expected[i] as number)) <= tolerance, `${i}: ${found[i]} is not ${expected[i]}`);
}

describe("BLAS and LAPACK", () => {
  const plain = plainSpace();
  let pool: ComputePool;
  let space: PoolSpace;
  before(async function () {
    const blas = await loadBlas(2).catch(() => undefined);
    if (blas === undefined) this.skip();
    pool = createPool({ threads: 2, blas });
    space = poolSpace(pool);
  });
  after(() => pool?.close());

  it("multiply with either factor transposed, and add up", () => {
    for (const transposeA of [false, true])
      for (const transposeB of [false, true]) {
        const [a, b] = [transposeA ? [11, 7] : [7, 11], transposeB ? [5, 11] : [11, 5]] as [[number, number], [number, number]];
        const product = (s: MatrixSpace) => s.product(load(s, ...a, 1), load(s, ...b, 2), { transposeA, transposeB, into: load(s, 7, 5, 3), accumulate: true });
        near(product(space).data, product(plain).data, 1e-6);
      }
  });

  it("take one thread for small products, and all for large ones", async function () {
    const koffi = await import("koffi");
    const file = process.env[BLAS_VARIABLE] ?? "libopenblas.so.0";
    const threads = ["openblas_get_num_threads", "scipy_openblas_get_num_threads64_"].flatMap((name) => {
      try {
        return [koffi.load(file).func(`int ${name}()`) as () => number];
      } catch {
        return [];
      }
    })[0];
    if (threads === undefined || availableParallelism() < 2) return this.skip();
    const side = Math.ceil(Math.cbrt(MIN_SHARED));
    const threadsAfter = (n: number): number => {
      const a = space.zeros(n, n);
      space.free(space.product(a, a), a);
      return threads();
    };
    assert.deepEqual([threadsAfter(side), threadsAfter(side - 1)], [2, 1]);
  });

  it("make symmetric Gram matrices", () => {
    near(atOnce(space.gram(load(space, 9, 30, 1))).data, atOnce(plain.gram(load(plain, 9, 30, 1))).data, 1e-5);
  });

  it("solve positive definite systems, and see others", async () => {
    const solve = async (s: MatrixSpace, sign: number) => {
      const [y, matrix, right] = [s.doubles(20 * 30), s.doubles(400), s.doubles(20 * 6)];
      y.set(noise(1, 600));
      atOnce(s.gramDoubles(y, 20, 30, matrix));
      for (let i = 0; i < 20; i++) matrix[i * 21] = (matrix[i * 21] as number) + sign;
      right.set(noise(2, 120));
      return (await s.solvePositive(matrix, 20, right, 6)) ? right : undefined;
    };
    near((await solve(space, 1)) ?? [], (await solve(plain, 1)) ?? [], 1e-12);
    assert.equal(await solve(space, -100), undefined);
  });

  for (const [rows, columns] of [
    [40, 40],
    [70, 24],
    [24, 70],
    [1, 9],
  ] as const)
    it(`decompose ${rows} x ${columns}, and find its polar factor`, async () => {
      const [found, expected] = [await svd(space, load(space, rows, columns, 4)), await svd(plain, load(plain, rows, columns, 4))];
      near(found.values, expected.values, 1e-5);
      const rebuilt = new Float64Array(rows * columns);
      for (const [k, value] of found.values.entries())
        for (let i = 0; i < rebuilt.length; i++)
          rebuilt[i] =
            (rebuilt[i] as number) +
            value * (found.left.data[k * rows + Math.floor(i / columns)] as number) * (found.right.data[k * columns + (i % columns)] as number);
      near(rebuilt, load(plain, rows, columns, 4).data, 1e-5);
      const polar = async (s: MatrixSpace) => (await polarFactor(s, load(s, rows, columns, 4))).factor.data;
      near(await polar(space), await polar(plain), 1e-4);
    });

  it("know the rank of deficient matrices, and leave zero alone", async () => {
    const deficient = space.product(load(space, 30, 4, 5), load(space, 4, 20, 6));
    assert.equal((await svd(space, deficient)).values.length, 4);
    assert.equal((await polarFactor(space, deficient)).rank, 4);
    assert.equal((await svd(space, space.zeros(5, 6))).values.length, 0);
  });
});

describe("loadBlas", () => {
  it("says what it looked for", async () => {
    const before = process.env[BLAS_VARIABLE];
    process.env[BLAS_VARIABLE] = "/nowhere/libnone.so";
    try {
      await assert.rejects(loadBlas(1), /libnone|koffi/);
    } finally {
      if (before === undefined) delete process.env[BLAS_VARIABLE];
      else process.env[BLAS_VARIABLE] = before;
    }
  });
});
