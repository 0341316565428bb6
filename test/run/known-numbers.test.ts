import assert from "node:assert/strict";
import { join } from "node:path";
import type { TensorEngine } from "../../merge-core/compute/engine.ts";
import { constant, type Expr, input, mul, perRow, sub } from "../../merge-core/compute/expr.ts";
import { type ComputePool, createPool } from "../../merge-core/compute/pool.ts";
import { planRecipe } from "../../merge-core/evaluate/evaluators.ts";
import type { MergeJob } from "../../merge-core/plan/plan.ts";
import { KnownNumbers } from "../../merge-core/run/known-numbers.ts";
import { mergeTensors } from "../../merge-core/run/merge-tensors.ts";

const ZOO = "media/zoo";

const recipe = (method: string, model: object, global: object = {}): string =>
  JSON.stringify({
    merge_method: method,
    base_model: join(ZOO, "base"),
    models: ["add", "sort", "shift"].map((name, i) => ({ model: join(ZOO, name), parameters: { weight: 0.3 + i / 10, ...model } })),
    parameters: global,
    dtype: "bfloat16",
  });

/** Answers with the number of questions so far. */
class CountingEngine {
  asked = 0;
  readonly shape = [4];
  readonly size = 4;
  readonly inputCount = 2;
  reduce = async (xs: readonly unknown[]): Promise<number[]> => xs.map(() => ++this.asked);
}

describe("numbers known from the last merge", () => {
  const job = (parameters: object, offset = 0) =>
    ({ kind: "merge", name: "t", shape: [4], inputs: [{ file: "a", offset, dtype: "F32", parameters }] }) as unknown as MergeJob;
  const formula = (weight: number): Expr => mul(sub(input(0), input(1)), constant(weight));
  const engineOf = (counting: CountingEngine) => counting as unknown as TensorEngine;

  it("are not asked for again", async () => {
    const [known, counting] = [new KnownNumbers(), new CountingEngine()];
    const ask = (weight: number, x: Expr, offset = 0, seed = 0) => known.engine(job({ weight }, offset), seed, engineOf(counting)).reduce([{ op: "sum", x }]);
    assert.deepEqual(await ask(1, formula(2)), [1]);
    assert.deepEqual(await ask(2, formula(2)), [1], "the same formula, written anew");
    assert.deepEqual(await ask(3, formula(3)), [2], "another constant");
    assert.deepEqual(await ask(3, formula(2)), [3], "only the last merge is remembered");
    assert.deepEqual(await ask(3, formula(2), 4), [4], "another input");
    assert.deepEqual(await ask(3, formula(2), 4, 1), [5], "another seed");
    assert.deepEqual(await ask(3, formula(2), 4, 1), [5]);
    assert.deepEqual(await ask(3, mul(formula(2), perRow(Float32Array.of(1))), 4, 1), [6]);
    assert.deepEqual(await ask(3, mul(formula(2), perRow(Float32Array.of(1))), 4, 1), [7], "of arrays nobody knows whether they changed");
  });

  it("are the caller's own", async () => {
    const [known, counting] = [new KnownNumbers(), new CountingEngine()];
    const ask = () => known.engine(job({}), 0, engineOf(counting)).reduce([{ op: "sum", x: input(0) }]);
    (await ask()).fill(77);
    (await ask()).fill(78);
    assert.deepEqual(await ask(), [1]);
  });

  it("find shared parts of formulas once", async () => {
    const [known, counting] = [new KnownNumbers(), new CountingEngine()];
    // Two to the hundredth ways down.
    const deep = () => Array.from({ length: 100 }).reduce((x: Expr) => mul(x, x), input(0));
    const ask = () => known.engine(job({}), 0, engineOf(counting)).reduce([{ op: "sum", x: deep() }]);
    assert.deepEqual(await ask(), [1]);
    assert.deepEqual(await ask(), [1]);
  });

  describe("in merges of the sample models", () => {
    let pool: ComputePool;
    before(() => {
      pool = createPool({ threads: 2 });
    });
    after(() => pool.close());

    const CANDIDATES: Readonly<Record<string, readonly (readonly [object, object?])[]>> = {
      ties: [[{ density: 0.2 }], [{ density: 0.2, weight: 0.9 }], [{ density: 0.5 }]],
      pcb: [[{}], [{ weight: 0.7 }], [{}, { ratio: 0.2 }], [{}, { quantile: 0.1, ratio: 0.2 }]],
      breadcrumbs: [[{ density: 0.8 }], [{ weight: 2 }], [{ gamma: 0.05 }]],
      sce: [
        [{}, { select_topk: 0.3 }],
        [{}, { select_topk: 0.6 }],
      ],
      model_stock: [[{}]],
    };
    for (const [method, candidates] of Object.entries(CANDIDATES))
      it(`change no byte of ${method}`, async () => {
        const known = new KnownNumbers();
        for (const [model, global] of [...candidates, ...candidates]) {
          const weights = method === "sce" || method === "model_stock" ? { weight: undefined } : {};
          const plan = await planRecipe({ text: recipe(method, { ...model, ...weights }, global), file: "known.yml" });
          assert.deepEqual(await mergeTensors(plan, { pool, known }), await mergeTensors(plan, { pool }));
        }
      });
  });
});
