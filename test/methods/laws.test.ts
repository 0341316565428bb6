// Laws that hold whatever the numbers are.
import assert from "node:assert/strict";
import { randomKey, uniforms } from "../../merge-core/compute/rng.ts";
import { methods } from "../../merge-core/methods/registry.ts";
import { isLegal } from "../../merge-core/recipe/resolve-parameters.ts";
import { type ArrayModel, arrayTask, mergeArrays } from "../helpers/merge-arrays.ts";

/** Seeded values in [-1, 1), eight binary digits, so that sums of a few are exact in float32. */
function values(seed: number, size: number): Float32Array {
  return uniforms(randomKey(seed, "law"), { model: 0, purpose: 0 }, 0, size).map((u) => Math.round(u * 256) / 128 - 1);
}

const SIZE = 6 * 50;
const SHAPE = [6, 50];
const B = values(1, SIZE);
const [W1, W2, W3] = [values(2, SIZE), values(3, SIZE), values(4, SIZE)] as const;
const base: ArrayModel = { values: B, isBase: true };

/** Required parameters, so that every method can be run by one rule. */
const given = (id: string, parameters: Record<string, number> = {}): Record<string, number> => {
  const required = methods.find((m) => m.id === id)?.parameters.filter((p) => p.default === undefined) ?? [];
  return { ...Object.fromEntries(required.map((p) => [p.name, p.name === "t" ? 0.5 : 1])), ...parameters };
};
const model = (id: string, numbers: Float32Array, parameters: Record<string, number> = {}): ArrayModel => {
  const known = new Set(
    methods
      .find((m) => m.id === id)
      ?.parameters.filter((p) => p.scope === "model")
      .map((p) => p.name),
  );
  return { values: numbers, parameters: Object.fromEntries(Object.entries(given(id, parameters)).filter(([name]) => known.has(name))) };
};
const merge = (id: string, models: readonly ArrayModel[], parameters: Record<string, number> = {}, seed = 0) =>
  mergeArrays(id, models, { shape: SHAPE, seed, parameters: given(id, parameters) });

const TASK_VECTORS = ["task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "della_linear", "breadcrumbs", "breadcrumbs_ties"];
const largest = (a: Float32Array, b: ArrayLike<number>) => a.reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] ?? Number.NaN))), 0);

describe("one model at weight 1 is returned", () => {
  it("by linear and passthrough, bit for bit", async () => {
    for (const id of ["linear", "passthrough"]) assert.deepEqual(await merge(id, [model(id, W1)]), W1, id);
  });

  it("by the task-vector family at density 1", async () => {
    for (const id of TASK_VECTORS) assert.deepEqual(await merge(id, [base, model(id, W1)]), W1, id);
  });

  it("by slerp at its ends", async () => {
    assert.equal(largest(await merge("slerp", [base, { values: W1 }], { t: 0 }), B), 0);
    assert.equal(largest(await merge("slerp", [base, { values: W1 }], { t: 1 }), W1), 0);
  });
});

describe("equal inputs", () => {
  it("merge to themselves", async () => {
    assert.ok(largest(await merge("linear", [model("linear", W1, { weight: 0.3 }), model("linear", W1, { weight: 0.9 })]), W1) < 1e-6);
    assert.deepEqual(await merge("slerp", [{ values: W1, isBase: true }, { values: W1 }]), W1);
    for (const id of TASK_VECTORS) assert.deepEqual(await merge(id, [base, model(id, B), model(id, B)], { normalize: 1 }), B, id);
  });

  it("of the task-vector family, normalised at density 1, give the model back", async () => {
    for (const id of TASK_VECTORS) assert.deepEqual(await merge(id, [base, model(id, W1), model(id, W1)], { normalize: 1 }), W1, id);
  });
});

