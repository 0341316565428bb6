import assert from "node:assert/strict";
import { adamRule } from "../../../merge-core/train/optimisers/adam-direction.ts";
import { adamW8bitRule } from "../../../merge-core/train/optimisers/adamw-8bit.ts";
import { apolloRule } from "../../../merge-core/train/optimisers/apollo.ts";
import { dynamicMap, nearestCode } from "../../../merge-core/train/optimisers/dynamic-map.ts";
import { frugalRule } from "../../../merge-core/train/optimisers/frugal.ts";
import { galoreRule } from "../../../merge-core/train/optimisers/galore.ts";
import { lionRule } from "../../../merge-core/train/optimisers/lion.ts";
import { loraProGradients } from "../../../merge-core/train/optimisers/lora-pro.ts";
import { loraProAdamW } from "../../../merge-core/train/optimisers/lora-pro-adamw.ts";
import { mezoStep } from "../../../merge-core/train/optimisers/mezo.ts";
import type { Parameter, Rule } from "../../../merge-core/train/optimisers/rule.ts";
import { sgdRule } from "../../../merge-core/train/optimisers/sgd.ts";
import { testRandom } from "../../helpers/tiny-decoder.ts";

const ADAM = { betas: [0.9, 0.999], eps: 1e-8 } as const;
const RULES: Readonly<Record<string, Rule>> = {
  adam: adamRule(ADAM),
  "adamw 8 bit": adamW8bitRule(ADAM),
  lion: lionRule({ betas: [0.9, 0.99] }),
  sgd: sgdRule,
  galore: galoreRule({ ...ADAM, rank: 10, updateEvery: 5, scale: 2 }),
  "apollo by channel": apolloRule({ ...ADAM, rank: 4, updateEvery: 5, scale: 1, scaleBy: "channel" }),
  "apollo by tensor": apolloRule({ ...ADAM, rank: 1, updateEvery: 5, scale: 4, scaleBy: "tensor" }),
  frugal: frugalRule({ ...ADAM, density: 0.25, updateEvery: 5, signRate: 1 }),
};

const numbers = (seed: number, size: number) => {
  const random = testRandom(seed);
  return Float32Array.from({ length: size }, () => random());
};
const parameterOf = (...shape: number[]): Parameter => ({ name: "w", shape, size: shape.reduce((product, n) => product * n, 1) });

/** Steps down sum (x - target)^2 / 2, whose gradient is x - target. */
function descend(rule: Rule, parameter: Parameter, steps: number, lr: number, weightDecay = 0): { theta: Float32Array; distances: number[] } {
  const [theta, target] = [numbers(1, parameter.size), numbers(2, parameter.size)];
  const state = rule.start(parameter);
  const distances: number[] = [];
  for (let step = 1; step <= steps; step++) {
    const gradient = theta.map((x, i) => x - (target[i] as number));
    distances.push(Math.hypot(...gradient.subarray(0, 1000)));
    rule.step(theta, gradient, state, parameter, { lr, weightDecay, step, seed: 7 });
  }
  return { theta, distances };
}

