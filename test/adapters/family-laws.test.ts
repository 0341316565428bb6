// The laws that every family obeys, over one table. Folding (float64) and training (differentiable tensors) are evaluations
// of the same mathematics; finite differences of the one check the gradients of the other.
import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-core/dist/register_all_gradients.js";
import type { Algebra } from "../../merge-core/adapters/algebra/algebra.ts";
import { type Array64, float64 } from "../../merge-core/adapters/algebra/float64.ts";
import { type AdapterModule, deltaOf, type ModuleTensor } from "../../merge-core/adapters/family.ts";
import { adaptedOutput, hasFactors, type Part, type Pass } from "../../merge-core/adapters/family-math.ts";
import type { Site } from "../../merge-core/adapters/family-training.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { liveValues } from "../../merge-core/nn/storage.ts";
import { tensorAlgebra } from "../../merge-core/nn/tensor-algebra.ts";
import { CASES, type FamilyCase, INPUTS, OUTPUTS, type Started, startCase, untested } from "../helpers/family-table.ts";
import { testRandom } from "../helpers/tiny-decoder.ts";

const ROWS = 5;
const numbers = (seed: number, count: number): Float32Array => {
  const random = testRandom(seed);
  return Float32Array.from({ length: count }, random);
};
const X = numbers(1, ROWS * INPUTS);
const BIAS = numbers(2, OUTPUTS);
/** What the outputs are weighed with to make one number of them. */
const SHARES = numbers(4, ROWS * OUTPUTS);

/** The tensors of one layer, those it shares and those that follow from its weight. */
function tensorsOf({ family, modules, shared, sites }: Started, layer = 1): Record<string, ModuleTensor> {
  const site = sites[layer] as Site;
  return { ...shared, ...modules[layer], ...family.derive?.(site.weight, site.layer, site.settings) };
}

/** Moved away from where training starts, or nothing would be seen of tensors that start at zero. */
function moved(started: Started): Record<string, ModuleTensor> {
  const isTrained = new Set([...started.family.tensors, ...started.family.shared].filter(({ trained }) => trained).map(({ name }) => name));
  return Object.fromEntries(
    Object.entries(tensorsOf(started)).map(([name, { shape, values }]) => {
      const noise = numbers(name.length + values.length, values.length);
      return [name, isTrained.has(name) ? { shape, values: Float32Array.from(values, (x, i) => x + 0.3 * (noise[i] as number)) } : { shape, values }];
    }),
  );
}

function partOf<T>(m: Algebra<T>, { family, sites }: Started, tensors: Readonly<Record<string, ModuleTensor>>): Part<T> {
  const site = sites[1] as Site;
  const isIndex = new Set([...family.tensors, ...family.shared].filter(({ index }) => index).map(({ name }) => name));
  const entries = Object.entries(tensors);
  return {
    layer: site.layer,
    settings: site.settings,
    module: site.module,
    tensors: Object.fromEntries(entries.filter(([name]) => !isIndex.has(name)).map(([name, { shape, values }]) => [name, m.constant(values, shape)])),
    indices: Object.fromEntries(entries.filter(([name]) => isIndex.has(name)).map(([name, { values }]) => [name, values])),
  };
}

/** y of the rows X, [ROWS, OUTPUTS]. */
function output<T>(m: Algebra<T>, started: Started, part: Part<T>, pass: Pass, bias = true): T {
  const x = m.constant(X, [ROWS, INPUTS]);
  const weight = m.constant((started.sites[1] as Site).weight, [OUTPUTS, INPUTS]);
  const math = started.family.math;
  assert.ok(math !== undefined);
  return adaptedOutput(m, math, part, { x, branch: x, weight, bias: bias ? m.constant(BIAS, [OUTPUTS]) : undefined }, pass);
}

function plainOutput(weight: ArrayLike<number>, bias: ArrayLike<number> = BIAS): Float64Array {
  return Float64Array.from({ length: ROWS * OUTPUTS }, (_, at) => {
    const [row, o] = [Math.floor(at / OUTPUTS), at % OUTPUTS];
    let sum = bias[o] as number;
    for (let i = 0; i < INPUTS; i++) sum += (X[row * INPUTS + i] as number) * (weight[o * INPUTS + i] as number);
    return sum;
  });
}