describe("density 0", () => {
  const THINNING = TASK_VECTORS.filter((id) => id !== "task_arithmetic");

  it("leaves nothing of a difference: the result is that without the model", async () => {
    for (const id of THINNING) {
      const alone = await merge(id, [base, model(id, W1, { weight: 0.7 })], { normalize: 0 });
      const beside = await merge(id, [base, model(id, W1, { weight: 0.7 }), model(id, W2, { density: 0 })], { normalize: 0 });
      assert.deepEqual(beside, alone, id);
      assert.deepEqual(await merge(id, [base, model(id, W1, { density: 0 })]), B, id);
    }
  });

  it("means nothing to task arithmetic, which drops no elements", async () => {
    assert.deepEqual(await merge("task_arithmetic", [base, model("task_arithmetic", W1, { density: 0 })]), W1);
  });
});

describe("lambda", () => {
  it("of 0 gives the base", async () => {
    for (const id of TASK_VECTORS) assert.deepEqual(await merge(id, [model(id, W1, { density: 0.5 }), model(id, W2), base], { lambda: 0 }), B, id);
  });

  it("of 2 doubles the difference", async () => {
    for (const id of TASK_VECTORS) {
      const [one, two] = [1, 2].map((lambda) => merge(id, [base, model(id, W1), model(id, W2)], { lambda }));
      const [once, twice] = [await one, await two];
      assert.ok(
        largest(
          twice as Float32Array,
          (once as Float32Array).map((x, i) => 2 * x - (B[i] ?? 0)),
        ) < 1e-6,
        id,
      );
    }
  });
});

describe("the order of models", () => {
  it("does not matter where nothing is random", async () => {
    for (const id of ["linear", "task_arithmetic", "ties"]) {
      const models = [W1, W2, W3].map((w, i) => model(id, w, { weight: 0.25 * (i + 1), density: 0.4 }));
      const there = await merge(id, [base, ...models].slice(id === "linear" ? 1 : 0));
      const back = await merge(id, [...models.toReversed(), ...(id === "linear" ? [] : [base])]);
      assert.ok(largest(there, back) < 1e-6, id);
    }
  });

  it("does not matter to slerp, with t turned round", async () => {
    const there = await merge("slerp", [{ values: W1, isBase: true }, { values: W2 }], { t: 0.3 });
    const back = await merge("slerp", [{ values: W2, isBase: true }, { values: W1 }], { t: 0.7 });
    assert.ok(largest(there, back) < 1e-6);
  });
});

describe("ties", () => {
  it("keeps exactly floor(density N) elements, at least one", async () => {
    for (const [density, kept] of [
      [0.5, 150],
      [0.333, 99],
      [0.001, 1],
    ] as const) {
      const merged = await merge("ties", [base, model("ties", W1, { density })]);
      const changed = merged.filter((x, i) => x !== B[i]).length;
      const equal = [...W1].filter((x, i) => x === B[i]).length;
      assert.ok(changed === kept || (changed < kept && equal > 0), `${changed} of ${kept}`);
    }
  });

  it("never lets an element move against the elected sign", async () => {
    const merged = await merge("ties", [base, model("ties", W1), model("ties", W2), model("ties", W3)]);
    for (const [i, x] of merged.entries()) {
      const sum = [W1, W2, W3].reduce((total, w) => total + ((w[i] ?? 0) - (B[i] ?? 0)), 0);
      assert.ok((x - (B[i] ?? 0)) * (sum >= 0 ? 1 : -1) >= 0, `element ${i}`);
    }
  });
});

