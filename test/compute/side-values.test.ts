// Values per row and column, and ranks within rows: the engine on the pool against the plain one.
import assert from "node:assert/strict";
import * as e from "../../merge-core/compute/expr.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { createReferenceEngine, encodeOutput } from "../../merge-core/compute/reference.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import { randomWeights } from "../helpers/floats.ts";

/** Worked out on two threads. */
async function ranksOf(values: readonly number[], columns: number): Promise<number[]> {
  const pool = createPool({ threads: 2 });
  const inputs = [{ dtype: "F32" as const, bytes: encodeOutput("F32", Float32Array.from(values)) }];
  const shape = [values.length / columns, columns];
  const engine = openTensorEngine(pool, { name: "w", shape, seed: 7, inputs, output: { dtype: "F32" }, memoryBytes: 1 << 24 });
  const ranks = await engine.values(e.rowRank(e.input(0)));
  engine.close();
  await pool.close();
  return [...ranks];
}

describe("ranks within rows", () => {
  it("go by magnitude, ties by index, from 0 to 1", async () => {
    assert.deepEqual(
      (await ranksOf([3, -1, 2, -2, 0, 0, 9, -8], 4)).map((r) => Math.round(3 * r)),
      [3, 0, 1, 2, 0, 1, 3, 2],
    );
  });

  it("put NaN above infinity", async () => {
    assert.deepEqual(await ranksOf([Number.NaN, 1, -Infinity], 3), [1, 0, 0.5]);
  });

  it("are a half where a row has one element", async () => {
    assert.deepEqual(await ranksOf([1, 5], 1), [0.5, 0.5]);
  });
});

describe("side values on the pool", () => {
  for (const [rows, columns] of [
    [350, 37],
    [3, 4096],
    [2, 9001],
    [9000, 1],
  ] as const) {
    it(`are those of the plain engine, ${rows} rows of ${columns}`, async () => {
      const size = rows * columns;
      const inputs = [1, 2].map((seed) => randomWeights(size, seed));
      const [perRow, perColumn] = [e.perRow(randomWeights(rows, 3)), e.perColumn(randomWeights(columns, 4))];
      const delta = e.sub(e.input(1), e.input(0));
      const rank = e.rowRank(e.mul(delta, perColumn));
      const kept = e.select(e.bernoulli(rank, { model: 1, purpose: 0 }), delta, e.constant(0));
      const expr = e.add(
        e.linear([
          { weight: 0.5, x: e.mul(perRow, e.input(0)) },
          { weight: 0.25, x: e.mul(perColumn, kept) },
        ]),
        rank,
      );
      const reference = createReferenceEngine({ name: "w", shape: [rows, columns], seed: 7, inputs });
      const [values, sum, selection] = [
        reference.write(expr),
        await reference.reduce([{ op: "sumAbs", x: expr }]),
        await reference.selectLargest([{ x: expr, keep: 1000 }]),
      ];
      for (const threads of [1, 2])
        for (const memoryBytes of [1 << 24, 900_000]) {
          const pool = createPool({ threads });
          const places = inputs.map((input) => ({ dtype: "F32" as const, bytes: encodeOutput("F32", input) }));
          const engine = openTensorEngine(pool, {
            name: "w",
            shape: [rows, columns],
            seed: 7,
            inputs: places,
            output: { dtype: "F32" },
            memoryBytes,
            tileBytes: 16384,
          });
          assert.deepEqual(await engine.reduce([{ op: "sumAbs", x: expr }]), sum);
          assert.deepEqual(await engine.selectLargest([{ x: expr, keep: 1000 }]), selection);
          const { bytes } = await engine.write(expr);
          assert.deepEqual(bytes?.slice(), encodeOutput("F32", values));
          engine.close();
          await pool.close();
        }
    });
  }
});
