import assert from "node:assert/strict";
import { gemm, type MatrixView, matrix } from "../../merge-core/compute/gemm.ts";
import { type ComputePool, createPool } from "../../merge-core/compute/pool.ts";

/** Deterministic values in [-0.5, 0.5). */
function values(count: number, seed: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  });
}

interface Case {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly batch?: number;
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly repeatB?: boolean;
  readonly accumulate?: boolean;
}

/** The same product in float64, one dot product an element, and the size of its terms, which rounding errors are in proportion to. */
function oracle(c: Case, a: Float32Array, b: Float32Array, start: Float32Array): { out: Float64Array; terms: Float64Array } {
  const { m, n, k, batch = 1 } = c;
  const out = new Float64Array(batch * m * n);
  const terms = new Float64Array(batch * m * n);
  for (let g = 0; g < batch; g++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = c.accumulate ? (start[(g * m + i) * n + j] as number) : 0;
        for (let p = 0; p < k; p++) {
          const x = a[g * m * k + (c.transposeA ? p * m + i : i * k + p)] as number;
          const y = b[(c.repeatB ? 0 : g * k * n) + (c.transposeB ? j * k + p : p * n + j)] as number;
          sum += x * y;
          terms[(g * m + i) * n + j]! += Math.abs(x * y);
        }
        out[(g * m + i) * n + j] = sum;
      }
    }
  }
  return { out, terms };
}

function compute(pool: ComputePool, c: Case, a: Float32Array, b: Float32Array, start: Float32Array): Float32Array {
  const { m, n, k, batch = 1 } = c;
  const put = (data: Float32Array): number => {
    const address = pool.arena.alloc(data.byteLength);
    new Float32Array(pool.memory.buffer, address, data.length).set(data);
    return address;
  };
  const [pa, pb, pc] = [put(a), put(b), put(start)] as const;
  const viewA = c.transposeA ? matrix(pa, k, m, true) : matrix(pa, m, k);
  const viewB: MatrixView = c.transposeB ? matrix(pb, n, k, true) : matrix(pb, k, n);
  gemm(pool, {
    rows: m,
    columns: n,
    depth: k,
    batch,
    a: viewA,
    b: c.repeatB ? { ...viewB, batchStride: 0 } : viewB,
    c: matrix(pc, m, n),
    accumulate: c.accumulate ?? false,
  });
  const out = new Float32Array(pool.memory.buffer, pc, batch * m * n).slice();
  for (const address of [pa, pb, pc]) pool.arena.free(address);
  return out;
}

function check(pool: ComputePool, c: Case): Float32Array {
  const batch = c.batch ?? 1;
  const a = values(batch * c.m * c.k, 1);
  const b = values(batch * c.k * c.n, 2);
  const start = values(batch * c.m * c.n, 3);
  const { out: expected, terms } = oracle(c, a, b, start);
  const actual = compute(pool, c, a, b, start);
  // Rounding errors of a sum behave like a random walk: sqrt(k) steps of half a unit in the last place.
  expected.forEach((x, i) => {
    const off = Math.abs(x - (actual[i] as number));
    assert.ok(off <= 2 ** -24 * (Math.sqrt(c.k) + 2) * ((terms[i] as number) + 1), `${JSON.stringify(c)}: element ${i} is off by ${off}`);
  });
  return actual;
}

describe("gemm", () => {
  const pools = [1, 2, 3].map((threads) => createPool({ threads }));
  const [pool] = pools as [ComputePool];
  after(() => Promise.all(pools.map((p) => p.close())));

  it("agrees with float64 sums for odd sizes and every transposition", () => {
    const sizes: [number, number, number][] = [
      [1, 1, 1],
      [1, 9, 5],
      [5, 1, 7],
      [4, 8, 16],
      [7, 13, 3],
      [3, 17, 257],
      [130, 11, 259],
      [33, 70, 64],
    ];
    for (const [m, n, k] of sizes) {
      for (const transposeA of [false, true]) for (const transposeB of [false, true]) check(pool, { m, n, k, transposeA, transposeB });
    }
  });

  it("handles more columns than one packed panel holds", () => {
    check(pool, { m: 2, n: 2051, k: 5 });
    check(pool, { m: 2, n: 2051, k: 5, transposeB: true });
  });

  it("gives zeros for empty sums and nothing for empty matrices", () => {
    assert.deepEqual([...check(pool, { m: 3, n: 5, k: 0 })], new Array(15).fill(0));
    check(pool, { m: 0, n: 5, k: 2 });
  });

  it("adds to what is there when asked to", () => {
    check(pool, { m: 5, n: 9, k: 300, accumulate: true });
    check(pool, { m: 5, n: 9, k: 0, accumulate: true });
  });

  it("multiplies batches, repeating a matrix where the stride is zero", () => {
    check(pool, { m: 5, n: 6, k: 7, batch: 4, transposeB: true });
    check(pool, { m: 5, n: 6, k: 7, batch: 3, transposeA: true, repeatB: true });
  });

  it("gives the same bits on one, two and three threads", () => {
    const cases: Case[] = [
      { m: 203, n: 101, k: 307 },
      { m: 61, n: 403, k: 270, transposeA: true },
      { m: 90, n: 41, k: 200, batch: 5, transposeB: true },
    ];
    for (const c of cases) {
      const [one, ...others] = pools.map((p) => check(p, c));
      for (const other of others) assert.deepEqual(other, one);
    }
  });
});
