// Methods that take statistics of the models on their data: worked examples, an independent golden, laws, and what they cannot take.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createPool } from "../../merge-core/compute/pool.ts";
import { createReferenceEngine } from "../../merge-core/compute/reference.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import type { MergeInput } from "../../merge-core/methods/method.ts";
import { findMethod } from "../../merge-core/methods/registry.ts";
import { arrayTask } from "../helpers/merge-arrays.ts";
import { near } from "../helpers/near.ts";

interface Model {
  readonly values: readonly number[];
  readonly fisher?: readonly number[];
  readonly gram?: readonly number[];
  readonly weight?: number;
}

interface Given {
  readonly shape?: readonly number[];
  readonly side?: "rows" | "columns";
  readonly parameters?: Record<string, number>;
  readonly warnings?: Omit<Diagnostic, "severity">[];
}

/** As a run does it: statistics first if there are any, Fisher information after the models' tensors. */
async function merge(id: "fisher" | "regmean" | "ssd", models: readonly Model[], { shape, side = "columns", parameters = {}, warnings = [] }: Given = {}) {
  const method = findMethod(id);
  assert.ok(method);
  const plain = arrayTask(
    id,
    models.map(({ values, weight = 1 }) => ({ values, parameters: { weight } })),
    { parameters, ...(shape && { shape }) },
    warnings,
  );
  const inputs = plain.inputs.map(
    (input, i): MergeInput => ({
      ...input,
      ...(models[i]?.fisher && { fisher: models.length + i }),
      ...(models[i]?.gram && { gram: { side, read: async (target: Float32Array) => target.set(models[i]?.gram ?? []) } }),
    }),
  );
  const fishers = models.flatMap(({ fisher }) => (fisher ? [Float32Array.from(fisher)] : []));
  const values = [...models.map((model) => Float32Array.from(model.values)), ...fishers];
  const engine = createReferenceEngine({ name: plain.name, shape: plain.shape, seed: 0, inputs: values });
  const task = { ...plain, inputs, others: inputs };
  const applies = method.statistic?.applies(task, engine.size) === true;
  const statistics = applies ? method.statistic?.conclude(await method.statistic.gather(task, engine, {}), {}) : {};
  return engine.write(await method.merge({ ...task, statistics: statistics ?? {} }, engine));
}

describe("fisher", () => {
  const F1 = [4, 0, 1e-9, 1];
  const F2 = [1, 2, 0, 1];
  const [ones, threes] = [
    [1, 1, 1, 1],
    [3, 3, 3, 3],
  ] as const;

  it("of the worked example: normalised, with a floor for the first model", async () => {
    const merged = await merge("fisher", [
      { values: ones, fisher: F1, weight: 0.5 },
      { values: threes, fisher: F2, weight: 0.5 },
    ]);
    near(merged, [1.592355, 2.999999, 1, 2.254635], 1e-6);
  });

  it("neither normalised nor with a floor is the mean by information; where there is none the first model stays", async () => {
    const parameters = { normalize: 0, floor: 0 };
    const merged = await merge(
      "fisher",
      [
        { values: ones, fisher: [4, 0, 0, 1] },
        { values: threes, fisher: [1, 2, 0, 1] },
      ],
      { parameters },
    );
    near(merged, [1.4, 3, 1, 2], 1e-6);
  });

  it("with the floor for all is the mean where no model cares", async () => {
    const merged = await merge(
      "fisher",
      [
        { values: ones, fisher: [0, 1] },
        { values: threes, fisher: [0, 1] },
      ].map(({ values, fisher }) => ({ values: values.slice(0, 2), fisher })),
      { parameters: { favor_first: 0, normalize: 0 } },
    );
    near(merged, [2, 2], 1e-6);
  });

  it("with equal information is the weighted mean, and does not depend on its scale when normalised", async () => {
    const [x, y] = [
      [1, -2, 3, 0.5],
      [2, 4, -1, 0.25],
    ] as const;
    const fisher = [1, 2, 3, 4];
    near(
      await merge("fisher", [
        { values: x, fisher, weight: 1 },
        { values: y, fisher: fisher.map((f) => f * 1024), weight: 3 },
      ]),
      x.map((value, i) => (value + 3 * (y[i] ?? 0)) / 4),
      1e-6,
    );
  });

  it("of a model whose information is all zero leaves the others", async () => {
    const merged = await merge("fisher", [
      { values: ones, fisher: F2 },
      { values: threes, fisher: [0, 0, 0, 0] },
    ]);
    near(merged, ones, 0);
  });

  it("without files averages by weight; a NaN in the information is passed on", async () => {
    near(
      await merge("fisher", [
        { values: ones, weight: 1 },
        { values: threes, weight: 3 },
      ]),
      [2.5, 2.5, 2.5, 2.5],
      1e-6,
    );
    const merged = await merge(
      "fisher",
      [
        { values: ones, fisher: [1, 1, 1, 1] },
        { values: threes, fisher: [Number.NaN, 1, 1, 1] },
      ],
      { parameters: { normalize: 0 } },
    );
    assert.deepEqual([...merged].map(Number.isFinite), [false, true, true, true]);
  });
});