describe("optimiser rules", () => {
  for (const [name, rule] of Object.entries(RULES)) {
    it(`descend on a quadratic: ${name}`, () => {
      for (const parameter of [parameterOf(12, 20), parameterOf(20, 12), parameterOf(30), parameterOf(64, 80)]) {
        const { distances } = descend(rule, parameter, 200, 0.02);
        assert.ok((distances.at(-1) ?? 1) < 0.6 * (distances[0] ?? 0), `${parameter.shape}: ${distances[0]} to ${distances.at(-1)}`);
      }
    });
  }

  it("Lion follows its formula, decay included", () => {
    const { theta } = descend(RULES.lion as Rule, parameterOf(9), 3, 0.1, 0.5);
    const [start, target] = [numbers(1, 9), numbers(2, 9)];
    for (let i = 0; i < 9; i++) {
      let [x, m] = [start[i] as number, 0];
      for (let step = 0; step < 3; step++) {
        const g = x - (target[i] as number);
        x = x * 0.95 - 0.1 * Math.sign(0.9 * m + 0.1 * g);
        m = 0.99 * m + 0.01 * g;
      }
      assert.ok(Math.abs(x - (theta[i] as number)) < 1e-6);
    }
  });

  it("codes are those of the dynamic tree: 256 values, none twice, in order", () => {
    for (const signed of [true, false]) {
      const map = dynamicMap(signed);
      assert.equal(new Set(map).size, 256);
      assert.deepEqual(map, map.slice().sort());
      assert.equal(map.at(-1), 1);
      for (let code = 0; code < 256; code++) assert.equal(nearestCode(map, map[code] as number), code);
    }
    const signed = dynamicMap(true);
    // From the published construction: the smallest magnitude is 0.55e-6; the largest below one the midpoint of the last of 64 parts.
    assert.ok(Math.abs((signed[128] as number) - 0.55e-6) < 1e-12);
    assert.equal(signed[127], 0);
    assert.ok(Math.abs((signed[254] as number) - (1 - 0.9 / 128)) < 1e-6);
    assert.ok(Math.abs((signed[0] as number) + (1 - 0.9 / 128)) < 1e-6);
    assert.ok(Math.abs((dynamicMap(false)[254] as number) - (1 - 0.9 / 256)) < 1e-6);
    const distances = Array.from(signed, (x) => Math.abs(x - 0.0501));
    assert.equal(nearestCode(signed, 0.0501), distances.indexOf(Math.min(...distances)));
  });

  it("8-bit AdamW is AdamW on small parameters, close to it on large ones, in a quarter of the memory", () => {
    const eight = RULES["adamw 8 bit"] as Rule;
    const plain = RULES.adam as Rule;
    assert.deepEqual(descend(eight, parameterOf(40), 5, 0.1).theta, descend(plain, parameterOf(40), 5, 0.1).theta);
    const [a, b] = [descend(eight, parameterOf(64, 80), 20, 0.01).theta, descend(plain, parameterOf(64, 80), 20, 0.01).theta];
    const differences = a.map((x, i) => Math.abs(x - (b[i] as number)));
    assert.ok(Math.max(...differences) > 0 && differences.reduce((sum, x) => sum + x, 0) / a.length < 0.01);
    const bytes = Object.values(eight.start(parameterOf(64, 80))).reduce((sum, array) => sum + array.byteLength, 0);
    assert.equal(bytes, 2 * 5120 + (2 * 4 * 5120) / 256);
  });

  it("GaLore's first step lies in the leading directions of the gradient, and has Adam's size there", () => {
    // A gradient of rank 1: G = s u v^T. Projected on u it is s v^T; Adam's first direction is its signs; the way back gives u sign(v)^T.
    const [u, v] = [Float32Array.from([0.6, 0.8, 0]), Float32Array.from([1, -2, 3, -4, 5])];
    const gradient = Float32Array.from({ length: 15 }, (_, i) => (u[Math.floor(i / 5)] as number) * (v[i % 5] as number));
    for (const turned of [false, true]) {
      const parameter = turned ? parameterOf(5, 3) : parameterOf(3, 5);
      const rule = galoreRule({ ...ADAM, rank: 1, updateEvery: 10, scale: 0.5 });
      const theta = new Float32Array(15);
      const g = turned ? Float32Array.from({ length: 15 }, (_, i) => gradient[(i % 3) * 5 + Math.floor(i / 3)] as number) : gradient;
      rule.step(theta, g, rule.start(parameter), parameter, { lr: 1, weightDecay: 0, step: 1, seed: 0 });
      for (let i = 0; i < 3; i++)
        for (let j = 0; j < 5; j++) {
          const found = theta[turned ? j * 3 + i : i * 5 + j] as number;
          assert.ok(Math.abs(found + 0.5 * (u[i] as number) * Math.sign(v[j] as number)) < 1e-4, `${found}`);
        }
    }
  });

  it("APOLLO moves along the gradient, channel by channel, and lets steps grow by 1% at most", () => {
    const parameter = parameterOf(6, 10);
    const rule = RULES["apollo by channel"] as Rule;
    const state = rule.start(parameter);
    const gradient = numbers(3, 60);
    const theta = new Float32Array(60);
    rule.step(theta, gradient, state, parameter, { lr: 1, weightDecay: 0, step: 1, seed: 0 });
    for (let column = 0; column < 10; column++) {
      const factors = Array.from({ length: 6 }, (_, row) => (theta[row * 10 + column] as number) / (gradient[row * 10 + column] as number));
      for (const factor of factors) assert.ok(Math.abs(factor / (factors[0] as number) - 1) < 1e-4);
      assert.ok((factors[0] as number) < 0);
    }
    const first = Math.hypot(...theta);
    const before = theta.slice();
    rule.step(
      theta,
      gradient.map((x) => x * 1000),
      state,
      parameter,
      { lr: 1, weightDecay: 0, step: 2, seed: 0 },
    );
    const second = Math.hypot(...theta.map((x, i) => x - (before[i] as number)));
    assert.ok(second <= first * 1.0101, `${first} then ${second}`);
  });

  it("FRUGAL moves a share of the columns by Adam and the others by signs", () => {
    const parameter = parameterOf(5, 8);
    const rule = frugalRule({ ...ADAM, density: 0.25, updateEvery: 3, signRate: 0.5 });
    const state = rule.start(parameter);
    assert.equal(state.m?.length, 10);
    const theta = new Float32Array(40);
    const gradient = numbers(4, 40);
    rule.step(theta, gradient, state, parameter, { lr: 1, weightDecay: 0, step: 1, seed: 3 });
    const sizes = Array.from({ length: 8 }, (_, column) => Math.abs(theta[column] as number));
    assert.equal(sizes.filter((size) => Math.abs(size - 1) < 1e-4).length, 2);
    assert.equal(sizes.filter((size) => size === 0.5).length, 6);
    for (const [i, x] of theta.entries()) assert.equal(Math.sign(x), -Math.sign(gradient[i] as number));
  });
});

