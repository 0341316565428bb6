// Golden vectors, computed in float64 from the methods' published formulas; float32 arithmetic agrees to 1e-5.
import assert from "node:assert/strict";
import { input } from "../../merge-core/compute/expr.ts";
import { createReferenceEngine } from "../../merge-core/compute/reference.ts";
import { keepProbability } from "../../merge-core/methods/della.ts";
import { type ArrayModel, mergeArrays } from "../helpers/merge-arrays.ts";

const B = [0.5, -1.0, 0.25, 2.0, 1.5, 0.75, -0.5, -2.0];
const D1 = [0.1, -0.2, 0.3, -0.4, 0.5, 0.05, -0.15, 0.25];
const D2 = [-0.12, -0.18, 0.06, 0.44, 0.35, -0.07, 0.22, -0.01];
const plus = (a: readonly number[], b: readonly number[]) => a.map((x, i) => x + (b[i] ?? 0));

/** The two models with these parameters, weights .6 and .4 unless said otherwise. */
const pair = (parameters: Record<string, number> = {}, weights: readonly number[] = [0.6, 0.4]): ArrayModel[] => [
  { values: plus(B, D1), parameters: { weight: weights[0] ?? 0, ...parameters } },
  { values: plus(B, D2), parameters: { weight: weights[1] ?? 0, ...parameters } },
];
const base: ArrayModel = { values: B, isBase: true };

interface Golden {
  readonly what: string;
  readonly method: string;
  readonly models: readonly ArrayModel[];
  readonly parameters?: Record<string, number>;
  readonly expected: readonly number[];
}

/** Changes of a base of zeros whose merges are worked out by hand. */
const zeros: ArrayModel = { values: new Array(8).fill(0), isBase: true };
const worked: ArrayModel[] = [
  [0.5, -0.4, 0.1, -0.05, 0.3, -0.2, 0.02, 0],
  [-0.3, -0.6, 0.2, 0.04, 0.1, 0.25, -0.01, 0.07],
].map((values) => ({ values, parameters: { weight: 1, density: 0.5 } }));
const corners: ArrayModel[] = [
  [1, 1, 0, 0, 0, 0, 0, 0],
  [1, 0, 1, 0, 0, 0, 0, 0],
  [0, 1, 1, 0, 0, 0, 0, 0],
].map((values) => ({ values }));