describe("dare", () => {
  const density = 0.25;
  const delta = (merged: Float32Array) => merged.map((x, i) => x - (B[i] ?? 0));
  const l1 = (x: Float32Array) => x.reduce((sum, v) => sum + Math.abs(v), 0);

  it("restores the L1 norm of each difference", async () => {
    const dense = l1(W1.map((x, i) => x - (B[i] ?? 0)));
    assert.ok(Math.abs(l1(delta(await merge("dare_linear", [base, model("dare_linear", W1, { density })]))) / dense - 1) < 1e-5);
  });

  it("keeps a share of the elements near the density, others with another seed", async () => {
    const masks = await Promise.all(
      [0, 1].map(async (seed) => delta(await merge("dare_linear", [base, model("dare_linear", W1, { density })], {}, seed)).map((x) => +(x !== 0))),
    );
    for (const mask of masks) assert.ok(Math.abs(mask.reduce((a, b) => a + b, 0) - density * SIZE) < 4 * Math.sqrt(density * (1 - density) * SIZE));
    assert.notDeepEqual(masks[0], masks[1]);
  });

  it("divides by the density if asked, as the paper does", async () => {
    const merged = delta(await merge("dare_linear", [base, model("dare_linear", W1, { density })], { rescale_by_density: 1 }));
    for (const [i, x] of merged.entries()) assert.ok(x === 0 || Math.abs(x - ((W1[i] ?? 0) - (B[i] ?? 0)) / density) < 1e-5, `element ${i}`);
  });

  it("draws for each model on its own: the mask of one does not depend on the values of another", async () => {
    const mask = async (other: Float32Array) =>
      delta(await merge("dare_linear", [base, model("dare_linear", W1, { density }), model("dare_linear", other, { weight: 0, density })])).map(
        (x) => +(x !== 0),
      );
    assert.deepEqual(await mask(W2), await mask(W3));
  });
});

describe("sce", () => {
  it("sees no variance between equal models, so that a selection of the varying elements is empty", async () => {
    const thirds = W1.map((x) => x / 3);
    assert.deepEqual(await merge("sce", [base, ...[0, 1, 2].map(() => model("sce", thirds))], { select_topk: 0.9 }), B);
  });
});

describe("the registry", () => {
  it("has each method once, with distinct parameters and a default within its range", () => {
    assert.equal(new Set(methods.map(({ id }) => id)).size, methods.length);
    for (const { id, parameters } of methods) {
      assert.equal(new Set(parameters.map(({ name }) => name)).size, parameters.length, id);
      for (const spec of parameters) assert.ok(typeof spec.default !== "number" || isLegal(spec, spec.default), `${id} ${spec.name}`);
    }
  });
});

describe("della", () => {
  const size = 4000;
  const [b, w] = [values(5, size).fill(0), values(6, size)];

  it("keeps large elements of a row more often than small ones, the density on the whole", async () => {
    const merged = await mergeArrays("della_linear", [{ values: b, isBase: true }, model("della_linear", w, { density: 0.5, epsilon: 0.4 })], {
      shape: [4, 1000],
      parameters: { rescale: 0 },
    });
    const share = (of: readonly number[]) => of.filter((i) => merged[i] !== 0).length / of.length;
    const drawn = [...w.keys()].filter((i) => w[i] !== 0);
    assert.ok(Math.abs(share(drawn) - 0.5) < 0.05);
    assert.ok(share(drawn.filter((i) => Math.abs(w[i] ?? 0) > 0.75)) > 0.7);
    assert.ok(share(drawn.filter((i) => Math.abs(w[i] ?? 0) < 0.25)) < 0.3);
  });
});

describe("checks before a merge", () => {
  it("refuse della's probabilities outside of (0, 1)", () => {
    const check = (density: number, epsilon: number) =>
      methods.find((m) => m.id === "della")?.check?.(arrayTask("della", [base, model("della", W1, { density, epsilon })]))?.code;
    assert.deepEqual([check(0.5, 1.35), check(0.9, 0.15), check(0.5, 0.2), check(1, 0.15)], ["probability-range", "probability-range", undefined, undefined]);
  });

  it("refuse weights that sum to zero where they would be divided by", () => {
    const check = (normalize: number) =>
      methods
        .find((m) => m.id === "linear")
        ?.check?.(arrayTask("linear", [model("linear", W1), model("linear", W2, { weight: -1 })], { parameters: { normalize } }));
    assert.equal(check(1)?.code, "weights-sum-to-zero");
    assert.equal(check(0), undefined);
  });
});