describe("LoRA-Pro", () => {
  const [r, inputs, outputs, scale] = [2, 5, 4, 1.5];
  const [a, b, full] = [numbers(5, r * inputs), numbers(6, outputs * r), numbers(7, outputs * inputs)];
  const at = (x: ArrayLike<number>, columns: number, i: number, j: number) => x[i * columns + j] as number;
  const sum = (n: number, term: (k: number) => number) => Array.from({ length: n }, (_, k) => term(k)).reduce((total, x) => total + x, 0);
  /** Gradients of the factors for a gradient of the whole weight: s B^T G and s G A^T. */
  const factorGradients = () => ({
    gradA: Float32Array.from(
      { length: r * inputs },
      (_, i) => scale * sum(outputs, (o) => at(b, r, o, Math.floor(i / inputs)) * at(full, inputs, o, i % inputs)),
    ),
    gradB: Float32Array.from({ length: outputs * r }, (_, i) => scale * sum(inputs, (n) => at(full, inputs, Math.floor(i / r), n) * at(a, inputs, i % r, n))),
  });
  /** s (B dA + dB A) */
  const step = (dA: ArrayLike<number>, dB: ArrayLike<number>) =>
    Array.from({ length: outputs * inputs }, (_, i) => {
      const [o, n] = [Math.floor(i / inputs), i % inputs];
      return scale * sum(r, (k) => at(b, r, o, k) * at(dA, inputs, k, n) + at(dB, r, o, k) * at(a, inputs, k, n));
    });
  const distance = (x: readonly number[]) => Math.hypot(...x.map((value, i) => value - (full[i] as number)));

  it("makes the step of the product as near to the full gradient as steps of factors can", () => {
    const plain = factorGradients();
    const { gradA, gradB } = factorGradients();
    loraProGradients({ r, inputs, outputs, a, b, scale }, gradA, gradB);
    const best = distance(step(gradA, gradB));
    assert.ok(best < distance(step(plain.gradA, plain.gradB)));
    const random = testRandom(9);
    for (let trial = 0; trial < 50; trial++) {
      const near = step(
        gradA.map((x) => x + 0.1 * random()),
        gradB.map((x) => x + 0.1 * random()),
      );
      assert.ok(distance(near) >= best - 1e-6);
    }
  });

  it("of all such steps takes the one nearest to the plain gradients", () => {
    const plain = factorGradients();
    const { gradA, gradB } = factorGradients();
    loraProGradients({ r, inputs, outputs, a, b, scale }, gradA, gradB);
    const away = (x: ArrayLike<number>, y: ArrayLike<number>) => Array.from(x).reduce((total, value, i) => total + (value - (y[i] as number)) ** 2, 0);
    const chosen = away(gradA, plain.gradA) + away(gradB, plain.gradB);
    for (const [k, l] of [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ] as const)
      for (const size of [0.01, -0.01]) {
        // A += X A, B -= B X leaves the product's step as it is.
        const movedA = gradA.map((x, i) => (Math.floor(i / inputs) === k ? x + size * at(a, inputs, l, i % inputs) : x));
        const movedB = gradB.map((x, i) => (i % r === l ? x - size * at(b, r, Math.floor(i / r), k) : x));
        assert.ok(away(movedA, plain.gradA) + away(movedB, plain.gradB) > chosen - 1e-6);
      }
  });

  it("stays finite where B is still zero: A waits, B follows the gradient", () => {
    const zero = new Float32Array(outputs * r);
    const gradA = new Float32Array(r * inputs);
    const { gradB } = factorGradients();
    loraProGradients({ r, inputs, outputs, a, b: zero, scale }, gradA, gradB);
    assert.ok(gradA.every((x) => x === 0));
    assert.ok(gradB.every(Number.isFinite) && gradB.some((x) => x !== 0));
  });
});

