// Decompositions against their definitions, computed in float64: orthogonality, reconstruction, order; and against each other.
import assert from "node:assert/strict";
import type { Matrix, MatrixSpace } from "../../../merge-core/compute/linalg/matrix.ts";
import { pairsOfRound, tournament } from "../../../merge-core/compute/linalg/one-sided-jacobi.ts";
import { orthonormalRows } from "../../../merge-core/compute/linalg/orthonormal-rows.ts";
import { plainSpace } from "../../../merge-core/compute/linalg/plain-space.ts";
import { polarFactor } from "../../../merge-core/compute/linalg/polar.ts";
import { poolSpace } from "../../../merge-core/compute/linalg/pool-space.ts";
import { atOnce } from "../../../merge-core/compute/linalg/steps.ts";
import { type Svd, svd } from "../../../merge-core/compute/linalg/svd.ts";
import { type ComputePool, createPool } from "../../../merge-core/compute/pool.ts";
import { randomKey, uniforms } from "../../../merge-core/compute/rng.ts";

const orthonormal = (space: MatrixSpace, a: Matrix): Matrix => atOnce(orthonormalRows(space, a));
const noise = (seed: number, size: number) => Float64Array.from(uniforms(randomKey(seed, "linalg"), { model: 0, purpose: 0 }, 0, size), (u) => u - 0.5);

/** rows x columns of the given rank, all singular values of about one size. */
function ofRank(rows: number, columns: number, rank: number, seed = 1): Float64Array {
  const [a, b] = [noise(seed, rows * rank), noise(seed + 1, rank * columns)];
  return Float64Array.from({ length: rows * columns }, (_, at) => {
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += (a[Math.floor(at / columns) * rank + k] ?? 0) * (b[k * columns + (at % columns)] ?? 0);
    return sum;
  });
}

function load(space: MatrixSpace, rows: number, columns: number, values: ArrayLike<number>): Matrix {
  const matrix = space.zeros(rows, columns);
  matrix.data.set(Float32Array.from(values));
  return matrix;
}

const largest = (values: Iterable<number>) => [...values].reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/** The largest entry of Q Q^T - I. */
function unorthogonality({ rows, columns, data }: Matrix): number {
  let worst = 0;
  for (let i = 0; i < rows; i++)
    for (let j = 0; j <= i; j++) {
      let sum = i === j ? -1 : 0;
      for (let k = 0; k < columns; k++) sum += (data[i * columns + k] as number) * (data[j * columns + k] as number);
      worst = Math.max(worst, Math.abs(sum));
    }
  return worst;
}

function rebuilt({ left, values, right }: Svd): Float64Array {
  const [rows, columns] = [left.columns, right.columns];
  const sum = new Float64Array(rows * columns);
  for (const [k, value] of values.entries())
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++)
        sum[i * columns + j] = (sum[i * columns + j] as number) + value * (left.data[k * rows + i] as number) * (right.data[k * columns + j] as number);
  return sum;
}

const spaces: readonly [string, (pool: ComputePool) => MatrixSpace & { close?: () => void }][] = [
  ["the pool", poolSpace],
  ["plain TypeScript", plainSpace],
];

