// Laws that adapter families obey, worked out without any of their files.
import assert from "node:assert/strict";
import { factorization } from "../../merge-core/adapters/families/lokr.ts";
import { type AdapterFamily, type AdapterModule, deltaOf, type Settings, trainedParameters } from "../../merge-core/adapters/family.ts";
import { findFamily } from "../../merge-core/adapters/registry.ts";
import { testRandom } from "../helpers/tiny-decoder.ts";

const LAYER = { inFeatures: 12, outFeatures: 8 };

function familyOf(type: string): AdapterFamily {
  const family = findFamily(type);
  assert.ok(family, type);
  return family;
}

/** A module with random tensors, or such as `fill` makes them. */
function moduleOf(type: string, changes: Settings = {}, fill: (name: string, at: number) => number | undefined = () => undefined): AdapterModule {
  const family = familyOf(type);
  const settings = { ...Object.fromEntries(family.settings.map((s) => [s.name, s.default])), ...changes };
  const held = { oft_R: [3, 6], ia3_l: [8, 1], lora_E: [2, 1], vera_A: [2, 16], vera_B: [10, 2], vblora_vector_bank: [5, 4], boft_R: [2, 6, 2, 2] };
  const shapes = { ...family.shapes(LAYER, settings, held), ...Object.fromEntries(family.shared.map(({ name }) => [name, held[name as keyof typeof held]])) };
  const random = testRandom(type.length);
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    const values = Float64Array.from({ length: shape.reduce((product, n) => product * n, 1) }, (_, at) => fill(name, at) ?? random());
    return [name, { shape, values }] as const;
  });
  return { layer: LAYER, settings, tensors: Object.fromEntries(tensors) };
}

const random = testRandom(5);
const WEIGHT = Float64Array.from({ length: 96 }, () => random());
const assertNear = (a: ArrayLike<number>, b: ArrayLike<number>, within = 1e-12) => {
  assert.equal(a.length, b.length);
  for (let i = 0; i < a.length; i++) assert.ok(Math.abs((a[i] ?? Number.NaN) - (b[i] ?? Number.NaN)) <= within, `${i}: ${a[i]} and ${b[i]}`);
};

/** Where training starts: settings, and the values that leave the weight alone. */
const NEUTRAL: Record<string, [Settings, (name: string, at: number) => number | undefined]> = {
  LORA: [{ r: 2 }, (name) => (name === "lora_B" ? 0 : undefined)],
  ADALORA: [{}, (name) => (name === "lora_E" ? 0 : undefined)],
  VERA: [{ r: 2 }, (name) => (name === "vera_lambda_b" ? 0 : undefined)],
  VBLORA: [{ r: 2, num_vectors: 5, vector_length: 4 }, (name) => (name === "vblora_vector_bank" ? 0 : undefined)],
  DELORA: [{ r: 2 }, (name) => (name === "delora_B" ? 0 : undefined)],
  LOHA: [{ r: 2 }, (name) => (name === "hada_w2_b" ? 0 : undefined)],
  LOKR: [{ r: 1 }, (name) => (name === "lokr_w1" ? 0 : undefined)],
  MISS: [{ r: 4 }, () => 0],
  BONE: [{ r: 4, init_weights: "bat" }, () => 0],
  C3A: [{ block_size: 4 }, () => 0],
  OFT: [{}, () => 0],
  HRA: [{ r: 2 }, (_, at) => Math.floor(at / 2) - 3],
  HIRA: [{ r: 2 }, (name) => (name === "hira_B" ? 0 : undefined)],
  IA3: [{}, () => 1],
  SHIRA: [{ r: 1 }, (name, at) => (name === "shira_weight" ? 0 : at % 8)],
  PSOFT: [{ r: 3 }, (name) => (name === "psoft_R" ? 0 : name.includes("vector") ? 1 : undefined)],
  BOFT: [{}, (name) => (name === "boft_R" ? 0 : name === "boft_s" ? 1 : undefined)],
  FOURIERFT: [{ n_frequency: 9 }, () => 0],
  GRALORA: [{ r: 4, hybrid_r: 1 }, (name) => (name.startsWith("gralora_B") ? 0 : undefined)],
  LN_TUNING: [{}, () => undefined],
};