/** Rows of the tasks 0, 1, ... in turn. */
const passOf = ({ tasks = 1 }: FamilyCase, more: Pass = {}): Pass => ({ tasks: Int32Array.from({ length: ROWS }, (_, row) => row % tasks), ...more });

function assertNear(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what = ""): void {
  assert.equal(actual.length, expected.length, what);
  for (let i = 0; i < actual.length; i++) {
    const [a, e] = [actual[i] ?? Number.NaN, expected[i] ?? Number.NaN];
    assert.ok(Math.abs(a - e) <= tolerance * Math.max(1, Math.abs(e)), `${what}[${i}]: ${a}, expected ${e}`);
  }
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

describe("Laws of adapter families", () => {
  before(() => initBackend({ threads: 1 }));

  it("are tested for every family that can be trained", () => assert.deepEqual(untested(), []));

  for (const testCase of CASES) {
    describe(testCase.name, () => {
      const started = startCase(testCase);
      const { family, settings } = started;
      const module = (tensors: Readonly<Record<string, ModuleTensor>>): AdapterModule => ({
        layer: (started.sites[1] as Site).layer,
        settings,
        tensors: withoutOwn(tensors),
      });
      /** Training's own tensors are in no file: stored first. */
      const withoutOwn = (tensors: Readonly<Record<string, ModuleTensor>>) =>
        family.training?.stored?.(settings, { layer: { inFeatures: INPUTS, outFeatures: OUTPUTS }, tensors }).tensors ?? tensors;
      const storedSettings = (tensors: Readonly<Record<string, ModuleTensor>>) =>
        family.training?.stored?.(settings, { layer: { inFeatures: INPUTS, outFeatures: OUTPUTS }, tensors }).settings ?? settings;
      const folded = (tensors: Readonly<Record<string, ModuleTensor>>) => {
        const { weight } = started.sites[1] as Site;
        // What a family does not keep is the base's.
        if (Object.keys(withoutOwn(tensors)).length === 0) return Float64Array.from(weight);
        return deltaOf(family, { ...module(tensors), settings: storedSettings(tensors) }, weight).map((x, i) => x + (weight[i] as number));
      };

      it(testCase.startsAway ? "starts away from the base model, as it is made to" : "starts at the base model", () => {
        const y = output(float64, started, partOf(float64, started, tensorsOf(started)), passOf(testCase));
        const plain = plainOutput((started.sites[1] as Site).weight);
        const distance = Math.max(...y.values.map((value, i) => Math.abs(value - (plain[i] as number))));
        assert.ok(testCase.startsAway ? distance > 1e-6 : distance < 1e-6, `largest difference ${distance}`);
      });

      it("trains as many parameters as the formula counts", () => {
        const own = family.tensors.filter(({ trained }) => trained).map(({ name }) => name);
        const pools = family.shared.filter(({ trained }) => trained).map(({ name }) => name);
        const counted = (start: Readonly<Record<string, ModuleTensor>>, names: readonly string[]) =>
          names.reduce((sum, name) => sum + (start[name] === undefined ? 0 : sizeOf(start[name].shape)), 0);
        assert.equal(started.modules.reduce((sum, start) => sum + counted(start, own), 0) + counted(started.shared, pools), testCase.count);
      });

      it("starts with the shapes that files are checked for", () => {
        for (const [layer, start] of started.modules.entries()) {
          const stored = withoutOwn(start);
          const held = Object.fromEntries(Object.entries({ ...started.shared, ...stored }).map(([name, { shape }]) => [name, shape]));
          const expected = family.shapes({ inFeatures: INPUTS, outFeatures: OUTPUTS }, storedSettings(start), held);
          const names = new Set(family.tensors.map(({ name }) => name));
          const shapes = Object.fromEntries(
            Object.entries(stored)
              .filter(([name]) => names.has(name))
              .map(([name, { shape }]) => [name, shape]),
          );
          assert.deepEqual(shapes, expected, `layer ${layer}`);
          for (const { values, shape } of Object.values(start)) assert.equal(values.length, sizeOf(shape));
        }
      });

      it("computes the same in training as in float64", () => {
        for (const pass of [passOf(testCase), passOf(testCase, { draw: testDraw, progress: 0.5 })]) {
          const tensors = moved(started);
          const expected = output(float64, started, partOf(float64, started, tensors), pass);
          const actual = tf.tidy(() => liveValues(output(tensorAlgebra, started, partOf(tensorAlgebra, started, tensors), pass)).slice());
          assertNear(actual, expected.values, 2e-5);
        }
      });

      if (family.foldable === "exact")
        it("is folded to a weight that does the same", () => {
          const tensors = moved(started);
          const weight = folded(tensors);
          assert.ok(weight.every(Number.isFinite));
          // Rounded to float32, and taken out again: within one rounding of the larger of both.
          const before = (started.sites[1] as Site).weight;
          for (const [i, x] of Float32Array.from(weight).entries()) {
            const w = before[i] as number;
            const back = Math.fround(x - ((weight[i] as number) - w));
            assert.ok(Math.abs(back - w) <= 2 ** -23 * Math.max(Math.abs(x), Math.abs(w)), `${back} for ${w}`);
          }
          const factor = family.biasFactor?.(module(tensors));
          const actual = output(float64, started, partOf(float64, started, tensors), passOf(testCase));
          assertNear(
            actual.values,
            plainOutput(
              weight,
              BIAS.map((b, o) => b * (factor?.[o] ?? 1)),
            ),
            1e-5,
          );
        });

      if (family.factors !== undefined && hasFactors(family.math ?? {}, settings))
        it("has factors whose product is the change", () => {
          const tensors = moved(started);
          const inFile = { ...module(tensors), settings: storedSettings(tensors) };
          const { r, a, b, scale } = family.factors?.(inFile) ?? assert.fail();
          const product = Float64Array.from({ length: INPUTS * OUTPUTS }, (_, at) => {
            let sum = 0;
            for (let k = 0; k < r; k++) sum += (b[Math.floor(at / INPUTS) * r + k] as number) * (a[k * INPUTS + (at % INPUTS)] as number);
            return scale * sum;
          });
          assertNear(deltaOf(family, inFile), product, 1e-12);
        });

      it("has the gradients that finite differences have", () => {
        for (const pass of [passOf(testCase), passOf(testCase, { draw: testDraw, progress: 0.5 })]) checkGradients(testCase, started, pass);
      });
    });
  }
});

describe("Gradients that are not slopes", () => {
  before(() => initBackend({ threads: 1 }));
  const named = (name: string) => startCase(CASES.find((c) => c.name === name) ?? assert.fail());

  it("of DoRA's factors treat the norms of rows as constants", () => {
    const started = named("DoRA");
    const tensors = moved(started);
    const { weight } = started.sites[1] as Site;
    const sum = (t: Record<string, ModuleTensor>) => {
      const value = (name: string, at: number) => t[name]?.values[at] as number;
      return Float64Array.from(weight, (w, at) => {
        const [o, i] = [Math.floor(at / INPUTS), at % INPUTS];
        return w + 4 * (value("lora_B", o * 2) * value("lora_A", i) + value("lora_B", o * 2 + 1) * value("lora_A", INPUTS + i));
      });
    };
    const norms = Array.from({ length: OUTPUTS }, (_, o) => Math.hypot(...sum(tensors).subarray(o * INPUTS, (o + 1) * INPUTS)));
    const lossAt = (t: Record<string, ModuleTensor>) => {
      const adapted = sum(t).map(
        (v, at) => (v * (t.lora_magnitude_vector?.values[Math.floor(at / INPUTS)] as number)) / (norms[Math.floor(at / INPUTS)] as number),
      );
      return plainOutput(adapted).reduce((total, y, k) => total + y * (SHARES[k] as number), 0);
    };
    const gradients = gradientsOf(started, tensors, ["lora_A", "lora_B", "lora_magnitude_vector"], {});
    for (const [name, gradient] of gradients)
      for (const [at, slope] of gradient.entries()) {
        const along = (distance: number) => {
          const { shape, values } = tensors[name] as ModuleTensor;
          return lossAt({ ...tensors, [name]: { shape, values: Float64Array.from(values, (x, k) => (k === at ? x + distance : x)) } });
        };
        assert.ok(Math.abs((along(1e-5) - along(-1e-5)) / 2e-5 - slope) <= 1e-4 + 1e-3 * Math.abs(slope), `${name}[${at}]`);
      }
  });

  it("of a TAPS score are those of the change that it lets through", () => {
    const started = named("TAPS");
    const tensors = moved(started);
    const gradient = gradientsOf(started, tensors, ["taps_score"], {}).get("taps_score")?.[0];
    const through = plainOutput(tensors.taps_delta?.values ?? [], new Float32Array(OUTPUTS)).reduce((total, y, k) => total + y * (SHARES[k] as number), 0);
    assert.ok(Math.abs((gradient ?? Number.NaN) - through) < 1e-4, `${gradient} and ${through}`);
  });
});

/** The same numbers for the same stream. */
const testDraw = (stream: string, count: number): Float64Array => {
  const random = testRandom([...stream].reduce((sum, c) => sum * 31 + c.charCodeAt(0), 11));
  return Float64Array.from({ length: count }, () => (random() + 1) / 2);
};

/** Slopes along each single element, in float64, beside the gradients in float32. */
function checkGradients(testCase: FamilyCase, started: Started, pass: Pass): void {
  const tensors = moved(started);
  const trained = [...started.family.tensors, ...started.family.shared].filter((t) => t.trained && tensors[t.name] !== undefined).map(({ name }) => name);
  const sumOf = (values: ArrayLike<number>) => SHARES.reduce((sum, share, i) => sum + share * (values[i] as number), 0);
  const lossAt = (changed: Record<string, ModuleTensor>) => sumOf((output(float64, started, partOf(float64, started, changed), pass) as Array64).values);
  const names = trained.filter((name) => !testCase.notSlopes?.includes(name));
  const gradients = gradientsOf(started, tensors, trained, pass);
  const STEP = 1e-5;
  for (const name of names) {
    const { values, shape } = tensors[name] as ModuleTensor;
    for (let at = 0; at < values.length; at++) {
      const along = (distance: number) => {
        const changed = Float64Array.from(values);
        changed[at] = (changed[at] as number) + distance;
        return lossAt({ ...tensors, [name]: { shape, values: changed } });
      };
      const slope = (along(STEP) - along(-STEP)) / (2 * STEP);
      const gradient = gradients.get(name)?.[at] ?? Number.NaN;
      assert.ok(Math.abs(slope - gradient) <= 1e-4 + 1e-3 * Math.abs(slope), `${name}[${at}]: slope ${slope}, gradient ${gradient}`);
    }
  }
}

function gradientsOf(started: Started, tensors: Record<string, ModuleTensor>, trained: readonly string[], pass: Pass): Map<string, Float32Array> {
  const inputs = trained.map((name) => tf.tensor(Float32Array.from(tensors[name]?.values ?? []), [...(tensors[name]?.shape ?? [])]));
  const { value, grads } = tf.valueAndGrads((...live) => {
    const part = partOf(tensorAlgebra, started, tensors);
    const replaced = { ...part, tensors: { ...part.tensors, ...Object.fromEntries(trained.map((name, k) => [name, live[k] as tf.Tensor])) } };
    return tf.sum(tf.mul(output(tensorAlgebra, started, replaced, pass), tf.tensor(SHARES, [ROWS, OUTPUTS]))) as tf.Scalar;
  })(inputs);
  const found = new Map(trained.map((name, k) => [name, liveValues(grads[k] as tf.Tensor).slice()]));
  tf.dispose([value, ...inputs, ...grads]);
  return found;
}
