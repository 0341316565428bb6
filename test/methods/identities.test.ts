// Identity laws for each of mergekit's 20 methods; a method without a law must say why.
import assert from "node:assert/strict";
import { randomKey, uniforms } from "../../merge-core/compute/rng.ts";
import { methods } from "../../merge-core/methods/registry.ts";
import { type ArrayModel, mergeArrays } from "../helpers/merge-arrays.ts";

const SHAPE = [5, 40];
const SIZE = 200;
/** Seeded values in [-1, 1) of eight binary digits, so that sums of a few are exact. */
const values = (seed: number) => uniforms(randomKey(seed, "identity"), { model: 0, purpose: 0 }, 0, SIZE).map((u) => Math.round(u * 256) / 128 - 1);
const [B, U, V, W] = [1, 2, 3, 4].map(values) as [Float32Array, Float32Array, Float32Array, Float32Array];

type Parameters = Record<string, number>;
const base = (numbers: Float32Array): ArrayModel => ({ values: numbers, isBase: true });
const model = (numbers: Float32Array, parameters: Parameters = { weight: 1 }): ArrayModel => ({ values: numbers, parameters });

/** A merge: models in their order, and what is set for all of them. */
interface Case {
  readonly models: readonly ArrayModel[];
  readonly parameters?: Parameters;
}

/** What a method is asked, and what must come of it: values within `tolerance`, or the reason why there is no such law. */
type Law = Readonly<Record<string, string | (Case & { readonly is: Float32Array; readonly tolerance?: number })>>;

