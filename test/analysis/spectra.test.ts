// Spectra and subspaces against numpy's SVD in float64, laws, and what has none.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { compareModels } from "../../merge-core/analysis/compare.ts";
import type { Comparison, Measure } from "../../merge-core/analysis/comparison.ts";
import { addSpectra } from "../../merge-core/analysis/spectra/add-spectra.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";

const NAME = "model.layers.0.mlp.up_proj.weight";
const DIRECTIONS = 3;

interface Options {
  readonly exact?: boolean;
  readonly threads?: number;
  readonly directions?: number;
  readonly memoryBytes?: number;
}

async function measure(base: string | undefined, models: readonly string[], options: Options = {}): Promise<Comparison> {
  const pool = createPool({ threads: options.threads ?? 1, maxMemoryBytes: 2 ** 28 });
  const shared = { pool, memoryBytes: options.memoryBytes ?? 2 ** 27 };
  try {
    const opened = await Promise.all(models.map((path) => openCheckpoint(path)));
    const origin = base === undefined ? undefined : await openCheckpoint(base);
    const compared = await compareModels(origin, opened, { ...shared, memoryBytes: 2 ** 27, density: 0.5 });
    return await addSpectra(compared, origin, opened, { ...shared, exact: options.exact ?? false, directions: options.directions ?? DIRECTIONS });
  } finally {
    await pool.close();
  }
}

const near = (actual: Measure | undefined, expected: number, tolerance = 1e-6) =>
  assert.ok(typeof actual === "number" && Math.abs(actual - expected) <= tolerance * Math.max(1, Math.abs(expected)), `${actual} is not ${expected}`);

const one = (shape: readonly number[], values: ArrayLike<number>) => writeModel([floatTensor(NAME, shape, Array.from(values))]);
const zeros = (shape: readonly number[]) => one(shape, new Float64Array(shape.reduce((a, b) => a * b, 1)));

/** Numbers in [-0.5, 0.5) with eight binary digits, as in test/oracles/spectra_goldens.py. */
function noise(seed: number, size: number): number[] {
  let state = (seed * 2654435761 + 1) % 2 ** 32;
  return Array.from({ length: size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * 256 + 0.5) / 256 - 0.5;
  });
}

function matrix([rows = 0, columns = 0]: readonly number[], seed: number, rank?: number): number[] {
  if (rank === undefined) return noise(seed, rows * columns);
  const [left, right] = [noise(seed, rows * rank), noise(seed + 1, rank * columns)];
  return Array.from({ length: rows * columns }, (_, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns];
    return Array.from({ length: rank }, (__, k) => (left[i * rank + k] ?? 0) * (right[k * columns + j] ?? 0)).reduce((a, b) => a + b, 0);
  });
}

interface Golden {
  readonly values: readonly number[];
  readonly effectiveRank: number;
  readonly stableRank: number;
  readonly spanningRank: number;
}

interface Case {
  readonly name: string;
  readonly shape: readonly number[];
  readonly rank?: number;
  readonly a: Golden;
  readonly b: Golden;
  readonly subspace: number;
  readonly subspaceReverse: number;
  readonly angles: readonly number[];
}

const CASES = JSON.parse(readFileSync("test/fixtures/oracles/spectra/golden.json", "utf8")) as readonly Case[];

