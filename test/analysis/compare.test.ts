// Comparisons against hand-worked tensors, identities, and sums written out in float64.
import assert from "node:assert/strict";
import { truncateSync } from "node:fs";
import { type CompareOptions, compareModels } from "../../merge-core/analysis/compare.ts";
import type { Comparison, Measure } from "../../merge-core/analysis/comparison.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { floatTensor, type ModelOptions, type TensorData, writeModel } from "../helpers/models.ts";

const NAME = "model.layers.0.mlp.up_proj.weight";
const one = (values: readonly number[] | Float32Array, shape = [values.length]) => writeModel([floatTensor(NAME, shape, values)]);

async function compare(base: string | undefined, models: readonly string[], options: Partial<CompareOptions> & { threads?: number } = {}): Promise<Comparison> {
  const pool = createPool({ threads: options.threads ?? 1, maxMemoryBytes: 2 ** 28 });
  try {
    const opened = await Promise.all(models.map((path) => openCheckpoint(path)));
    return await compareModels(base === undefined ? undefined : await openCheckpoint(base), opened, { pool, memoryBytes: 2 ** 27, density: 0.5, ...options });
  } finally {
    await pool.close();
  }
}

const near = (actual: Measure | undefined, expected: number, tolerance = 1e-6) =>
  assert.ok(typeof actual === "number" && Math.abs(actual - expected) <= tolerance * Math.max(1, Math.abs(expected)), `${actual} is not ${expected}`);

const T1 = [0.5, -0.4, 0.1, -0.05, 0.3, -0.2, 0.02, 0];
const T2 = [-0.3, -0.6, 0.2, 0.04, 0.1, 0.25, -0.01, 0.07];
const ZEROS = new Array<number>(8).fill(0);

/** Numbers in [-0.5, 0.5) with eight binary digits, so that differences are exact in bfloat16's neighbourhood too. */
function noise(seed: number, size: number): number[] {
  let state = seed * 2654435761 + 1;
  return Array.from({ length: size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.round((state / 2 ** 32) * 256) / 256 - 0.5;
  });
}

describe("compare by hand", () => {
  it("gives cosine and conflict of the worked example", async () => {
    const { total } = await compare(one(ZEROS), [one(T1), one(T2)]);
    const changes = total.pairs[0]?.changes;
    near(changes?.cosine, 0.156523);
    near(changes?.conflict, 4 / 7);
    near(changes?.support, 7 / 8);
    near(changes?.normRatio, Math.sqrt(0.5529 / 0.5691), 1e-6);
    near(total.pairs[0]?.l2, Math.sqrt(T1.reduce((sum, x, i) => sum + (x - (T2[i] ?? 0)) ** 2, 0)));
    near(total.signAgreement, (4 - 1 + 1) / 8);
    // Sums of signs: 0 four times (+-, +-, -+, +-), -2 once, +2 twice, +1 once.
    assert.deepEqual(total.signCounts, [1, 0, 4, 1, 2]);
  });

  it("previews the trim and the election of the worked TIES example", async () => {
    // Kept: T1 [.5,-.4,0,0,.3,-.2,0,0], T2 [-.3,-.6,.2,0,0,.25,0,0]; elected signs [+,-,+,+,+,+,+,+].
    const { total } = await compare(one(ZEROS), [one(T1), one(T2)]);
    const [first, second] = total.models.map((model) => model.changes);
    near(first?.droppedBySign, 1 / 4);
    near(second?.droppedBySign, 1 / 4);
    near(first?.keptNorm, Math.sqrt(0.54 / 0.5529));
    near(first?.droppedEnergy, 0.04 / 0.54);
    near(total.pairs[0]?.changes?.topOverlap, 3 / 5);
    near(total.pairs[0]?.changes?.topConflict, 2 / 3);
  });

  it("finds a model like itself, and its mirror image opposed", async () => {
    const base = noise(1, 6000);
    const change = noise(2, 6000);
    const [a, b] = [base.map((x, i) => x + (change[i] ?? 0)), base.map((x, i) => x - (change[i] ?? 0))];
    const same = (await compare(one(base), [one(a), one(a)])).total.pairs[0];
    assert.deepEqual([same?.cosine, same?.l2, same?.changes?.cosine, same?.changes?.conflict, same?.changes?.topOverlap], [1, 0, 1, 0, 1]);
    const opposed = (await compare(one(base), [one(a), one(b)])).total;
    near(opposed.pairs[0]?.changes?.cosine, -1, 1e-12);
    assert.equal(opposed.pairs[0]?.changes?.conflict, 1);
    assert.equal(opposed.conflict, 1);
  });

  it("has no value where there is nothing to measure", async () => {
    const { total } = await compare(one(T1), [one(T1), one(T2)]);
    assert.equal(total.pairs[0]?.changes?.cosine, null);
    assert.equal(total.pairs[0]?.changes?.conflict, null);
    assert.equal(total.models[0]?.changes?.density, 0);
    assert.equal(total.models[0]?.changes?.keptNorm, null);
  });
});