describe("LoRA-Pro with AdamW", () => {
  const [r, inputs, outputs, scale] = [2, 4, 3, 1.5];
  const settings = { betas: [0.9, 0.99], eps: 1e-8 } as const;
  type Matrix = number[][];
  const matrix = (x: ArrayLike<number>, rows: number, columns: number): Matrix =>
    Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (__, j) => x[i * columns + j] as number));
  const times = (x: Matrix, y: Matrix): Matrix => x.map((row) => (y[0] ?? []).map((_, j) => row.reduce((sum, value, k) => sum + value * (y[k]?.[j] ?? 0), 0)));
  const turned = (x: Matrix): Matrix => (x[0] ?? []).map((_, j) => x.map((row) => row[j] ?? 0));
  const scaledBy = (x: Matrix, factor: number): Matrix => x.map((row) => row.map((value) => value * factor));
  const plus = (x: Matrix, y: Matrix): Matrix => x.map((row, i) => row.map((value, j) => value + (y[i]?.[j] ?? 0)));
  /** Of two by two, by the formula. */
  const inverted = ([[p = 0, q = 0] = [], [s = 0, t = 0] = []]: Matrix): Matrix =>
    scaledBy(
      [
        [t, -q],
        [-s, p],
      ],
      1 / (p * t - q * s),
    );
  const unit = (n: number): Matrix => Array.from({ length: n }, (_, i) => Array.from({ length: n }, (__, j) => (i === j ? 1 : 0)));

  /** The paper's algorithm on whole matrices. The Sylvester equation is solved as four linear equations, by elimination. */
  function reference(a: Matrix, b: Matrix, full: Matrix, m: Matrix, v: Matrix, step: number) {
    const free = (gradA: Matrix, gradB: Matrix) => {
      const [bb, aa] = [inverted(times(turned(b), b)), inverted(times(a, turned(a)))];
      const outside = plus(unit(outputs), scaledBy(times(times(b, bb), turned(b)), -1));
      return { a: scaledBy(times(bb, gradA), scale ** -2), b: scaledBy(times(times(outside, gradB), aa), scale ** -2), bb };
    };
    const first = free(scaledBy(times(turned(b), full), scale), scaledBy(times(full, turned(a)), scale));
    const seen = scaledBy(plus(times(b, first.a), times(first.b, a)), scale);
    const [beta1, beta2] = settings.betas;
    const mean = plus(scaledBy(m, beta1), scaledBy(seen, 1 - beta1));
    const square = plus(
      scaledBy(v, beta2),
      seen.map((row) => row.map((x) => (1 - beta2) * x * x)),
    );
    const direction = mean.map((row, i) =>
      row.map((x, j) => x / (1 - beta1 ** step) / (Math.sqrt((square[i]?.[j] ?? 0) / (1 - beta2 ** step)) + settings.eps)),
    );
    const [gradA, gradB] = [scaledBy(times(turned(b), direction), scale), scaledBy(times(direction, turned(a)), scale)];
    const next = free(gradA, gradB);
    const right = scaledBy(times(times(next.bb, gradA), turned(a)), -(scale ** -2));
    const [gramB, gramA] = [times(turned(b), b), times(a, turned(a))];
    const equations = [0, 1, 2, 3].map((at) => {
      const [i, j] = [at >> 1, at & 1];
      const row = [0, 1, 2, 3].map((of) => {
        const [k, l] = [of >> 1, of & 1];
        return (l === j ? (gramB[i]?.[k] ?? 0) : 0) + (k === i ? (gramA[l]?.[j] ?? 0) : 0);
      });
      return [...row, right[i]?.[j] ?? 0];
    });
    const [x1 = 0, x2 = 0, x3 = 0, x4 = 0] = solved(equations);
    const x = [
      [x1, x2],
      [x3, x4],
    ];
    return { a: plus(next.a, times(x, a)), b: plus(next.b, scaledBy(times(b, x), -1)), mean, square };
  }

  function solved(rows: number[][]): number[] {
    for (const [c] of rows.entries()) {
      const pivot = rows.slice(c).reduce((best, row) => (Math.abs(row[c] ?? 0) > Math.abs(best[c] ?? 0) ? row : best));
      rows.splice(rows.indexOf(pivot), 1);
      rows.splice(c, 0, pivot);
      for (const row of rows) {
        if (row === pivot) continue;
        const factor = (row[c] ?? 0) / (pivot[c] ?? 1);
        for (let k = 0; k < row.length; k++) row[k] = (row[k] ?? 0) - factor * (pivot[k] ?? 0);
      }
    }
    return rows.map((row, c) => (row.at(-1) ?? 0) / (row[c] ?? 1));
  }

  it("steps as the algorithm on whole matrices does", () => {
    const [a, b] = [numbers(15, r * inputs), numbers(16, outputs * r)];
    const moments = { m: new Float32Array(outputs * inputs), v: new Float32Array(outputs * inputs) };
    let [m, v] = [matrix(moments.m, outputs, inputs), matrix(moments.v, outputs, inputs)];
    for (let step = 1; step <= 5; step++) {
      const full = matrix(numbers(20 + step, outputs * inputs), outputs, inputs);
      const [fullA, fullB] = [matrix(a, r, inputs), matrix(b, outputs, r)];
      const gradA = Float32Array.from(scaledBy(times(turned(fullB), full), scale).flat());
      const gradB = Float32Array.from(scaledBy(times(full, turned(fullA)), scale).flat());
      loraProAdamW({ r, inputs, outputs, a, b, scale }, gradA, gradB, moments, step, settings);
      const expected = reference(fullA, fullB, full, m, v, step);
      [m, v] = [expected.mean, expected.square];
      for (const [actual, wanted] of [
        [gradA, expected.a],
        [gradB, expected.b],
        [moments.m, m],
        [moments.v, v],
      ] as const)
        for (const [i, value] of wanted.flat().entries())
          assert.ok(Math.abs((actual[i] ?? Number.NaN) - value) < 2e-4 * Math.max(1, Math.abs(value)), `step ${step}: ${actual[i]}, expected ${value}`);
      for (let i = 0; i < a.length; i++) a[i] = (a[i] as number) - 0.05 * (gradA[i] as number);
      for (let i = 0; i < b.length; i++) b[i] = (b[i] as number) - 0.05 * (gradB[i] as number);
    }
  });

  it("starts where B is zero: A waits, B moves", () => {
    const moments = { m: new Float32Array(outputs * inputs), v: new Float32Array(outputs * inputs) };
    const [gradA, gradB] = [new Float32Array(r * inputs), numbers(18, outputs * r)];
    loraProAdamW({ r, inputs, outputs, a: numbers(17, r * inputs), b: new Float32Array(outputs * r), scale }, gradA, gradB, moments, 1, settings);
    assert.ok(gradA.every((x) => x === 0));
    assert.ok(gradB.every(Number.isFinite) && gradB.some((x) => x !== 0));
  });
});