const GOLDEN: readonly Golden[] = [
  {
    what: "of the worked example, lambda .5",
    method: "task_arithmetic",
    models: [zeros, ...worked],
    parameters: { lambda: 0.5 },
    expected: [0.1, -0.5, 0.15, -0.005, 0.2, 0.025, 0.005, 0.035],
  },
  { what: "of the worked example", method: "ties", models: [zeros, ...worked], expected: [0.5, -0.5, 0.2, 0, 0.3, 0.25, 0, 0] },
  {
    what: "of two at cosine .5: two thirds of the mean",
    method: "model_stock",
    models: [zeros, ...corners.slice(0, 2)],
    expected: [2 / 3, 1 / 3, 1 / 3, 0, 0, 0, 0, 0],
  },
  { what: "of three at cosine .5: three quarters of the mean", method: "model_stock", models: [zeros, ...corners], expected: [0.5, 0.5, 0.5, 0, 0, 0, 0, 0] },
  { what: "weights .6/.4", method: "linear", models: pair(), expected: [0.512, -1.192, 0.454, 1.936, 1.94, 0.752, -0.502, -1.854] },
  {
    what: "weights .6/.6 unnormalised",
    method: "linear",
    models: pair({}, [0.6, 0.6]),
    parameters: { normalize: 0 },
    expected: [0.588, -1.428, 0.516, 2.424, 2.31, 0.888, -0.558, -2.256],
  },
  {
    what: "t .35",
    method: "slerp",
    models: [{ values: plus(B, D1), isBase: true }, { values: plus(B, D2) }],
    parameters: { t: 0.35 },
    expected: [0.526736, -1.201883, 0.469296, 1.908755, 1.961914, 0.763564, -0.524106, -1.854926],
  },
  { what: "weights .6/.4", method: "task_arithmetic", models: [...pair(), base], expected: [0.512, -1.192, 0.454, 1.936, 1.94, 0.752, -0.502, -1.854] },
  {
    what: "weights 1/1 normalised, lambda .5",
    method: "task_arithmetic",
    models: [base, ...pair({}, [1, 1])],
    parameters: { normalize: 1, lambda: 0.5 },
    expected: [0.495, -1.095, 0.34, 2.01, 1.7125, 0.745, -0.4825, -1.94],
  },
  { what: "density .5", method: "ties", models: [...pair({ density: 0.5 }), base], expected: [0.5, -1.18, 0.55, 1.6, 1.94, 0.75, -0.28, -1.75] },
  { what: "density 1, weights 1/1", method: "ties", models: [...pair({}, [1, 1]), base], expected: [0.38, -1.19, 0.43, 2.44, 1.925, 0.68, -0.28, -1.75] },
  {
    what: "density .5, rescaled",
    method: "ties",
    models: [...pair({ density: 0.5 }), base],
    parameters: { rescale: 1 },
    expected: [0.5, -1.219328, 0.653448, 1.462069, 2.074037, 0.75, -0.231933, -1.663793],
  },
  {
    what: "density 1 is the plain sum",
    method: "dare_linear",
    models: [...pair(), base],
    expected: [0.512, -1.192, 0.454, 1.936, 1.94, 0.752, -0.502, -1.854],
  },
  {
    what: "density 1, weights 1/1 normalised, is ties",
    method: "dare_ties",
    models: [...pair({}, [1, 1]), base],
    parameters: { normalize: 1 },
    expected: [0.38, -1.19, 0.43, 2.44, 1.925, 0.68, -0.28, -1.75],
  },
  { what: "scale 2", method: "passthrough", models: [{ values: B, parameters: { scale: 2 } }], expected: B.map((x) => 2 * x) },
  {
    what: "flattened, with a base",
    method: "nuslerp",
    models: [...pair(), base],
    expected: [0.510381, -1.267108, 0.52749, 1.935014, 2.109117, 0.749325, -0.49211, -1.803951],
  },
  {
    what: "weights .6/.4",
    method: "multislerp",
    models: pair(),
    expected: [0.522473, -1.204684, 0.464354, 1.935864, 1.963435, 0.762554, -0.515935, -1.866809],
  },
  {
    what: "with a base",
    method: "multislerp",
    models: [...pair(), base],
    expected: [0.501096, -1.267146, 0.518242, 1.970382, 2.104781, 0.74424, -0.47641, -1.814315],
  },
  {
    what: "of three",
    method: "karcher",
    models: [...pair(), base],
    expected: [0.502091, -1.135613, 0.37514, 2.019325, 1.797689, 0.752942, -0.488107, -1.936691],
  },
  {
    what: "density .5, gamma .125",
    method: "breadcrumbs",
    models: [...pair({ density: 0.5, gamma: 0.125 }), base],
    expected: [0.452, -1.192, 0.43, 1.76, 1.64, 0.75, -0.412, -1.85],
  },
  { what: "all elements", method: "sce", models: [...pair(), base], expected: [0.38, -1.192058, 0.454695, 2.44, 1.940434, 0.68, -0.28, -1.75] },
  {
    what: "half of the elements",
    method: "sce",
    models: [...pair(), base],
    parameters: { select_topk: 0.5 },
    expected: [0.5, -1, 0.448454, 2.44, 1.5, 0.75, -0.28, -1.75],
  },
  {
    what: "of two",
    method: "model_stock",
    models: [...pair(), base],
    expected: [0.499923, -1.001463, 0.251386, 2.000154, 1.503273, 0.749923, -0.49973, -1.999076],
  },
  { what: "t .1", method: "nearswap", models: [...pair().slice(0, 1), base], parameters: { t: 0.1 }, expected: [0.6, -1.1, 0.35, 1.9, 1.6, 0.8, -0.6, -1.9] },
  {
    what: "epsilon .11",
    method: "ram",
    models: [...pair(), base],
    parameters: { epsilon: 0.11 },
    expected: [0.38, -1.19, 0.55, 2.02, 1.925, 0.75, -0.465, -1.75],
  },
  {
    what: "epsilon .11",
    method: "ramplus_tl",
    models: [...pair(), base],
    parameters: { epsilon: 0.11 },
    expected: [0.3776, -1.19, 0.556, 2.02, 1.925, 0.75, -0.465, -1.745],
  },
  {
    what: "epsilon .11, r .5, alpha 1",
    method: "ramplus_tl",
    models: [...pair(), base],
    parameters: { epsilon: 0.11, r: 0.5, alpha: 1 },
    expected: [0.32, -1.19, 0.7, 2.02, 1.925, 0.75, -0.465, -1.625],
  },
  {
    what: "by rows",
    method: "nuslerp",
    models: [...pair(), base],
    parameters: { nuslerp_flatten: 0 },
    expected: [0.506909, -1.372395, 0.629303, 1.938215, 1.994787, 0.751197, -0.498994, -1.837674],
  },
  {
    what: "by columns",
    method: "nuslerp",
    models: [...pair(), base],
    parameters: { nuslerp_flatten: 0, nuslerp_row_wise: 1 },
    expected: [0.511903, -1.201031, 0.556784, 1.960785, 1.95479, 0.75171, -0.487734, -1.527301],
  },
  {
    what: "by rows",
    method: "model_stock",
    models: [...pair(), base],
    parameters: { filter_wise: 1 },
    expected: [0.519626, -0.62711, -0.103264, 1.960748, 1.804489, 0.742836, -0.474924, -1.914027],
  },
  {
    what: "one large change",
    method: "arcee_fusion",
    models: [
      {
        values: plus(
          B,
          D1.map((d, i) => (i === 4 ? 2 : d)),
        ),
      },
      base,
    ],
    expected: [0.5, -1, 0.25, 2, 3.5, 0.75, -0.5, -1.75],
  },
];

describe("golden vectors", () => {
  it("della: keep probabilities", () => {
    const engine = createReferenceEngine({ name: "x", shape: [2, 4], seed: 0, inputs: [Float32Array.from(D1)] });
    const expected = [0.3, 0.4333, 0.5667, 0.7, 0.7, 0.3, 0.4333, 0.5667];
    for (const [i, p] of engine.write(keepProbability(input(0), 0.5, 0.2)).entries()) assert.ok(Math.abs(p - (expected[i] ?? 0)) < 1e-4, `element ${i}: ${p}`);
  });

  for (const { what, method, models, parameters, expected } of GOLDEN)
    it(`${method}: ${what}`, async () => {
      const merged = await mergeArrays(method, models, { shape: [2, 4], ...(parameters && { parameters }) });
      for (const [i, value] of expected.entries())
        assert.ok(Math.abs((merged[i] ?? Number.NaN) - value) <= 1e-5, `element ${i}: ${merged[i]}, expected ${value}`);
    });
});
