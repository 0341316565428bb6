// Values kept between passes: the same results whether memory allows it or not.
import assert from "node:assert/strict";
import * as e from "../../merge-core/compute/expr.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { createReferenceEngine, encodeOutput } from "../../merge-core/compute/reference.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import { randomWeights, SPECIALS } from "../helpers/floats.ts";

const SIZE = 100_003;

describe("kept values", () => {
  const inputs = [1, 2].map((seed) => randomWeights(SIZE, seed));
  inputs[0]?.set(SPECIALS, 5000);
  const delta = e.sub(e.input(1), e.input(0));
  const [first, second] = [e.kept(e.mul(delta, delta)), e.kept(e.abs(delta))];
  const draw = e.bernoulli(e.constant(0.5), { model: 1, purpose: 0 });
  const result = e.add(e.select(draw, first, e.input(0)), e.mul(second, e.perColumn(randomWeights(SIZE, 3))));
  const reference = createReferenceEngine({ name: "w", shape: [SIZE], seed: 7, inputs });

  for (const threads of [1, 2])
    for (const [memoryBytes, isKept] of [
      [1 << 24, true],
      [900_000, false],
    ] as const)
      it(`are ${isKept ? "there" : "worked out"} for the next pass, ${threads} threads`, async () => {
        const pool = createPool({ threads });
        const places = inputs.map((values) => ({ dtype: "F32" as const, bytes: encodeOutput("F32", values) }));
        const engine = openTensorEngine(pool, { name: "w", shape: [SIZE], seed: 7, inputs: places, output: { dtype: "F32" }, memoryBytes });
        const items = [100, 60_000].map((keep) => ({ x: second, keep }));
        const reductions = [{ op: "countNonZero", x: draw } as const];
        assert.deepEqual(await engine.selectAndSurvey(items, reductions), await reference.selectAndSurvey(items, reductions));
        assert.deepEqual(await engine.reduce([{ op: "maxAbs", x: e.select(e.compare("lt", first, e.constant(1)), first, e.constant(0)) }]), [
          reference.write(first).reduce((most, x) => (x < 1 ? Math.max(most, x) : most), 0),
        ]);
        assert.equal(pool.arena.usedBytes >= 2 * 4 * SIZE, isKept);
        assert.deepEqual((await engine.write(result)).bytes?.slice(), encodeOutput("F32", reference.write(result)));
        engine.close();
        assert.equal(pool.arena.usedBytes, 0);
        await pool.close();
      });
});
