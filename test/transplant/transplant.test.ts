// Tokenizer transplants: the approximations against what is known by hand, what is refused, stopping and going on.
// The numbers of mergekit-tokensurgeon are compared in test/oracles.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { copyOf } from "../../merge-core/compute/linalg/matrix.ts";
import { plainSpace } from "../../merge-core/compute/linalg/plain-space.ts";
import { poolSpace } from "../../merge-core/compute/linalg/pool-space.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import type { RunOptions } from "../../merge-core/run/execute.ts";
import { GramRows } from "../../merge-core/transplant/gram-rows.ts";
import { makeTransplant, type TransplantRequest } from "../../merge-core/transplant/make-transplant.ts";
import { nearestCombination } from "../../merge-core/transplant/nearest.ts";
import { matchingPursuit } from "../../merge-core/transplant/omp.ts";
import type { TransplantSettings } from "../../merge-core/transplant/settings.ts";
import { byteMatch, prefixMatch } from "../../merge-core/transplant/vocabulary.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { folderHashes } from "../helpers/trees.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

/** A model with an embedding of these rows and a word-level tokenizer of these tokens. */
function modelOf(tokens: readonly string[], rows: readonly (readonly number[])[], more: { head?: number; config?: object } = {}): string {
  const vocab = Object.fromEntries(tokens.map((token, i) => [token, i]));
  const width = rows[0]?.length ?? 0;
  const tensors = [floatTensor("model.embed_tokens.weight", [rows.length, width], rows.flat()), floatTensor("model.norm.weight", [width], rows[0] ?? [])];
  const bias =
    more.head === undefined
      ? []
      : [
          floatTensor(
            "lm_head.bias",
            [rows.length],
            Float32Array.from(rows, (_, i) => (more.head ?? 0) + i),
          ),
        ];
  const tokenizer = { model: { type: "WordLevel", vocab, unk_token: tokens[0] }, added_tokens: [] };
  const files = {
    "tokenizer.json": JSON.stringify(tokenizer),
    "tokenizer_config.json": JSON.stringify({ bos_token: tokens[0] }),
    "generation_config.json": "{}",
  };
  return writeModel([...tensors, ...bias], { config: { model_type: "llama", vocab_size: rows.length, pad_token_id: 3, ...more.config }, files });
}

async function transplant(model: string, donor: string, settings: Partial<TransplantSettings>, run: Partial<RunOptions & TransplantRequest> = {}) {
  const folder = temporaryFolder();
  const { out = join(folder, "out"), scratch = join(folder, "rows"), memoryBytes = 2 ** 30, signal, onProgress, onRows } = run;
  const request = { model, donor, settings, open: modelOpener("tokens"), memoryBytes, scratch, threads: 1, signal, onRows };
  const result = await makeTransplant(request, { out, threads: 1, ...(signal && { signal }), ...(onProgress && { onProgress }) });
  const tensors = await readTensors(join(result.out, "model.safetensors"));
  return { ...result, rows: [...valuesOf(tensors.get("model.embed_tokens.weight"))], bias: tensors.get("lm_head.bias") };
}

const OWN = modelOf(
  ["<s>", "a", "b", "c"],
  [
    [1, 0],
    [0, 2],
    [4, 4],
    [6, 8],
  ],
);