describe("regmean", () => {
  it("gives up a long solve soon after the signal", async () => {
    const side = 1400;
    const stop = new AbortController();
    let stopped = 0;
    const gram = {
      side: "columns" as const,
      read: async (target: Float32Array) => {
        for (let i = 0; i < side; i++) target[i * (side + 1)] = 1;
        setTimeout(() => {
          stopped = performance.now();
          stop.abort();
        }, 10);
      },
    };
    const models = [1, 2].map((seed) => Float32Array.from({ length: side * side }, (_, i) => Math.sin(seed * i)));
    const plain = arrayTask(
      "regmean",
      models.map(() => ({ values: [], parameters: { weight: 1 } })),
      { shape: [side, side] },
      [],
    );
    const inputs = plain.inputs.map((input) => ({ ...input, gram }));
    const pool = createPool({ threads: 1 });
    const places = models.map((values) => ({ dtype: "F32" as const, bytes: new Uint8Array(values.buffer) }));
    const task = { name: "w", shape: [side, side], seed: 0, inputs: places, output: { dtype: "F32" as const }, memoryBytes: 2 ** 28, signal: stop.signal };
    const engine = openTensorEngine(pool, task);
    await assert.rejects(async () => findMethod("regmean")?.merge({ ...plain, inputs, others: inputs, statistics: {} }, engine), /cancelled/);
    assert.ok(performance.now() - stopped < 1000, `${performance.now() - stopped} ms`);
    engine.close();
    assert.equal(pool.arena.usedBytes, 0);
    await pool.close();
  });

  // The worked example is for weights with a row per input.
  const W1 = [1, 0, 0, 1];
  const W2 = [0, 2, 2, 0];
  const G1 = [2, 1, 1, 2];
  const G2 = [1, 0, 0, 3];
  const models = [
    { values: W1, gram: G1 },
    { values: W2, gram: G2 },
  ];
  const transposed = ([a = 0, b = 0, c = 0, d = 0]: readonly number[]) => [a, c, b, d];
  const expected = new Map([
    [1, [0.214286, 0.928571, 1.357143, 0.214286]],
    [0.9, [0.267089, 0.894996, 1.331924, 0.238901]],
  ]);

  it("of the worked example, with inputs along rows and along columns", async () => {
    for (const [alpha, result] of expected) {
      near(await merge("regmean", models, { shape: [2, 2], side: "rows", parameters: { alpha } }), result, 1e-6);
      const turned = models.map((model) => ({ ...model, values: transposed(model.values) }));
      near(await merge("regmean", turned, { shape: [2, 2], parameters: { alpha } }), transposed(result), 1e-6);
    }
  });

  it("uses 0.9 unless told otherwise", async () => {
    near(await merge("regmean", models, { shape: [2, 2], side: "rows" }), expected.get(0.9) ?? [], 1e-6);
  });

  it("with equal Gram matrices is the mean, to the bit", async () => {
    const same = models.map(({ values }) => ({ values, gram: [5, 1, 1, 3] }));
    assert.deepEqual([...(await merge("regmean", same, { shape: [2, 2] }))], [0.5, 1, 1, 0.5]);
  });

  it("of one model is the model, to the bit", async () => {
    assert.deepEqual([...(await merge("regmean", models.slice(0, 1), { shape: [2, 2] }))], W1);
  });

  it("with alpha 0 is a mean weighted by input", async () => {
    // Column j by G[j][j]: (1*2 + 0*1)/3, (0*2 + 2*3)/5; (0*2 + 2*1)/3, (1*2 + 0*3)/5.
    near(await merge("regmean", models, { shape: [2, 2], parameters: { alpha: 0 } }), [2 / 3, 6 / 5, 2 / 3, 2 / 5], 1e-6);
  });

  it("weighs models by their weights", async () => {
    const twice = [{ ...models[0], gram: G1.map((x) => 2 * x) }, models[1]] as Model[];
    const weighted = [{ ...models[0], weight: 2 }, models[1]] as Model[];
    near(await merge("regmean", weighted, { shape: [2, 2] }), await merge("regmean", twice, { shape: [2, 2] }), 1e-6);
  });

  it("averages weights of inputs that never occur, and says so", async () => {
    const warnings: Omit<Diagnostic, "severity">[] = [];
    const dead = [
      { values: W1, gram: [1, 0, 0, 0] },
      { values: W2, gram: [3, 0, 0, 0] },
    ];
    near(await merge("regmean", dead, { shape: [2, 2], warnings }), [0.25, 1, 1.5, 0.5], 1e-5);
    assert.deepEqual(
      warnings.map(({ code }) => code),
      ["gram-singular"],
    );
  });

  it("averages what it has no usable Gram matrix for, and says why", async () => {
    for (const gram of [
      [0, 0, 0, 0],
      [Number.NaN, 0, 0, 1],
      [1, 5, 5, 1],
    ]) {
      const warnings: Omit<Diagnostic, "severity">[] = [];
      const merged = await merge(
        "regmean",
        models.map(({ values }) => ({ values, gram })),
        { shape: [2, 2], warnings },
      );
      near(merged, [0.5, 1, 1, 0.5], 0);
      assert.deepEqual(
        warnings.map(({ code }) => code),
        ["gram-unusable"],
      );
    }
    near(await merge("regmean", [{ values: W1 }, { values: W2, weight: 3 }]), [0.25, 1.5, 1.5, 0.25], 1e-6);
  });

  it("averages weights that are not finite", async () => {
    const warnings: Omit<Diagnostic, "severity">[] = [];
    const merged = await merge(
      "regmean",
      [
        { values: [Number.NaN, 0, 0, 1], gram: G1 },
        { values: W2, gram: G2 },
      ],
      { shape: [2, 2], warnings },
    );
    assert.deepEqual([...merged].slice(1), [1, 1, 0.5]);
    assert.equal(warnings[0]?.code, "matrix-not-finite");
  });
});