describe("Adapter families", () => {
  for (const type of Object.keys(NEUTRAL)) {
    it(`leave the weight alone where training starts: ${type}`, () => {
      const [settings, fill] = NEUTRAL[type] ?? [{}, () => undefined];
      assertNear(deltaOf(familyOf(type), moduleOf(type, settings, fill), WEIGHT), new Float64Array(96));
    });
  }

  it("train as many parameters as their papers count", () => {
    const { inFeatures: n, outFeatures: m } = LAYER;
    const counted = (type: string, settings: Settings) => {
      const { settings: all } = moduleOf(type, settings);
      return trainedParameters(familyOf(type), LAYER, all, { oft_R: [3, 6], ia3_l: [1, 12] });
    };
    assert.equal(counted("LORA", { r: 3 }), 3 * (n + m));
    assert.equal(counted("LORA", { r: 3, use_dora: true }), 3 * (n + m) + m);
    assert.equal(counted("LOHA", { r: 3 }), 2 * 3 * (n + m));
    assert.equal(counted("VERA", { r: 5 }), 5 + m);
    assert.equal(counted("HRA", { r: 4 }), 4 * n);
    assert.equal(counted("MISS", { r: 4 }), 4 * m);
    assert.equal(counted("OFT", {}), (n / 4) * 6);
    assert.equal(counted("IA3", {}), n);
    assert.equal(counted("SHIRA", { r: 2 }), 2 * (n + m));
    assert.equal(counted("C3A", { block_size: 4 }), (n * m) / 4);
    // 8 = 2 x 4 and 12 = 3 x 4: w1 [2, 3], w2 [4, 1] [1, 4].
    assert.equal(counted("LOKR", { r: 1 }), 6 + 4 + 4);
  });

  it("scale LoRA by alpha / r, and by alpha / sqrt(r) where it is stabilised", () => {
    const plain = deltaOf(familyOf("LORA"), moduleOf("LORA", { r: 4, lora_alpha: 8 }));
    const stable = deltaOf(familyOf("LORA"), moduleOf("LORA", { r: 4, lora_alpha: 8, use_rslora: true }));
    assertNear(
      stable,
      plain.map((x) => 2 * x),
    );
  });

  it("give DoRA's rows their magnitude as norm", () => {
    const module = moduleOf("LORA", { r: 2, use_dora: true }, (name, at) => (name === "lora_magnitude_vector" ? at + 1 : undefined));
    const delta = deltaOf(familyOf("LORA"), module, WEIGHT);
    for (let o = 0; o < 8; o++) {
      const row = delta.subarray(o * 12, o * 12 + 12).map((x, i) => x + (WEIGHT[o * 12 + i] ?? 0));
      assertNear([Math.hypot(...row)], [o + 1]);
    }
  });

  for (const [what, type, settings] of [
    ["OFT by the exact transform", "OFT", { use_cayley_neumann: false }],
    ["BOFT without scales", "BOFT", {}],
    ["HRA", "HRA", { r: 3 }],
    ["HRA with orthogonal directions", "HRA", { r: 3, apply_GS: true }],
  ] as const) {
    it(`keep the lengths of rows and their angles: ${what}`, () => {
      const delta = deltaOf(
        familyOf(type),
        moduleOf(type, settings, (name) => (name === "boft_s" ? 1 : undefined)),
        WEIGHT,
      );
      const rotated = delta.map((x, i) => x + (WEIGHT[i] ?? 0));
      const gram = (w: Float64Array) =>
        Float64Array.from({ length: 64 }, (_, at) => {
          const [p, q] = [w.subarray(Math.floor(at / 8) * 12).slice(0, 12), w.subarray((at % 8) * 12).slice(0, 12)];
          return p.reduce((sum, x, i) => sum + x * (q[i] ?? 0), 0);
        });
      assert.ok(delta.some((x) => Math.abs(x) > 0.1));
      assertNear(gram(rotated), gram(WEIGHT), 1e-11);
    });
  }

  it("approximate by Neumann's series the inverse of OFT's exact rotation", () => {
    const small = (name: string, at: number) => (name === "oft_R" ? 0.01 * ((at % 5) - 2) : undefined);
    const there = deltaOf(familyOf("OFT"), moduleOf("OFT", { num_cayley_neumann_terms: 9 }, small), WEIGHT).map((x, i) => x + (WEIGHT[i] ?? 0));
    const back = deltaOf(familyOf("OFT"), moduleOf("OFT", { use_cayley_neumann: false }, small), there).map((x, i) => x + (there[i] ?? 0));
    assertNear(back, WEIGHT, 1e-11);
  });

  it("mirror at one hyperplane for HRA of rank one", () => {
    const module = moduleOf("HRA", { r: 1 }, (_, at) => (at === 2 ? 5 : 0));
    const delta = deltaOf(familyOf("HRA"), module, WEIGHT);
    assertNear(
      delta,
      WEIGHT.map((x, at) => (at % 12 === 2 ? -2 * x : 0)),
    );
  });

  it("know Bone under both its names", () => {
    const values = (_: string, at: number) => Math.sin(at);
    for (const init of [null, "bat"]) {
      const [a, b] = ["MISS", "BONE"].map((type) => deltaOf(familyOf(type), moduleOf(type, { r: 4, init_weights: init }, values), WEIGHT));
      assert.deepEqual(a, b);
    }
  });

  it("factorise dimensions for LoKr as PEFT's documentation has it", () => {
    assert.deepEqual(
      [
        factorization(256, -1),
        factorization(128, -1),
        factorization(127, -1),
        factorization(128, 4),
        factorization(4096, -1),
        factorization(11008, -1),
        factorization(11008, 8),
        factorization(250, 16),
      ],
      [
        [16, 16],
        [8, 16],
        [1, 127],
        [4, 32],
        [64, 64],
        [86, 128],
        [8, 1376],
        [10, 25],
      ],
    );
  });
});