for (const [where, open] of spaces)
  describe(`linear algebra on ${where}`, () => {
    let pool: ComputePool;
    let space: MatrixSpace & { close?: () => void };
    before(() => {
      pool = createPool({ threads: 2 });
      space = open(pool);
    });
    after(async () => {
      space.close?.();
      assert.equal(pool.arena.usedBytes, 0);
      await pool.close();
    });

    it("multiplies with either factor transposed", () => {
      const a = load(space, 2, 3, [1, 2, 3, 4, 5, 6]);
      const b = load(space, 2, 3, [1, 0, 2, -1, 3, 1]);
      assert.deepEqual([...space.product(a, b, { transposeB: true }).data], [7, 8, 16, 17]);
      assert.deepEqual([...space.product(a, b, { transposeA: true }).data], [-3, 12, 6, -3, 15, 9, -3, 18, 12]);
      const into = load(space, 2, 2, [1, 1, 1, 1]);
      assert.deepEqual([...space.product(a, b, { transposeB: true, into, accumulate: true }).data], [8, 9, 17, 18]);
      assert.throws(() => space.product(a, b), RangeError);
    });

    for (const [rows, columns] of [
      [40, 40],
      [33, 90],
      [90, 33],
      [1, 17],
      [17, 1],
      [1, 1],
    ] as const)
      it(`decomposes ${rows} x ${columns}: orthonormal, ordered, complete`, async () => {
        const values = noise(rows + columns, rows * columns);
        const a = load(space, rows, columns, values);
        const result = await svd(space, a);
        assert.equal(result.values.length, Math.min(rows, columns));
        assert.ok(result.values.every((value, i) => i === 0 || value <= (result.values[i - 1] ?? 0)));
        assert.ok(unorthogonality(result.right) < 1e-6 && unorthogonality(result.left) < 1e-6, `${unorthogonality(result.left)}`);
        const sums = rebuilt(result);
        assert.ok(largest(sums.map((x, i) => x - (a.data[i] ?? 0))) < 2e-6);
        const energy = a.data.reduce((sum, x) => sum + x * x, 0);
        assert.ok(Math.abs(result.values.reduce((sum, s) => sum + s * s, 0) / energy - 1) < 1e-12);
      });

    it("decomposes matrices far longer than wide whose values span six decades", async () => {
      const [rows, columns] = [40, 700];
      const left = orthonormal(space, load(space, rows, rows, noise(1, rows * rows)));
      const right = orthonormal(space, load(space, rows, columns, noise(2, rows * columns)));
      const values = Float64Array.from({ length: rows }, (_, k) => 10 ** ((-6 * k) / (rows - 1)));
      for (const sides of [
        { left, right },
        { left: right, right: left },
      ]) {
        const sums = rebuilt({ ...sides, values });
        const found = await svd(space, load(space, sides.left.columns, sides.right.columns, sums));
        assert.equal(found.values.length, rows);
        // What float32 holds of the matrix: its rounding, relative to the largest value.
        for (const [k, value] of found.values.entries()) assert.ok(Math.abs(value - (values[k] as number)) < 1e-6, `${k}: ${value}`);
        assert.ok(unorthogonality(found.left) < 1e-6 && unorthogonality(found.right) < 1e-6);
        assert.ok(largest(rebuilt(found).map((x, i) => x - (sums[i] ?? 0))) < 1e-7);
      }
    });

    it("leaves a triangle of the same Gram matrix", () => {
      for (const [rows, columns] of [
        [1, 1],
        [5, 5],
        [33, 90],
        [70, 71],
      ] as const) {
        const [y, gram] = [space.doubles(rows * columns), new Float64Array(rows * rows)];
        y.set(noise(rows, rows * columns));
        // A row that depends on the others, and one of zeros.
        if (rows > 4) for (let j = 0; j < columns; j++) [y[j], y[columns + j]] = [(y[2 * columns + j] as number) - (y[3 * columns + j] as number), 0];
        atOnce(plainSpace().gramDoubles(y, rows, columns, gram));
        atOnce(space.lowerFactor(y, rows, columns));
        for (let i = 0; i < rows; i++)
          for (let j = 0; j <= i; j++) {
            let sum = 0;
            for (let k = 0; k <= j; k++) sum += (y[i * columns + k] as number) * (y[j * columns + k] as number);
            assert.ok(Math.abs(sum - (gram[i * rows + j] as number)) < 1e-13 * columns, `${rows} x ${columns}: ${i}, ${j}`);
          }
        space.free({ data: y });
      }
    });

    it("multiplies in float64", () => {
      const [a, b, into] = [space.doubles(3 * 5), space.doubles(5 * 7), space.doubles(3 * 7)];
      a.set(noise(1, 15));
      b.set(noise(2, 35));
      space.productDoubles(a, 3, 5, b, 7, into);
      for (let i = 0; i < 3; i++)
        for (let j = 0; j < 7; j++) {
          let sum = -(into[i * 7 + j] as number);
          for (let k = 0; k < 5; k++) sum += (a[i * 5 + k] as number) * (b[k * 7 + j] as number);
          assert.ok(Math.abs(sum) < 1e-15);
        }
      space.free({ data: a }, { data: b }, { data: into });
    });

    it("knows singular values worked out by hand", async () => {
      // A^T A = [[9, 0], [0, 1]] and [[10, 6], [6, 10]] (values 4 and 2).
      for (const [values, expected] of [
        [
          [3, 0, 0, -1],
          [3, 1],
        ],
        [
          [3, 1, 1, 3],
          [4, 2],
        ],
        [[0, 0, 0, 5], [5]],
      ] as const) {
        const found = (await svd(space, load(space, 2, 2, values))).values;
        assert.ok(found.length === expected.length && largest(found.map((s, i) => s - (expected[i] ?? 0))) < 1e-12, `${found}`);
      }
    });

    it("finds the rank of deficient and of zero matrices", async () => {
      assert.equal((await svd(space, load(space, 30, 50, ofRank(30, 50, 4)))).values.length, 4);
      assert.equal((await svd(space, space.zeros(5, 7))).values.length, 0);
      assert.equal((await svd(space, load(space, 30, 50, noise(3, 1500)), 6)).values.length, 6);
    });

    for (const [rows, columns, rank] of [
      [40, 40, 40],
      [24, 70, 24],
      [70, 24, 24],
      [1, 9, 1],
      [50, 40, 7],
    ] as const)
      it(`finds the polar factor of ${rows} x ${columns} of rank ${rank} as the SVD has it`, async () => {
        const a = load(space, rows, columns, rank < 24 && rank > 1 ? ofRank(rows, columns, rank) : noise(5, rows * columns));
        const { factor, rank: found, nuclear } = await polarFactor(space, a);
        const reference = await svd(space, a);
        const exact = rebuilt({ ...reference, values: reference.values.map(() => 1) });
        assert.equal(found, rank);
        const error = largest(factor.data.map((x, i) => x - (exact[i] ?? 0)));
        assert.ok(error < 3e-6, `${error}`);
        assert.ok(Math.abs(nuclear / reference.values.reduce((sum, s) => sum + s, 0) - 1) < 1e-5);
      });

    it("finds the polar factor of a matrix whose singular values span four decades", async () => {
      const n = 60;
      const [left, right] = [orthonormal(space, load(space, n, n, noise(1, n * n))), orthonormal(space, load(space, n, n, noise(2, n * n)))];
      const values = Float64Array.from({ length: n }, (_, k) => 10 ** ((-4 * k) / (n - 1)));
      const a = load(space, n, n, rebuilt({ left, values, right }));
      const { factor, rank, nuclear } = await polarFactor(space, a);
      const exact = rebuilt({ left, values: values.map(() => 1), right });
      assert.equal(rank, n);
      // What float32 holds of the least directions is known to 1e-8 / 1e-4 of their size.
      assert.ok(largest(factor.data.map((x, i) => x - (exact[i] ?? 0))) < 1e-4);
      assert.ok(unorthogonality(factor) < 3e-6, `${unorthogonality(factor)}`);
      assert.ok(Math.abs(nuclear / values.reduce((sum, s) => sum + s, 0) - 1) < 1e-5);
    });

    it("multiplies symmetric matrices that commute", () => {
      const a = atOnce(space.gram(load(space, 70, 80, noise(6, 5600))));
      const square = atOnce(space.symmetricProduct(a, a));
      const cube = atOnce(space.symmetricProduct(a, square));
      const expected = plainSpace().product(a, square);
      assert.ok(largest(cube.data.map((x, i) => x - (expected.data[i] ?? 0))) < 1e-5 * largest(expected.data));
      for (let i = 0; i < 70; i++) for (let j = 0; j < i; j++) assert.equal(cube.data[i * 70 + j], cube.data[j * 70 + i]);
    });

    it("finds polar factors by hand, and leaves zero alone", async () => {
      const { factor, nuclear } = await polarFactor(space, load(space, 2, 2, [0, -3, 0.001, 0]));
      assert.ok(largest(factor.data.map((x, i) => x - ([0, -1, 1, 0][i] ?? 0))) < 1e-5);
      assert.ok(Math.abs(nuclear - 3.001) < 1e-5);
      const zero = await polarFactor(space, space.zeros(3, 4));
      assert.deepEqual([zero.rank, zero.nuclear, largest(zero.factor.data)], [0, 0, 0]);
    });

    it("makes rows orthonormal that nearly depend on each other", () => {
      const values = noise(8, 6 * 40).map((x, i) => (i >= 200 ? 1e-3 * x : x));
      for (let j = 0; j < 40; j++) values[40 + j] = (values[j] ?? 0) + 1e-3 * (values[40 + j] ?? 0);
      assert.ok(unorthogonality(orthonormal(space, load(space, 6, 40, values))) < 1e-5);
    });
  });