describe("spectra", () => {
  for (const { name, shape, rank, a, b, subspace, subspaceReverse, angles } of CASES)
    it(`agree with numpy: ${name}`, async () => {
      const comparison = await measure(zeros(shape), [one(shape, matrix(shape, 3, rank)), one(shape, matrix(shape, 7, rank))]);
      const [found] = comparison.spectra ?? [];
      for (const [i, golden] of [a, b].entries())
        for (const spectrum of [found?.models[i], found?.weights?.[i]]) {
          assert.equal(spectrum?.singularValues.length, golden.values.length);
          for (const [k, value] of golden.values.entries()) near(spectrum?.singularValues[k], value);
          near(spectrum?.effectiveRank, golden.effectiveRank);
          near(spectrum?.stableRank, golden.stableRank);
          assert.equal(spectrum?.spanningRank, golden.spanningRank);
        }
      const [pair] = found?.pairs ?? [];
      near(pair?.subspace, subspace);
      near(pair?.subspaceReverse, subspaceReverse);
      assert.equal(pair?.angles.length, angles.length);
      // arccos in the oracle loses half the digits near 0.
      for (const [k, angle] of angles.entries()) near(pair?.angles[k], angle, 2e-6);
      near(pair?.overlap, angles.reduce((sum, angle) => sum + Math.cos((angle * Math.PI) / 180) ** 2, 0) / angles.length);
    });

  it("find a model's directions the same as its own, and none left over but the 5 %", async () => {
    const shape = [20, 24];
    const model = one(shape, matrix(shape, 5));
    const [pair] = (await measure(zeros(shape), [model, model])).spectra?.[0]?.pairs ?? [];
    assert.ok((pair?.subspace ?? 0) >= Math.sqrt(1 - 0.05 ** 2) && (pair?.subspace ?? 0) <= 1, String(pair?.subspace));
    for (const angle of pair?.angles ?? [Number.NaN]) assert.ok(angle < 1e-4, String(angle));
    near(pair?.overlap, 1);
  });

  it("find orthogonal changes unrelated", async () => {
    const shape = [4, 4];
    const diagonal = (...entries: number[]) =>
      one(
        shape,
        [0, 1, 2, 3].flatMap((i) => [0, 1, 2, 3].map((j) => (i === j ? (entries[i] ?? 0) : 0))),
      );
    const { spectra, total } = await measure(zeros(shape), [diagonal(3, 1, 0, 0), diagonal(0, 0, 2, 2)]);
    const [pair] = spectra?.[0]?.pairs ?? [];
    assert.deepEqual([pair?.subspace, pair?.subspaceReverse], [0, 0]);
    near(pair?.overlap, 0, 1e-30);
    assert.deepEqual(pair?.angles, [90, 90]);
    assert.deepEqual(
      spectra?.[0]?.models.map(({ singularValues }) => singularValues),
      [
        [3, 1],
        [2, 2],
      ],
    );
    near(total.models[1]?.changes?.effectiveRank, 2);
    near(total.models[0]?.changes?.stableRank, 10 / 9);
    assert.equal(total.pairs[0]?.changes?.subspace, 0);
  });

  it("have no value where nothing changed", async () => {
    const shape = [3, 4];
    const base = one(shape, matrix(shape, 1));
    const [found] = (await measure(base, [base, one(shape, matrix(shape, 2))])).spectra ?? [];
    assert.deepEqual(found?.models[0], { singularValues: [], effectiveRank: null, stableRank: null, spanningRank: null });
    assert.deepEqual(found?.pairs, [{ a: 0, b: 1, subspace: null, subspaceReverse: null, angles: [], overlap: null }]);
    assert.ok(typeof found?.base?.effectiveRank === "number");
  });

  it("need no base for weights, and leave out what is no matrix or does not fit", async () => {
    const shape = [6, 6];
    const model = (seed: number) =>
      writeModel([
        floatTensor(NAME, shape, noise(seed, 36)),
        floatTensor("model.norm.weight", [6], noise(seed, 6)),
        floatTensor("conv.weight", [2, 2, 2], noise(1, 8)),
      ]);
    const { spectra, spectraSkipped } = await measure(undefined, [model(1), model(2)]);
    assert.deepEqual([spectra?.length, spectra?.[0]?.models, spectra?.[0]?.pairs, spectra?.[0]?.weights?.length], [1, [], [], 2]);
    assert.deepEqual(spectraSkipped, [
      { name: "model.norm.weight", reason: "has 1 dimension; only matrices have singular values" },
      { name: "conv.weight", reason: "has 3 dimensions; only matrices have singular values" },
    ]);
    const tight = await measure(undefined, [model(1), model(2)], { memoryBytes: 2 ** 20 });
    assert.match(tight.spectraSkipped?.find(({ name }) => name === NAME)?.reason ?? "", /needs \d+ MiB of memory; --memory allows 1 MiB/);
  });

  it("mean over the matrices of a layer, a role and the whole", async () => {
    const names = ["model.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight"];
    const model = (seed: number) =>
      writeModel([...names, "model.norm.weight"].map((name, i) => floatTensor(name, i === 3 ? [8] : [8, 8], noise(seed + i, i === 3 ? 8 : 64))));
    const { spectra = [], total, roles, layers, tensors } = await measure(model(1), [model(11), model(21)]);
    const value = (index: number) => spectra[index]?.pairs?.[0]?.subspace ?? Number.NaN;
    near(total.pairs[0]?.changes?.subspace, (value(0) + value(1) + value(2)) / 3, 1e-12);
    near(roles.find(({ name }) => name === "mlp")?.pairs[0]?.changes?.subspace, (value(0) + value(2)) / 2, 1e-12);
    near(layers[0]?.pairs[0]?.changes?.subspace, (value(0) + value(1)) / 2, 1e-12);
    near(layers[0]?.roles.find(({ name }) => name === "attention")?.pairs[0]?.changes?.subspace, value(1), 1e-12);
    assert.equal(tensors.find(({ name }) => name === "model.norm.weight")?.pairs[0]?.changes?.subspace, undefined);
    near(total.models[0]?.effectiveRank, spectra.reduce((sum, { weights }) => sum + (weights?.[0]?.effectiveRank ?? Number.NaN), 0) / 3, 1e-12);
  });

  it("do not depend on threads", async () => {
    const shape = [70, 90];
    const models = [one(shape, matrix(shape, 1)), one(shape, matrix(shape, 2))];
    const alone = await measure(zeros(shape), models, { directions: 16 });
    assert.deepEqual((await measure(zeros(shape), models, { directions: 16, threads: 2 })).spectra, alone.spectra);
  });

  it("of a large matrix are its leading part", async function () {
    this.timeout(60_000);
    // Rank 2: rows are multiples of one of two patterns.
    const [rows, columns] = [1030, 1026];
    const pattern = [noise(1, columns), noise(2, columns)];
    const values = Float32Array.from(
      { length: rows * columns },
      (_, at) => (pattern[(at / columns) & 1]?.[at % columns] ?? 0) * ((Math.floor(at / columns) % 7) + 1),
    );
    const [found] = (await measure(zeros([rows, columns]), [one([rows, columns], values)])).spectra ?? [];
    const [change] = found?.models ?? [];
    assert.deepEqual([change?.partial, change?.effectiveRank, change?.spanningRank, change?.singularValues.length], [true, null, 2, 2]);
    const energy = values.reduce((sum, x) => sum + x ** 2, 0);
    near(
      (change?.singularValues ?? []).reduce((sum, x) => sum + x ** 2, 0),
      energy,
      1e-5,
    );
    near(change?.stableRank, energy / (change?.singularValues[0] ?? 0) ** 2, 1e-5);
  });
});