describe("weightsmith tokens", () => {
  it("moves rows of shared tokens, knows special tokens by role, and combines the others as the donor's rows do", async () => {
    // In the donor "new" is 2 "b" - "a", and "begin" stands where the model has "<s>".
    const donor = modelOf(
      ["begin", "b", "new", "a"],
      [
        [0, 0, 0.1],
        [1, 0, 0],
        [2, -1, 0],
        [0, 1, 0],
      ],
    );
    const { rows, matrices } = await transplant(OWN, donor, { method: "omp", k: 2 });
    assert.deepEqual(rows.slice(0, 4).concat(rows.slice(6)), [1, 0, 4, 4, 0, 2]);
    [8, 6].forEach((expected, i) => void assert.ok(Math.abs((rows[4 + i] ?? 0) - expected) < 1e-5));
    assert.deepEqual(matrices[0]?.counts, { exact: 3, byte: 0, prefix: 0 });
  });

  it("leaves tokens without a row and numbers without a token zero, and keeps a head's biases of known tokens", async () => {
    const own = modelOf(["<s>", "a", "b"], [[1], [2], [3]], { head: 10 });
    const donor = modelOf(["<s>", "b", "x", "norow"], [[1], [1], [1]], { config: { pad_token_id: null } });
    const { rows, bias, out } = await transplant(own, donor, { method: "mean" });
    assert.deepEqual(rows, [1, 3, 2, 0]);
    assert.deepEqual([...valuesOf(bias)], [10, 12, 0, 0]);
    const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8"));
    assert.deepEqual([config.vocab_size, config.pad_token_id], [4, null]);
  });

  it("puts the pieces of a text together with weights that suit the side: the last counts most going in, the first coming out", async () => {
    const models = "test/fixtures/oracles/tokens/models";
    const { out } = await transplant(`${models}/model`, `${models}/donor`, { method: "subword", subword: "weighted_mean" });
    const [own, ours] = [await readTensors(`${models}/model/model.safetensors`), await readTensors(join(out, "model.safetensors"))];
    const idsOf = (name: string): Record<string, number> => JSON.parse(readFileSync(`${models}/${name}/tokenizer.json`, "utf8")).model.vocab;
    const row = (tensors: typeof own, tensor: string, id = 0) => [...valuesOf(tensors.get(tensor)).subarray(id * 12, id * 12 + 12)];
    for (const [tensor, first, last] of [
      ["model.embed_tokens.weight", 1, 2],
      ["lm_head.weight", 2, 1],
    ] as const) {
      const [s, t] = [row(own, tensor, idsOf("model").s), row(own, tensor, idsOf("model").t)];
      for (const [i, x] of row(ours, tensor, idsOf("donor").st).entries())
        assert.ok(Math.abs(x - (first * (s[i] ?? 0) + last * (t[i] ?? 0)) / 3) < 1e-6, tensor);
    }
  });

  it("matches bytes and beginnings", () => {
    const ids = new Map([
      ["<0x41>", 1],
      ["B", 2],
      ["\0word he", 3],
      ["hel", 4],
    ]);
    assert.deepEqual([byteMatch("A", ids), byteMatch("<0x42>", ids), byteMatch("AB", ids)], [1, 2, undefined]);
    assert.deepEqual(
      [prefixMatch("\0word hello", ids), prefixMatch("hello", ids), prefixMatch("hel", ids), prefixMatch("\0special pad_token", ids)],
      [3, 4, undefined, undefined],
    );
  });

  it("refuses models that have nothing to go by", async () => {
    const stranger = modelOf(["q", "r"], [[1], [2]]);
    const other = modelOf(["s", "t"], [[1], [2]]);
    // Both have a token that begins sequences; without it they share nothing.
    await transplant(stranger, other, { method: "omp" });
    const none = writeModel([floatTensor("model.norm.weight", [1], [1])], { files: { "tokenizer.json": '{"model":{"vocab":{"a":0}}}' } });
    await rejectsWith("transplant-no-embedding", () => transplant(none, OWN, {}));
    await rejectsWith("transplant-no-embedding", () => transplant(OWN, none, {}));
    const silent = writeModel([floatTensor("model.embed_tokens.weight", [1, 1], [1])], { config: {} });
    await rejectsWith("tokenizer-missing", () => transplant(silent, OWN, {}));
    const foreign = writeModel([floatTensor("model.embed_tokens.weight", [1, 1], [1])], { files: { "tokenizer.json": '{"model":{"vocab":{"z":0}}}' } });
    await rejectsWith("transplant-nothing-shared", () => transplant(OWN, foreign, {}));
    await rejectsWith("memory-budget", () => transplant(OWN, modelOf(["<s>", "n"], [[1], [2]]), {}, { memoryBytes: 2 ** 20 }));
  });

  it("stopped, goes on with the rows it has and gives the same bytes", async () => {
    const donor = modelOf(["<s>", "b", "n"], [[1], [2], [3]]);
    const whole = await transplant(OWN, donor, {});
    const folder = temporaryFolder();
    const place = { out: join(folder, "out"), scratch: join(folder, "rows") };
    const abort = new AbortController();
    await rejectsWith("cancelled", () => transplant(OWN, donor, {}, { ...place, signal: abort.signal, onProgress: () => abort.abort() }));
    assert.ok(existsSync(place.scratch) && !existsSync(place.out));
    await transplant(OWN, donor, {}, { ...place, onRows: () => assert.fail("the rows were computed again") });
    assert.deepEqual(readdirSync(folder), ["out"]);
    assert.deepEqual(await folderHashes(place.out), await folderHashes(whole.out));
  });
});