/** The measures of the task vectors of one pair, written out. */
function oracle(base: ArrayLike<number>, a: ArrayLike<number>, b: ArrayLike<number>) {
  const [ta, tb] = [a, b].map((model) => Float64Array.from(model, (x, i) => Math.fround(x - (base[i] ?? 0))));
  const dot = (x: ArrayLike<number>, y: ArrayLike<number>) => Array.from(x).reduce((sum, value, i) => sum + value * (y[i] ?? 0), 0);
  const cosine = (x: ArrayLike<number>, y: ArrayLike<number>) => dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y));
  const both = Array.from(ta ?? []).filter((x, i) => x !== 0 && tb?.[i] !== 0).length;
  const opposite = Array.from(ta ?? []).filter((x, i) => x * (tb?.[i] ?? 0) < 0).length;
  return {
    cosineChanges: cosine(ta ?? [], tb ?? []),
    cosineWeights: cosine(a, b),
    conflict: opposite / both,
    norm: Math.sqrt(dot(ta ?? [], ta ?? [])),
    both,
    opposite,
  };
}

describe("compare of whole models", () => {
  const names = [
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.mlp.up_proj.weight",
    "model.layers.1.mlp.up_proj.weight",
  ];
  const dtypes = ["F32", "BF16", "F16", "F32"] as const;
  const SIZES = [5000, 64, 9000, 4096];
  const tensors = (seed: number): TensorData[] =>
    names.map((name, i) => floatTensor(name, [SIZES[i] ?? 0], noise(seed + i, SIZES[i] ?? 0), dtypes[i] ?? "F32"));
  const folders = [10, 20, 30, 40].map((seed) => writeModel(tensors(seed)));
  const values = (model: number, tensor: number) => widenToFloat32(dtypes[tensor] ?? "F32", (tensors(10 * (model + 1))[tensor] as TensorData).data);

  it("agrees with float64 sums per tensor, and adds tensors up", async () => {
    const [base = "", ...models] = folders;
    const comparison = await compare(base, models);
    for (const [t, tensor] of comparison.tensors.entries())
      for (const pair of tensor.pairs) {
        const expected = oracle(values(0, t), values(pair.a + 1, t), values(pair.b + 1, t));
        near(pair.changes?.cosine, expected.cosineChanges, 1e-10);
        near(pair.cosine, expected.cosineWeights, 1e-6);
        near(pair.changes?.conflict, expected.conflict, 1e-12);
        near(tensor.models[pair.a]?.changes?.norm, expected.norm, 1e-10);
      }
    const [first] = comparison.total.pairs;
    const parts = names.map((_, t) => oracle(values(0, t), values(1, t), values(2, t)));
    near(first?.changes?.conflict, parts.reduce((sum, p) => sum + p.opposite, 0) / parts.reduce((sum, p) => sum + p.both, 0), 1e-12);
    assert.deepEqual(comparison.roles.map(({ name, elements }) => [name, elements]).sort(), [
      ["attention", 64],
      ["embedding", 5000],
      ["mlp", 13096],
    ]);
    assert.deepEqual(
      comparison.layers.map(({ name, elements }) => [name, elements]),
      [
        ["model.layers.0", 9064],
        ["model.layers.1", 4096],
      ],
    );
    const [a, b] = comparison.layers;
    assert.deepEqual([a?.conflictRank, b?.conflictRank], (a?.conflict ?? 0) >= (b?.conflict ?? 0) ? [1, 2] : [2, 1]);
  });

  it("counts signs of many models, one question at a time, as the patterns of a few tell them", async () => {
    const [base = "", ...models] = folders;
    const more = [50, 60].map((seed) => writeModel(tensors(seed)));
    const [few, many] = [await compare(base, models), await compare(base, [...models, ...more])];
    for (const { a, b, changes } of few.total.pairs) {
      const other = many.total.pairs.find((pair) => pair.a === a && pair.b === b);
      assert.deepEqual(other?.changes, changes);
    }
    const densities = (comparison: typeof few) => comparison.total.models.slice(0, 3).map(({ changes }) => changes?.density);
    assert.deepEqual(densities(many), densities(few));
  });

  it("reads quantiles within their bins, and the largest exactly", async () => {
    const [base = "", ...models] = folders;
    const { total } = await compare(base, models);
    const changesOf = (t: number) => {
      const origin = values(0, t);
      return Array.from(values(1, t), (x, i) => Math.abs(Math.fround(x - (origin[i] ?? 0))));
    };
    const changes = names.flatMap((_, t) => changesOf(t)).sort((x, y) => x - y);
    const at = (q: number) => changes[Math.ceil(q * changes.length) - 1] ?? Number.NaN;
    const quantiles = total.models[0]?.changes?.quantiles;
    for (const [found, q] of [
      [quantiles?.p50, 0.5],
      [quantiles?.p90, 0.9],
      [quantiles?.p99, 0.99],
    ] as const)
      assert.ok(Math.abs((found ?? 0) / at(q) - 1) <= 1 / 256 + 1e-6, `${found} is not ${at(q)}`);
    assert.equal(quantiles?.max, changes.at(-1));
  });

  it("does not depend on threads or memory", async () => {
    const [base = "", ...models] = folders;
    const expected = await compare(base, models);
    for (const [threads, memoryBytes] of [
      [1, 2 ** 21],
      [2, 2 ** 22],
      [3, 2 ** 27],
    ] as const)
      assert.deepEqual(await compare(base, models, { threads, memoryBytes }), expected, `${threads} threads, ${memoryBytes} bytes`);
  });

  it("names a file that lost its end, however far the tensors before it are", async () => {
    const [, ...models] = folders;
    const opened = await Promise.all(models.map((path) => openCheckpoint(path)));
    for (const lost of [100, 30_000, 50_000]) {
      const base = await openCheckpoint(writeModel(tensors(10)));
      const [{ file, sizeBytes }] = base.shards as [(typeof base.shards)[number]];
      truncateSync(file, sizeBytes - lost);
      const pool = createPool({ threads: 2 });
      const error = await rejectsWith("read-short", () => compareModels(base, opened, { pool, memoryBytes: 2 ** 27, density: 0.5 }));
      assert.equal(error.file, file);
      assert.equal(pool.arena.usedBytes, 0, "all memory is returned");
      await pool.close();
    }
  });

  it("stops when cancelled, and gives back all memory", async () => {
    const opened = await Promise.all(folders.map((path) => openCheckpoint(path)));
    for (const [threads, tensor] of [1, 2].flatMap((n) => names.slice(0, 2).map((name) => [n, name] as const))) {
      const pool = createPool({ threads });
      const abort = new AbortController();
      const onProgress = (_done: number, _total: number, at: string): void => {
        if (at === tensor) abort.abort();
      };
      await rejectsWith("cancelled", () => compareModels(undefined, opened, { pool, memoryBytes: 2 ** 27, density: 0.5, signal: abort.signal, onProgress }));
      assert.equal(pool.arena.usedBytes, 0);
      await pool.close();
    }
  });

  it("needs no base", async () => {
    const { total, base } = await compare(undefined, folders.slice(0, 2));
    assert.equal(base, undefined);
    const weights = names.flatMap((_, t) => [...values(0, t)]);
    const others = names.flatMap((_, t) => [...values(1, t)]);
    near(total.pairs[0]?.cosine, oracle(new Float32Array(weights.length), weights, others).cosineWeights, 1e-10);
    near(total.pairs[0]?.l2, Math.sqrt(weights.reduce((sum, x, i) => sum + (x - (others[i] ?? 0)) ** 2, 0)), 1e-10);
    assert.equal(total.pairs[0]?.changes, undefined);
    assert.equal(total.conflict, undefined);
  });

  it("reports each byte read once", async () => {
    const seen: [number, number][] = [];
    await compare(folders[0], folders.slice(1), { onProgress: (done, total) => seen.push([done, total]) });
    const bytes = 4 * (5000 * 4 + 64 * 2 + 9000 * 2 + 4096 * 4);
    assert.deepEqual(seen.at(-1), [bytes, bytes]);
  });
});