describe("MeZO", () => {
  const target = numbers(8, 20);
  const run = (sparsity: number, steps: number, seed = 1) => {
    const values = numbers(9, 20);
    const lossOf = () => values.reduce((sum, x, i) => sum + (x - (target[i] as number)) ** 2 / 2, 0);
    const [start, losses] = [values.slice(), [lossOf()]];
    for (let step = 1; step <= steps; step++) {
      mezoStep(new Map([["w", values]]), lossOf, { distance: 1e-3, sparsity, seed, step, lr: 0.02, weightDecay: 0, rateOf: () => 1 });
      losses.push(lossOf());
    }
    return { values, start, losses };
  };

  it("descends from losses alone, with the same steps from the same seed", () => {
    const { losses, values } = run(0, 200);
    assert.ok((losses.at(-1) ?? 1) < 0.2 * (losses[0] ?? 0), `${losses[0]} to ${losses.at(-1)}`);
    assert.deepEqual(run(0, 200).values, values);
    assert.notDeepEqual(run(0, 200, 2).values, values);
  });

  it("finds the slope along its direction, and moves by it", () => {
    const values = numbers(9, 20);
    const before = values.slice();
    const g = values.map((x, i) => x - (target[i] as number));
    const lossOf = () => values.reduce((sum, x, i) => sum + (x - (target[i] as number)) ** 2 / 2, 0);
    const { slope } = mezoStep(new Map([["w", values]]), lossOf, { distance: 1e-2, sparsity: 0, seed: 1, step: 1, lr: 0.1, weightDecay: 0, rateOf: () => 1 });
    const z = values.map((x, i) => (x - (before[i] as number)) / (-0.1 * slope));
    assert.ok(Math.abs(z.reduce((sum, x, i) => sum + x * (g[i] as number), 0) - slope) < 1e-2 * Math.abs(slope) + 1e-3);
  });

  it("sparse, leaves the largest magnitudes as they are", () => {
    const { values, start } = run(0.75, 1);
    const order = [...start.keys()].sort((i, j) => Math.abs(start[i] as number) - Math.abs(start[j] as number));
    for (const [place, i] of order.entries()) assert.equal(values[i] !== start[i], place < 5);
  });
});