describe("statistics methods agree with the authors' formulas in float64", () => {
  interface Golden {
    readonly shape: readonly [number, number];
    readonly models: readonly { readonly weights: number[]; readonly gram: number[]; readonly fisher: number[] }[];
    readonly regmean: Record<string, number[]>;
    readonly fisher: number[];
  }
  const golden = JSON.parse(readFileSync("test/fixtures/oracles/statistics/golden.json", "utf8")) as Golden;
  const { shape } = golden;

  it("regmean at several alphas", async () => {
    for (const [alpha, expected] of Object.entries(golden.regmean)) {
      const merged = await merge(
        "regmean",
        golden.models.map(({ weights, gram }) => ({ values: weights, gram })),
        { shape, parameters: { alpha: Number(alpha) } },
      );
      near(merged, expected, 2e-5, `alpha ${alpha}`);
    }
  });

  it("fisher", async () => {
    const merged = await merge(
      "fisher",
      golden.models.map(({ weights, fisher }, i) => ({ values: weights, fisher, weight: i + 1 })),
      { shape },
    );
    near(merged, golden.fisher, 2e-6);
  });
});

describe("ssd", () => {
  const dampen = (parameters: Record<string, number>) =>
    merge(
      "ssd",
      [
        { values: [1, -2, 3], fisher: [20, 5, 30] },
        { values: [1, -2, 3], fisher: [1, 1, 2] },
      ],
      { parameters },
    );

  it("of the worked example: weights above the threshold shrink by the ratio of information", async () => {
    near(await dampen({ alpha: 10 }), [0.05, -2, 0.2], 1e-7);
  });

  it("dampens more with a smaller lambda, never enlarges, and leaves all below the threshold", async () => {
    near(await dampen({ alpha: 10, lambda: 0.5 }), [0.025, -2, 0.1], 1e-7);
    near(await dampen({ alpha: 1, lambda: 10 }), [0.5, -2, 2], 1e-6);
    near(await dampen({ alpha: 20 }), [1, -2, 3], 0);
  });

  it("deletes what matters to the forgotten alone, and keeps tensors without information", async () => {
    const fisher = { forget: [1, 0], keep: [0, 0] };
    const pair = [
      { values: [7, 7], fisher: fisher.forget },
      { values: [7, 7], fisher: fisher.keep },
    ];
    near(await merge("ssd", pair), [0, 7], 0);
    near(await merge("ssd", [{ values: [7] }, { values: [7] }]), [7], 0);
  });
});