describe("compare says what does not fit", () => {
  const model = (tensors: readonly TensorData[], config?: ModelOptions["config"]) => writeModel(tensors, config === undefined ? {} : { config });
  const layer = (i: number, shape: readonly number[] = [2, 2]) =>
    floatTensor(`model.layers.${i}.mlp.up_proj.weight`, shape, new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1));
  const embedding = (rows: number) => floatTensor("model.embed_tokens.weight", [rows, 2], new Float32Array(rows * 2).fill(1));

  it("by architecture, layers, vocabulary, shapes and names, with the first difference and their number", async () => {
    await rejectsWith("architecture-differs", () =>
      compare(undefined, [model([layer(0)], { model_type: "llama" }), model([layer(0)], { model_type: "gpt2" })]),
    );
    const layers = await rejectsWith("layer-count-differs", () => compare(undefined, [model([layer(0), layer(1)]), model([layer(0)])]));
    assert.match(layers.found ?? "", /1 layers under model\.layers/);
    const vocabulary = await rejectsWith("vocabulary-differs", () => compare(undefined, [model([embedding(4)]), model([embedding(5)])]));
    assert.match(vocabulary.found ?? "", /embed_tokens\.weight of shape \[5, 2\]/);
    const shapes = await rejectsWith("shapes-differ", () => compare(undefined, [model([layer(0), layer(1)]), model([layer(0, [2, 3]), layer(1, [2, 3])])]));
    assert.deepEqual(shapes.notes, ["the first of 2 differences"]);
    await rejectsWith("tensor-missing", () => compare(undefined, [model([layer(0), floatTensor("x", [1], [1])]), model([layer(0)])]));
    await rejectsWith("packed-tensors", () => compare(undefined, [model([layer(0)]), model([floatTensor("a.qweight", [1], [1])])]));
  });

  it("and lists what it leaves out", async () => {
    const integers = { name: "steps", dtype: "I32", shape: [1], data: new Uint8Array(4) } as const;
    const broken = floatTensor("model.norm.weight", [2], [1, Number.NaN]);
    const head = floatTensor("lm_head.weight", [1, 2], [1, 2]);
    const { skipped, tensors } = await compare(undefined, [model([layer(0), integers, broken, head]), model([layer(0), integers, broken])]);
    assert.deepEqual(skipped.map(({ name }) => name).sort(), ["lm_head.weight", "model.norm.weight", "steps"]);
    assert.deepEqual(
      tensors.map(({ name }) => name),
      [layer(0).name],
    );
  });
});