describe("rounds of pairs", () => {
  for (const rows of [1, 2, 5, 8])
    it(`hold each pair of ${rows} once, and no row twice in a round`, () => {
      const rounds = tournament(rows);
      const pairs = Array.from({ length: rounds.length / 2 }, (_, i) => rounds.subarray(2 * i, 2 * i + 2).join(" "));
      assert.equal(new Set(pairs).size, (rows * (rows - 1)) / 2);
      assert.equal(pairs.length, new Set(pairs).size);
      const size = 2 * pairsOfRound(rows);
      for (let from = 0; from < rounds.length; from += size) assert.equal(new Set(rounds.subarray(from, from + size)).size, size);
    });
});

describe("large singular value decompositions", () => {
  it("find the leading triplets by a random probe, as by the whole decomposition", async () => {
    const pool = createPool({ threads: 2 });
    const space = poolSpace(pool);
    // Side 1100 is beyond the exact limit; rank 40 with clearly decaying values.
    const [rows, columns, rank] = [1100, 1200, 40];
    const [u, v] = [
      orthonormal(space, load(space, rank, rows, noise(1, rank * rows))),
      orthonormal(space, load(space, rank, columns, noise(2, rank * columns))),
    ];
    const expected = Array.from({ length: rank }, (_, i) => 0.9 ** i);
    for (let i = 0; i < rank; i++) for (let j = 0; j < columns; j++) v.data[i * columns + j] = (v.data[i * columns + j] as number) * (expected[i] as number);
    const { values, left, right } = await svd(space, space.product(u, v, { transposeA: true }), 10);
    assert.equal(values.length, 10);
    for (const [i, value] of values.entries()) assert.ok(Math.abs(value / (expected[i] as number) - 1) < 1e-5, `${i}: ${value}`);
    assert.ok(unorthogonality(left) < 1e-5 && unorthogonality(right) < 1e-5);
    space.close();
    await pool.close();
  });

  it("do not depend on threads", async () => {
    const results = await Promise.all(
      [1, 2].map(async (threads) => {
        const pool = createPool({ threads });
        const space = poolSpace(pool);
        const a = load(space, 200, 300, noise(4, 60000));
        const found = { polar: [...(await polarFactor(space, a)).factor.data], values: [...(await svd(space, a)).values] };
        space.close();
        await pool.close();
        return found;
      }),
    );
    assert.deepEqual(results[0], results[1]);
  });
});
