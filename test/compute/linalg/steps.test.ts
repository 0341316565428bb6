// Long work in steps: it gives up soon after the signal, gives its memory back, and lets others run meanwhile.
import assert from "node:assert/strict";
import { gemmSymmetric, matrix as view } from "../../../merge-core/compute/gemm.ts";
import { plainSpace } from "../../../merge-core/compute/linalg/plain-space.ts";
import { polarFactor } from "../../../merge-core/compute/linalg/polar.ts";
import { type PoolSpace, poolSpace } from "../../../merge-core/compute/linalg/pool-space.ts";
import { atOnce, awaited, inTurns, type Steps, turns } from "../../../merge-core/compute/linalg/steps.ts";
import { DOUBLE, multiply, rowMajor, SET, transposed } from "../../../merge-core/compute/linalg/strided.ts";
import { svd } from "../../../merge-core/compute/linalg/svd.ts";
import { symmetricEigen, symmetricEigenSteps } from "../../../merge-core/compute/linalg/symmetric-eigen.ts";
import { createPool } from "../../../merge-core/compute/pool.ts";
import { rejectsWith } from "../../helpers/diagnostics.ts";

/** Cheap, for millions of them. */
const noise = (size: number): Float32Array => new Float32Array(size).map((_, i) => ((i * 7919 + i ** 2) % 10007) / 10007 - 0.5);

/** Milliseconds from the signal to the end of the work, which must be long. */
async function timeToStop(work: (signal: AbortSignal) => Promise<unknown>): Promise<number> {
  const stop = new AbortController();
  let at = Number.NaN;
  setTimeout(() => {
    at = performance.now();
    stop.abort();
  }, 250);
  await rejectsWith("cancelled", () => work(stop.signal));
  return performance.now() - at;
}

describe("long decompositions", () => {
  const matrix = (space: PoolSpace, rows: number, columns: number) => {
    const a = space.zeros(rows, columns);
    a.data.set(noise(a.data.length));
    return a;
  };
  for (const [name, work] of [
    ["all singular values", (space: PoolSpace) => svd(space, matrix(space, 1200, 1200))],
    ["leading singular values", (space: PoolSpace) => svd(space, matrix(space, 1600, 1600), 600)],
    ["the polar factor", (space: PoolSpace) => polarFactor(space, matrix(space, 1800, 1800))],
  ] as const)
    for (const threads of [1, 2])
      it(`of ${name} stop within a second of the signal, on ${threads} threads, and give their memory back`, async () => {
        const pool = createPool({ threads });
        const ms = await timeToStop(async (signal) => {
          const space = poolSpace(pool, signal);
          try {
            await work(space);
          } finally {
            space.close();
          }
        });
        assert.equal(pool.arena.usedBytes, 0);
        await pool.close();
        assert.ok(ms < 1000, `${ms} ms`);
      });

  it("of eigenvalues stop too", async () => {
    const n = 1200;
    const ms = await timeToStop((signal) => inTurns(symmetricEigenSteps(new Float64Array(noise(n * n)), n), turns(signal)));
    assert.ok(ms < 1000, `${ms} ms`);
  });

  it("are in steps what they are at one go", async () => {
    const n = 40;
    const values = new Float64Array(noise(n * n));
    assert.deepEqual(await inTurns(symmetricEigenSteps(values, n), turns()), symmetricEigen(values, n));
  });

  it("make a triangle a few rows at a time as they make it whole, to the same bits", async () => {
    const [rows, columns] = [201, 150];
    const pool = createPool({ threads: 3 });
    const space = poolSpace(pool);
    const a = matrix(space, rows, columns);
    const [whole, single] = [atOnce(space.gram(a)), space.zeros(rows, rows)];
    const of = { rows, depth: columns, a: view(a.data.byteOffset, rows, columns), b: view(a.data.byteOffset, rows, columns, true), c: single.data.byteOffset };
    const [y, wholeDouble, double] = [space.doubles(rows * columns), space.doubles(rows * rows), space.doubles(rows * rows)];
    y.set(a.data);
    atOnce(space.gramDoubles(y, rows, columns, wholeDouble));
    const left = rowMajor(DOUBLE, y.byteOffset, columns);
    for (const [from, to] of [
      [0, 30],
      [30, 190],
      [190, rows],
    ] as const) {
      gemmSymmetric(pool, of, from, to);
      const c = rowMajor(DOUBLE, double.byteOffset, rows);
      multiply(pool, { rows: to, columns: to, depth: columns, a: left, b: transposed(left), c, mode: SET, lower: true, first: from });
    }
    for (let i = 0; i < rows; i++)
      for (let j = 0; j <= i; j++) {
        assert.equal(single.data[i * rows + j], whole.data[i * rows + j]);
        assert.equal(double[i * rows + j], wholeDouble[i * rows + j]);
      }
    space.close();
    await pool.close();
  });
});

describe("steps", () => {
  it("wait for what another thread does, or give it up at the signal", async () => {
    function* work(): Steps<number> {
      return (yield* awaited(new Promise<number>((resolve) => setTimeout(() => resolve(20), 20)))) + 1;
    }
    assert.equal(await inTurns(work(), turns()), 21);
    assert.throws(() => atOnce(work()), TypeError);
    const stop = new AbortController();
    const never = inTurns(awaited(new Promise<number>(() => {})), turns(stop.signal));
    stop.abort();
    await rejectsWith("cancelled", () => never);
    await assert.rejects(inTurns(awaited(Promise.reject(new RangeError("no"))), turns()), RangeError);
  });

  it("end by their finally where they are given up", async () => {
    let freed = false;
    function* work(): Steps<void> {
      try {
        for (;;) yield undefined;
      } finally {
        freed = true;
      }
    }
    await rejectsWith("cancelled", () => inTurns(work(), turns(AbortSignal.abort())));
    assert.ok(freed);
  });

  it("of the plain space leave turns to others", async () => {
    let turned = 0;
    const timer = setInterval(() => turned++, 10);
    const a = { rows: 160, columns: 160, data: noise(160 * 160) };
    await svd(plainSpace(), a);
    clearInterval(timer);
    assert.ok(turned > 0);
  });
});
