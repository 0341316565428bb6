// The blocked float64 solver against its definition: what it gives is multiplied back.
import assert from "node:assert/strict";
import { plainSpace } from "../../../merge-core/compute/linalg/plain-space.ts";
import { poolSpace } from "../../../merge-core/compute/linalg/pool-space.ts";
import { atOnce } from "../../../merge-core/compute/linalg/steps.ts";
import { type ComputePool, createPool } from "../../../merge-core/compute/pool.ts";
import { randomKey, uniforms } from "../../../merge-core/compute/rng.ts";

const noise = (seed: number, size: number) => Float64Array.from(uniforms(randomKey(seed, "solve"), { model: 0, purpose: 0 }, 0, size), (u) => u - 0.5);

/** I + X X^T of X [size, depth], symmetric. */
function positive(size: number, depth: number): Float64Array {
  const x = noise(1, size * depth);
  return Float64Array.from({ length: size * size }, (_, at) => {
    const [i, j] = [Math.floor(at / size), at % size];
    let sum = i === j ? 1 : 0;
    for (let k = 0; k < depth; k++) sum += (x[i * depth + k] as number) * (x[j * depth + k] as number);
    return sum;
  });
}

async function solved(
  pool: ComputePool,
  s: Float64Array,
  size: number,
  b: Float64Array,
  columns: number,
  signal?: AbortSignal,
): Promise<Float64Array | undefined> {
  const space = poolSpace(pool, signal);
  const [matrix, right] = [space.doubles(s.length), space.doubles(b.length)];
  matrix.set(s);
  right.set(b);
  try {
    return (await space.solvePositive(matrix, size, right, columns)) ? right.slice() : undefined;
  } finally {
    space.close();
  }
}

describe("positive definite systems in float64", () => {
  const pools = [1, 3].map((threads) => createPool({ threads }));
  after(() => Promise.all(pools.map((pool) => pool.close())));

  for (const [size, columns] of [
    [1, 1],
    [5, 3],
    [128, 40],
    [131, 7],
    [300, 517],
  ] as const)
    it(`are solved: ${size} unknowns, ${columns} right sides, the same for any threads`, async () => {
      const [s, b] = [positive(size, 20), noise(2, size * columns)];
      const [x, other] = await Promise.all(pools.map((pool) => solved(pool, s, size, b, columns)));
      assert.ok(x !== undefined);
      assert.deepEqual(other, x);
      let worst = 0;
      for (let i = 0; i < size; i++)
        for (let j = 0; j < columns; j++) {
          let sum = 0;
          for (let k = 0; k < size; k++) sum += (s[i * size + k] as number) * (x[k * columns + j] as number);
          worst = Math.max(worst, Math.abs(sum - (b[i * columns + j] as number)));
        }
      assert.ok(worst < 1e-12, `${worst}`);
    });

  it("are solved in float32 too", async () => {
    const [size, columns] = [200, 33];
    const [s, b] = [positive(size, 20), noise(2, size * columns)];
    const expected = await solved(pools[0] as ComputePool, s, size, b, columns);
    for (const pool of pools) {
      const space = poolSpace(pool);
      const [matrix, right] = [space.zeros(size, size), space.zeros(size, columns)];
      matrix.data.set(s);
      right.data.set(b);
      assert.equal(await space.solvePositive(matrix.data, size, right.data, columns), true);
      for (let i = 0; i < right.data.length; i++) assert.ok(Math.abs((right.data[i] as number) - (expected?.[i] as number)) < 2e-6, `${i}`);
      matrix.data.set(s.map((x, i) => (i === 150 * (size + 1) ? -1 : x)));
      assert.equal(await space.solvePositive(matrix.data, size, right.data, columns), false);
      space.close();
      assert.equal(pool.arena.usedBytes, 0);
    }
  });

  it("are given up soon after a signal, with all memory given back", async () => {
    const [size, columns] = [1200, 1200];
    const s = new Float64Array(size * size);
    for (let i = 0; i < size; i++) s[i * (size + 1)] = 2;
    const stop = new AbortController();
    let stopped = 0;
    setTimeout(() => {
      stopped = performance.now();
      stop.abort();
    }, 50);
    const pool = pools[0] as ComputePool;
    await assert.rejects(solved(pool, s, size, new Float64Array(size * columns), columns, stop.signal), /cancelled/);
    assert.ok(performance.now() - stopped < 1000);
    assert.equal(pool.arena.usedBytes, 0);
  });

  it("are refused where the matrix is not positive definite", async () => {
    const s = positive(200, 10);
    s[150 * 201] = -1;
    assert.equal(await solved(pools[0] as ComputePool, s, 200, noise(2, 200), 1), undefined);
    assert.equal(await plainSpace().solvePositive(s, 200, noise(2, 200), 1), false);
  });

  it("come from Gram matrices of rows, the lower triangle as the plain space has it", () => {
    const [rows, columns] = [70, 333];
    const y = noise(3, rows * columns);
    const space = poolSpace(pools[1] as ComputePool);
    const [rowsThere, found, expected] = [space.doubles(y.length), space.doubles(rows * rows), new Float64Array(rows * rows)];
    rowsThere.set(y);
    atOnce(space.gramDoubles(rowsThere, rows, columns, found));
    atOnce(plainSpace().gramDoubles(y, rows, columns, expected));
    for (let i = 0; i < rows; i++)
      for (let j = 0; j <= i; j++) assert.ok(Math.abs((found[i * rows + j] as number) - (expected[i * rows + j] as number)) < 1e-12);
    space.close();
  });
});

describe("Gram matrices in float32", () => {
  it("are the product with the transpose, exactly symmetric, the same for any threads", async () => {
    const found: number[][] = [];
    for (const threads of [1, 3]) {
      const pool = createPool({ threads });
      const space = poolSpace(pool);
      const a = space.zeros(201, 300);
      a.data.set(Float32Array.from(noise(4, a.data.length)));
      const gram = atOnce(space.gram(a));
      assert.deepEqual([...gram.data], [...space.product(a, a, { transposeB: true }).data]);
      for (let i = 0; i < 201; i++) for (let j = 0; j < i; j++) assert.equal(gram.data[i * 201 + j], gram.data[j * 201 + i]);
      found.push([...gram.data]);
      await pool.close();
    }
    assert.deepEqual(found[0], found[1]);
  });
});