describe("Combinations of rows", () => {
  const space = plainSpace();
  const random = (seed: number) => {
    let state = seed;
    return () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 31 - 1;
    };
  };
  const matrixOf = (rows: number, columns: number, value: (i: number) => number) => {
    const matrix = space.zeros(rows, columns);
    for (let i = 0; i < rows * columns; i++) matrix.data[i] = value(i);
    return matrix;
  };

  it("finds the few rows that a vector was made from", async () => {
    const next = random(3);
    const points = matrixOf(40, 200, next);
    const parts: [number, number][] = [
      [7, 2],
      [31, -1.5],
      [12, 0.75],
    ];
    const target = matrixOf(1, 200, (i) => parts.reduce((sum, [row, weight]) => sum + weight * (points.data[row * 200 + i] ?? 0), 0));
    const { rows, weights } = await matchingPursuit(space, target, points, 6);
    const found = new Map([...rows].map((row, i) => [row, weights[i] ?? 0]));
    for (const [row, weight] of parts) assert.ok(Math.abs((found.get(row) ?? 0) - weight) < 1e-4, `row ${row}`);
    assert.ok([...weights].filter((w) => Math.abs(w) > 1e-4).length === 3);
  });

  it("leaves a rest that is at right angles to all rows taken", async () => {
    const next = random(5);
    const [points, targets] = [matrixOf(30, 20, next), matrixOf(4, 20, next)];
    const { rows, weights } = await matchingPursuit(space, targets, points, 5);
    for (let b = 0; b < 4; b++) {
      const rest = Array.from({ length: 20 }, (_, j) => {
        let left = targets.data[b * 20 + j] as number;
        for (let i = 0; i < 5; i++) left -= (weights[b * 5 + i] as number) * (points.data[(rows[b * 5 + i] as number) * 20 + j] as number);
        return left;
      });
      for (let i = 0; i < 5; i++) {
        const along = rest.reduce((sum, x, j) => sum + x * (points.data[(rows[b * 5 + i] as number) * 20 + j] as number), 0);
        assert.ok(Math.abs(along) < 1e-5, `${along}`);
      }
      assert.equal(new Set(rows.subarray(b * 5, b * 5 + 5)).size, 5);
    }
  });

  it("chooses what a search with all products anew chooses, however few Gram rows are kept, on any threads", async () => {
    const [n, width, count, k] = [300, 48, 25, 6];
    const next = random(9);
    // Rows of very different lengths, so that some are taken by many targets.
    const points = matrixOf(n, width, (i) => next() * (1 + 3 * Math.exp(-Math.floor(i / width) / 20)));
    const targets = matrixOf(count, width, next);
    const expected = await matchingPursuit(space, targets, points, k);
    for (let b = 0; b < count; b++)
      for (let step = 0; step < k; step++) {
        // With the first `step` rows and their least-squares weights, what is left has its largest product with the next row.
        const { rows, weights } = await matchingPursuit(
          space,
          { rows: 1, columns: width, data: targets.data.subarray(b * width, (b + 1) * width) },
          points,
          step + 1,
        );
        assert.deepEqual([...rows], [...expected.rows.subarray(b * k, b * k + step + 1)]);
        const before = await matchingPursuit(
          space,
          { rows: 1, columns: width, data: targets.data.subarray(b * width, (b + 1) * width) },
          points,
          Math.max(1, step),
        );
        const left = Float64Array.from({ length: width }, (_, j) => {
          let value = targets.data[b * width + j] as number;
          for (let i = 0; i < step; i++) value -= (before.weights[i] as number) * (points.data[(before.rows[i] as number) * width + j] as number);
          return value;
        });
        const sizes = Float64Array.from({ length: n }, (_, i) => Math.abs(left.reduce((sum, x, j) => sum + x * (points.data[i * width + j] as number), 0)));
        assert.equal(sizes.indexOf(Math.max(...sizes)), rows[step], `target ${b}, step ${step}`);
        assert.ok(weights.every(Number.isFinite));
      }
    for (const [threads, capacity, batch] of [
      [1, n, count],
      [3, n, 7],
      [3, 4 * k, 4],
    ] as const) {
      const pool = createPool({ threads });
      const there = poolSpace(pool);
      const copy = copyOf(there, points);
      const gram = new GramRows(there, copy, capacity);
      for (let first = 0; first < count; first += batch) {
        const part = there.zeros(Math.min(batch, count - first), width);
        part.data.set(targets.data.subarray(first * width, (first + part.rows) * width));
        const { rows, weights } = await matchingPursuit(there, part, copy, k, { gram });
        assert.deepEqual([...rows], [...expected.rows.subarray(first * k, (first + part.rows) * k)]);
        for (const [i, weight] of weights.entries()) assert.ok(Math.abs(weight - (expected.weights[first * k + i] as number)) < 1e-9);
        there.free(part);
      }
      gram.free();
      there.free(copy);
      assert.equal(pool.arena.usedBytes, 0);
      await pool.close();
    }
  });

  it("weighs the nearest: by distance, with weights that add up to one, and by least squares", () => {
    const points = matrixOf(4, 2, (i) => [0, 0, 2, 0, 0, 2, 50, 50][i] ?? 0);
    const target = matrixOf(1, 2, (i) => [1, 0.5][i] ?? 0);
    const of = (weights: TransplantSettings["weights"], k: number) => {
      const found = nearestCombination(space, target, points, { k, weights, cosine: false });
      return new Map([...found.rows].map((row, i) => [row, found.weights[i] ?? 0]));
    };
    // Both are sqrt(1.25) away.
    const near = of("distance_proportional", 2);
    for (const row of [0, 1]) assert.ok(Math.abs((near.get(row) ?? 0) - 0.5) < 1e-6);
    const corners = of("barycentric", 3);
    for (const [row, weight] of [
      [0, 0.25],
      [1, 0.5],
      [2, 0.25],
    ] as const)
      assert.ok(Math.abs((corners.get(row) ?? 0) - weight) < 1e-6, `${row}`);
    const fitted = of("least_squares", 3);
    for (const [row, weight] of [
      [1, 0.5],
      [2, 0.25],
    ] as const)
      assert.ok(Math.abs((fitted.get(row) ?? 0) - weight) < 1e-6, `${row}`);
  });
});