const TASK_VECTORS = ["task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "della_linear", "breadcrumbs", "breadcrumbs_ties"];
const ALL = [
  "linear",
  "slerp",
  "nuslerp",
  "multislerp",
  "karcher",
  ...TASK_VECTORS,
  "sce",
  "model_stock",
  "nearswap",
  "arcee_fusion",
  "ram",
  "ramplus_tl",
  "passthrough",
];
const each = <T>(ids: readonly string[], value: T) => Object.fromEntries(ids.map((id) => [id, value]));

/** Unit vectors and angles round a few times. */
const ROUNDED = 2e-6;
/** ram counts a change as one from this size on. */
const EPSILON = 1e-5;

const ONE_MODEL: Law = {
  ...each(["linear", "passthrough"], { models: [model(W)], is: W }),
  multislerp: { models: [model(W)], is: W },
  ...each([...TASK_VECTORS, "sce"], { models: [base(B), model(W)], is: W, tolerance: ROUNDED }),
  ...each(["ram", "ramplus_tl"], { models: [base(B), model(W)], is: W, tolerance: EPSILON }),
  slerp: { models: [base(B), model(W)], parameters: { t: 1 }, is: W, tolerance: ROUNDED },
  nuslerp: { models: [model(B, { weight: 0 }), model(W)], is: W, tolerance: ROUNDED },
  nearswap: { models: [base(B), model(W)], parameters: { t: 2 }, is: W },
  karcher: { models: [model(W), model(W)], is: W, tolerance: ROUNDED },
  model_stock: { models: [base(B), model(W), model(W)], is: W, tolerance: ROUNDED },
  arcee_fusion: "takes the salient elements only; see below",
};

const ALL_EQUAL: Law = {
  ...each(["linear", "multislerp", "karcher", "nuslerp"], { models: [model(W), model(W)], is: W, tolerance: ROUNDED }),
  passthrough: { models: [model(W)], is: W },
  ...each([...TASK_VECTORS, "sce", "model_stock", "ram", "ramplus_tl"], { models: [base(W), model(W), model(W)], is: W }),
  ...each(["slerp", "nearswap"], { models: [base(W), model(W)], parameters: { t: 0.3 }, is: W, tolerance: ROUNDED }),
  arcee_fusion: { models: [base(W), model(W)], is: W },
};

const EQUAL_CHANGES: Law = {
  ...each(TASK_VECTORS, { models: [base(B), model(W), model(W)], parameters: { normalize: 1 }, is: W, tolerance: ROUNDED }),
  ...each(["sce", "model_stock", "nuslerp", "multislerp"], { models: [base(B), model(W), model(W)], is: W, tolerance: ROUNDED }),
  ...each(["ram", "ramplus_tl"], { models: [base(B), model(W), model(W)], is: W, tolerance: EPSILON }),
  ...each(["linear", "karcher", "slerp", "passthrough"], "knows no changes from a base"),
  ...each(["nearswap", "arcee_fusion"], "takes one model besides the base"),
};

const NOTHING_TAKEN: Law = {
  ...each(TASK_VECTORS, { models: [model(U), model(V, { weight: 0.5, density: 0.5 }), base(B)], parameters: { lambda: 0 }, is: B }),
  slerp: { models: [base(B), model(W)], parameters: { t: 0 }, is: B, tolerance: ROUNDED },
  nearswap: { models: [base(B), model(W)], parameters: { t: 0 }, is: B },
  nuslerp: { models: [base(B), model(B), model(W, { weight: 0 })], is: B, tolerance: ROUNDED },
  multislerp: { models: [base(B), model(B), model(W, { weight: 0 })], is: B, tolerance: ROUNDED },
  linear: { models: [model(B), model(W, { weight: 0 })], is: B },
  sce: { models: [base(B), model(U), model(W)], parameters: { select_topk: 0 }, is: B },
  passthrough: { models: [model(W, { scale: 0 })], is: new Float32Array(SIZE) },
  ...each(["ram", "ramplus_tl"], { models: [base(B), model(U), model(W)], parameters: { epsilon: 10 }, is: B }),
  // Changes at right angles: their cosine is 0, and with it the share of the models.
  model_stock: { models: [base(new Float32Array(SIZE)), model(half(W, 0)), model(half(W, 1))], is: new Float32Array(SIZE) },
  karcher: "has no weights",
  arcee_fusion: "has no parameters",
};

/** The elements at even (0) or odd (1) places, the others zero. */
function half(numbers: Float32Array, rest: number): Float32Array {
  return numbers.map((x, i) => (i % 2 === rest ? x : 0));
}

/** Models in two orders that must give the same; the law's `is` is not used. */
type Order = Readonly<Record<string, string | { readonly there: Case; readonly back: Case }>>;
const weighted = [model(U, { weight: 0.2, density: 0.4 }), model(V, { weight: 0.5, density: 0.7 }), model(W, { weight: 0.3, density: 0.9 })];
const round = (needsBase: boolean) => {
  const first = needsBase ? [base(B)] : [];
  return { there: { models: [...first, ...weighted] }, back: { models: [...weighted.toReversed(), ...first] } };
};
const ORDER: Order = {
  ...each(["linear", "multislerp", "karcher"], round(false)),
  ...each(["task_arithmetic", "ties", "breadcrumbs", "breadcrumbs_ties", "sce", "model_stock", "ram", "ramplus_tl"], round(true)),
  slerp: { there: { models: [base(U), model(V)], parameters: { t: 0.3 } }, back: { models: [base(V), model(U)], parameters: { t: 0.7 } } },
  nuslerp: { there: { models: weighted.slice(0, 2) }, back: { models: weighted.slice(0, 2).toReversed() } },
  ...each(["dare_linear", "dare_ties", "della", "della_linear"], "draws for each place in the list"),
  ...each(["nearswap", "arcee_fusion", "passthrough"], "takes one model"),
};

/** Only what the method knows: unknown parameters are refused where recipes are read. */
async function merge(id: string, { models, parameters = {} }: Case): Promise<Float32Array> {
  const known = new Map(methods.find((m) => m.id === id)?.parameters.map(({ name, scope }) => [name, scope]));
  const own = (given: ArrayModel["parameters"]) => Object.fromEntries(Object.entries(given ?? {}).filter(([name]) => known.get(name) === "model"));
  const forAll = Object.fromEntries(Object.entries(parameters).filter(([name]) => known.get(name) === "global"));
  return mergeArrays(
    id,
    models.map((m) => ({ ...m, parameters: own(m.parameters) })),
    { shape: SHAPE, parameters: forAll },
  );
}

const distance = (a: ArrayLike<number>, b: ArrayLike<number>) => Math.max(...Array.from(a, (x, i) => Math.abs(x - (b[i] ?? Number.NaN))));

describe("identities of mergekit's 20 methods", () => {
  it("concern all of them, and none without a reason for its absence", () => {
    assert.equal(ALL.length, 20);
    for (const law of [ONE_MODEL, ALL_EQUAL, EQUAL_CHANGES, NOTHING_TAKEN, ORDER]) assert.deepEqual(Object.keys(law).sort(), ALL.toSorted());
    for (const id of ALL)
      assert.ok(
        methods.some((method) => method.id === id),
        id,
      );
  });

  for (const [what, law] of [
    ["one model (or its copies) at full weight is returned", ONE_MODEL],
    ["models that equal each other and the base are returned", ALL_EQUAL],
    ["equal changes of the base give the changed model", EQUAL_CHANGES],
    ["where nothing is taken of the others, the base remains", NOTHING_TAKEN],
  ] as const)
    describe(what, () => {
      for (const [id, test] of Object.entries(law))
        if (typeof test !== "string")
          it(id, async () => {
            const merged = await merge(id, test);
            assert.ok(distance(merged, test.is) <= (test.tolerance ?? 0), `${distance(merged, test.is)}`);
          });
    });

  describe("the order of models does not matter", () => {
    for (const [id, test] of Object.entries(ORDER))
      if (typeof test !== "string")
        it(id, async () => {
          const [there, back] = [await merge(id, test.there), await merge(id, test.back)];
          assert.ok(distance(there, back) <= ROUNDED, `${distance(there, back)}`);
          assert.ok(distance(there, test.there.models[0]?.values ?? []) > 1e-3, "nothing was merged");
        });
  });

  it("arcee_fusion takes each element from the base or from the model, those that changed most", async () => {
    const changed = B.map((x, i) => x + (i % 10 === 0 ? 1 : 1e-4));
    const merged = await merge("arcee_fusion", { models: [base(B), model(changed)] });
    const taken = [...merged.keys()].filter((i) => merged[i] !== B[i]);
    assert.ok(taken.length > 0 && taken.every((i) => i % 10 === 0 && merged[i] === changed[i]));
  });
});
