// Sharing inside a model: exact where it can be exact, the error that theory gives where not, and compact files that say all.
import assert from "node:assert/strict";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { plainSpace } from "../../merge-core/compute/linalg/plain-space.ts";
import { svdAtOnce } from "../../merge-core/compute/linalg/svd.ts";
import { mergeByRecipe } from "../../merge-core/evaluate/recipe-merge.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import type { FloatDType } from "../../merge-core/formats/dtypes.ts";
import { readTensors } from "../../merge-core/nn/model.ts";
import { ADAPTER_FOLDER, COMPACT_FILE, type ShareReport, type ShareSettings, share } from "../../merge-core/share/share.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { near } from "../helpers/near.ts";
import { TINY_GPT2, writeTinyModel } from "../helpers/tiny-decoder.ts";

const ZOO = "media/zoo/base";
type Values = Map<string, Float32Array>;

async function valuesOf(path: string): Promise<Values> {
  const tensors = await readTensors(await openCheckpoint(path));
  return new Map([...tensors].map(([name, { dtype, data }]) => [name, widenToFloat32(dtype as FloatDType, data)]));
}

async function run(path: string, settings: ShareSettings): Promise<{ out: string; report: ShareReport; before: Values; after: Values; compact: Values }> {
  const out = join(temporaryFolder(), "out");
  const report = await share({ model: await openCheckpoint(path), out, settings, threads: 1 });
  const compact = join(temporaryFolder(), "compact.safetensors");
  copyFileSync(join(out, COMPACT_FILE), compact);
  return { out, report, before: await valuesOf(path), after: await valuesOf(out), compact: await valuesOf(compact) };
}

const tiny = (layers: number, changes: Readonly<Record<string, unknown>> = {}) =>
  writeTinyModel(temporaryFolder(), { num_hidden_layers: layers, ...changes }, 6);
const norm = (values: Iterable<number>): number => Math.sqrt([...values].reduce((sum, x) => sum + x * x, 0));
const size = (values: Values): number => [...values.values()].reduce((sum, { length }) => sum + length, 0);
const distance = (x: Values, y: Values, names: readonly string[]): number =>
  norm(names.flatMap((name) => [...(x.get(name) ?? [])].map((value, i) => value - (y.get(name)?.[i] ?? Number.NaN))));

describe("share by directshare", () => {
  // 8 wide, 4 query heads and 2 key-value heads of 4 dimensions.
  const part = (values: Float32Array | undefined, projection: string, unit: number): number[] => {
    const rows = projection === "k" || projection === "v" ? 4 : 8;
    if (projection !== "o") return [...(values ?? []).slice(unit * rows * 8, (unit + 1) * rows * 8)];
    return [...(values ?? [])].filter((_, i) => Math.floor((i % 16) / 8) === unit);
  };
  const name = (layer: number, letter: string) => `model.layers.${layer}.self_attn.${letter}_proj.weight`;
  const unitOf = (values: Values, layer: number, unit: number, letters: string) => [...letters].flatMap((p) => part(values.get(name(layer, p)), p, unit));

  it("replaces the best pairs by brute force, whole units with groups of query heads", async () => {
    const { report, before, after } = await run(tiny(3), { method: "directshare", rate: 0.34, match: "qk", chase: false });
    const cosine = (x: number[], y: number[]) => x.reduce((sum, value, i) => sum + value * (y[i] ?? 0), 0) / norm(x) / norm(y);
    const pairs = [1, 2].flatMap((layer) =>
      [0, 1].map((unit) => {
        const earlier = Array.from({ length: 2 * layer }, (_, i) => ({ layer: i >> 1, unit: i & 1 }));
        const all = earlier.map((from) => ({
          layer,
          unit,
          from,
          cosine: cosine(unitOf(before, layer, unit, "qk"), unitOf(before, from.layer, from.unit, "qk")),
        }));
        return all.reduce((best, pair) => (pair.cosine > best.cosine ? pair : best));
      }),
    );
    const best = pairs.sort((x, y) => y.cosine - x.cosine).slice(0, 2);
    const found = report.shared.pairs as typeof best;
    assert.deepEqual(
      found.map(({ layer, unit, from }) => ({ layer, unit, from })),
      best.map(({ layer, unit, from }) => ({ layer, unit, from })),
    );
    for (let layer = 0; layer < 3; layer++)
      for (let unit = 0; unit < 2; unit++) {
        const from = found.find((pair) => pair.layer === layer && pair.unit === unit)?.from ?? { layer, unit };
        assert.deepEqual(unitOf(after, layer, unit, "qkvo"), unitOf(before, from.layer, from.unit, "qkvo"));
      }
    assert.deepEqual(after.get("model.norm.weight"), before.get("model.norm.weight"));
  });

  it("stores each unit once, and the indices put the model together again", async () => {
    for (const chase of [false, true]) {
      const { report, before, after, compact } = await run(tiny(4), { method: "directshare", rate: 0.6, match: "total", chase });
      const { layers, pairs } = report.shared as {
        layers: { stored: number[] }[];
        pairs: { layer: number; unit: number; from: { layer: number; unit: number } }[];
      };
      assert.equal(pairs.length, 4);
      for (const { layer, unit, from } of pairs) {
        const slot = layers[from.layer]?.stored.indexOf(from.unit) ?? -1;
        assert.ok(slot >= 0);
        if (chase) assert.ok(!pairs.some((pair) => pair.layer === from.layer && pair.unit === from.unit));
        assert.deepEqual(part(after.get(name(layer, "q")), "q", unit), part(compact.get(name(from.layer, "q")), "q", slot));
      }
      const attention = [...before].filter(([key]) => key.includes("self_attn")).reduce((sum, [, { length }]) => sum + length, 0);
      assert.deepEqual(report.parameters, { before: size(before), after: size(before) - attention + size(compact) });
      if (chase) assert.equal(report.parameters.before - report.parameters.after, 4 * (8 + 4 + 4 + 8) * 8);
    }
  });

  it("changes nothing at rate 0, and refuses what has no heads", async () => {
    const { before, after } = await run(tiny(2), { method: "directshare", rate: 0, match: "qk", chase: false });
    assert.deepEqual(after, before);
    const model = await openCheckpoint(writeModel([floatTensor("fc1.weight", [2, 2], [1, 2, 3, 4])], { config: { num_attention_heads: 2 } }));
    await rejectsWith("share-unsupported", () =>
      share({ model, out: join(temporaryFolder(), "out"), settings: { method: "directshare", rate: 0.3, match: "qk", chase: false } }),
    );
  });

  it("takes fused projections, stored with a row per input or per output, for what they would be apart", async () => {
    const gpt2 = await valuesOf(writeTinyModel(temporaryFolder(), { ...TINY_GPT2, n_layer: 3 }, 6));
    const settings: ShareSettings = { method: "directshare", rate: 0.5, match: "total", chase: true };
    const apart = await run(writeApart(gpt2, "apart"), settings);
    for (const layout of ["conv1d", "qkv_proj"] as const) {
      const fused = await run(layout === "conv1d" ? writeGpt2(gpt2) : writeApart(gpt2, "qkv_proj"), settings);
      // Sums in another order.
      const pairs = ({ shared }: ShareReport) => (shared.pairs as { cosine: number }[]).map((pair) => ({ ...pair, cosine: Math.fround(pair.cosine) }));
      assert.deepEqual([pairs(fused.report), fused.report.parameters], [pairs(apart.report), apart.report.parameters]);
      assert.equal(pairs(fused.report).length, 3);
      const expected = layout === "conv1d" ? await valuesOf(writeApart(fused.after, "apart")) : undefined;
      const again = layout === "conv1d" ? expected : splitRows(fused.after);
      for (const [key, values] of apart.after) assert.deepEqual(again?.get(key), values, `${layout} ${key}`);
      const stored = layout === "conv1d" ? await valuesOf(writeApart(fused.compact, "apart")) : splitRows(fused.compact);
      for (const [key, values] of apart.compact) assert.deepEqual(stored.get(key) ?? new Float32Array(), values, `${layout} ${key}`);
    }
  });

  it("takes projections that are fused head by head for what they would be apart", async () => {
    const gpt2 = await valuesOf(writeTinyModel(temporaryFolder(), { ...TINY_GPT2, n_layer: 3 }, 6));
    const settings: ShareSettings = { method: "directshare", rate: 0.5, match: "total", chase: true };
    const [apart, fused] = [await run(writeApart(gpt2, "apart"), settings), await run(writeApart(gpt2, "by head"), settings)];
    assert.deepEqual(fused.report.parameters, apart.report.parameters);
    const after = splitByHead(fused.after);
    for (const [key, values] of apart.after) assert.deepEqual(after.get(key), values, key);
  });

  it("refuses a fused tensor whose order is not known", async () => {
    const gpt2 = await valuesOf(writeTinyModel(temporaryFolder(), { ...TINY_GPT2, n_layer: 2 }, 6));
    const settings: ShareSettings = { method: "masa", atoms: 1, projections: ["q"] };
    const { found } = await rejectsWith("share-unsupported", () => run(writeApart(gpt2, "by head", "mystery"), settings));
    assert.match(String(found), /query_key_value of mystery/);
    await rejectsWith("share-unsupported", () => run(writeApart(gpt2, "qkv_proj", "codegen"), settings));
  });
});

const WIDTH = 8;
const ATTENTION = /^transformer\.h\.(\d+)\.attn\.(c_attn|c_proj)\.(weight|bias)$/;

/** The attention of a GPT-2 with a row per output, the projections apart or queries, keys and values in one tensor: in stretches, or for each of two heads. */
function writeApart(gpt2: Values, layout: "apart" | "qkv_proj" | "by head", type = layout === "by head" ? "gpt_neox" : "a"): string {
  const tensors = [...gpt2].flatMap(([key, values]) => {
    const [, layer, module, kind] = ATTENTION.exec(key) ?? [];
    if (layer === undefined || values.length === 0) return [];
    const inputs = module === "c_attn" ? WIDTH : values.length / WIDTH;
    const outputs = kind === "bias" ? values.length : values.length / inputs;
    const rows = kind === "bias" ? [...values] : Array.from({ length: values.length }, (_, i) => values[(i % inputs) * outputs + Math.floor(i / inputs)] ?? 0);
    const shape = (count: number) => (kind === "bias" ? [count] : [count, inputs]);
    const name = (projection: string) => `model.layers.${layer}.self_attn.${projection}.${kind}`;
    if (module === "c_proj") return [floatTensor(name(layout === "by head" ? "dense" : "o_proj"), shape(outputs), rows)];
    if (layout === "by head")
      return [
        floatTensor(
          name("query_key_value"),
          shape(outputs),
          reordered(rows, (part, head) => head * 3 + part),
        ),
      ];
    if (layout === "qkv_proj") return [floatTensor(name("qkv_proj"), shape(outputs), rows)];
    const third = rows.length / 3;
    return ["q", "k", "v"].map((letter, i) => floatTensor(name(`${letter}_proj`), shape(outputs / 3), rows.slice(i * third, (i + 1) * third)));
  });
  return writeModel(tensors, { config: { model_type: type, num_attention_heads: 2 } });
}

/** Three projections of two heads each, one after the other, with each head's rows at a place of the six. */
function reordered(rows: readonly number[], placeOf: (part: number, head: number) => number): number[] {
  const size = rows.length / 6;
  const all: number[] = [];
  for (let part = 0; part < 3; part++)
    for (let head = 0; head < 2; head++) for (let i = 0; i < size; i++) all[placeOf(part, head) * size + i] = rows[(part * 2 + head) * size + i] as number;
  return all;
}

/** Projections that are fused head by head, apart. */
const splitByHead = (values: Values): Values =>
  splitRows(
    new Map(
      [...values].map(([key, numbers]): [string, Float32Array] => {
        if (key.includes(".dense.")) return [key.replace("dense", "o_proj"), numbers];
        if (!key.includes("query_key_value")) return [key, numbers];
        // Place 3 head + part of the six holds what is number 2 part + head.
        const size = numbers.length / 6;
        const ordered = [0, 3, 1, 4, 2, 5].flatMap((place) => [...numbers.subarray(place * size, (place + 1) * size)]);
        return [key.replace("query_key_value", "qkv_proj"), Float32Array.from(ordered)];
      }),
    ),
  );

function writeGpt2(values: Values): string {
  const tensors = [...values].filter(([key]) => ATTENTION.test(key)).map(([key, numbers]) => floatTensor(key, shapeOf(key), numbers));
  return writeModel(tensors, { config: { model_type: "gpt2", n_head: 2 } });
}

const shapeOf = (key: string): number[] => {
  const outputs = key.includes("c_attn") ? 3 * WIDTH : WIDTH;
  return key.endsWith("bias") ? [outputs] : [WIDTH, outputs];
};

/** Queries, keys and values that lie below each other, apart. */
const splitRows = (values: Values): Values =>
  new Map(
    [...values].flatMap(([key, numbers]): [string, Float32Array][] => {
      if (!key.includes("qkv_proj")) return [[key, numbers]];
      const third = numbers.length / 3;
      return ["q", "k", "v"].map((letter, i) => [key.replace("qkv_proj", `${letter}_proj`), numbers.slice(i * third, (i + 1) * third)]);
    }),
  );

describe("share by masa", () => {
  const projection = (letter: string, layers: number) => Array.from({ length: layers }, (_, l) => `model.layers.${l}.self_attn.${letter}_proj.weight`);

  it("is exact with as many atoms as layers", async () => {
    const { before, after } = await run(tiny(3), { method: "masa", atoms: 3, projections: ["q", "k", "v", "o"] });
    for (const [name, values] of before) assert.ok(norm(values.map((x, i) => x - (after.get(name)?.[i] ?? Number.NaN))) < 1e-5, name);
  });

  it("loses just the singular values that are left out", async () => {
    for (const atoms of [1, 2, 3]) {
      const { report, before, after } = await run(tiny(4), { method: "masa", atoms, projections: ["q", "o"] });
      for (const { projection: letter, relativeError } of report.shared.projections as { projection: string; relativeError: number }[]) {
        const names = projection(letter, 4);
        const space = plainSpace();
        const stacked = space.zeros(4, before.get(names[0] ?? "")?.length ?? 0);
        stacked.data.set(names.flatMap((name) => [...(before.get(name) ?? [])]));
        const { values } = svdAtOnce(space, stacked);
        const expected = norm(values.slice(atoms));
        assert.ok(Math.abs(distance(before, after, names) - expected) < 1e-4, letter);
        assert.ok(Math.abs(relativeError - expected / norm(values)) < 1e-5);
      }
      assert.deepEqual(after.get("model.layers.0.self_attn.k_proj.weight"), before.get("model.layers.0.self_attn.k_proj.weight"));
    }
  });

  it("is told whole by atoms and coefficients", async () => {
    const { report, after, compact } = await run(tiny(4), { method: "masa", atoms: 2, projections: ["v"] });
    const [{ coefficients }] = report.shared.projections as [{ coefficients: number[][] }];
    const atoms = compact.get("v_proj.atoms") as Float32Array;
    for (const [l, name] of projection("v", 4).entries()) {
      const values = after.get(name) as Float32Array;
      for (const [i, x] of values.entries()) {
        const [c = 0, d = 0] = coefficients[l] ?? [];
        assert.ok(Math.abs(x - c * (atoms[i] ?? 0) - d * (atoms[values.length + i] ?? 0)) < 1e-5);
      }
    }
    assert.equal(report.parameters.before - report.parameters.after, 2 * 64 - 2 * 4);
  });

  it("takes fused projections for what they would be apart, and leaves the others in the tensor", async () => {
    const gpt2 = await valuesOf(writeTinyModel(temporaryFolder(), { ...TINY_GPT2, n_layer: 4 }, 6));
    for (const projections of [["q", "k", "v", "o"], ["k"]] as const) {
      const settings: ShareSettings = { method: "masa", atoms: 2, projections };
      const apart = await run(writeApart(gpt2, "apart"), settings);
      const told = ({ report }: typeof apart) =>
        (report.shared.projections as { relativeError: number; atoms: number }[]).map(({ relativeError, atoms }) => [relativeError.toFixed(6), atoms]);
      for (const [path, split] of [
        [writeGpt2(gpt2), async (values: Values) => valuesOf(writeApart(values, "apart"))],
        [writeApart(gpt2, "qkv_proj"), async (values: Values) => splitRows(values)],
        [writeApart(gpt2, "by head"), async (values: Values) => splitByHead(values)],
      ] as const) {
        const fused = await run(path, settings);
        assert.deepEqual([told(fused), fused.report.parameters], [told(apart), apart.report.parameters]);
        const [before, after] = [await split(fused.before), await split(fused.after)];
        for (const [key, values] of apart.after) near(after.get(key) ?? [], [...values], 1e-6);
        // What was not asked for stays to the bit.
        for (const [key, values] of before)
          if (key.endsWith("bias") || !projections.some((letter) => key.includes(`${letter}_proj`))) assert.deepEqual(after.get(key), values);
        for (const letter of projections) assert.equal(fused.compact.get(`${letter}_proj.atoms`)?.length, 2 * WIDTH * WIDTH);
      }
    }
  });

  it("tells where in a fused tensor a projection lies, as its atoms are stored", async () => {
    const gpt2 = await valuesOf(writeTinyModel(temporaryFolder(), { ...TINY_GPT2, n_layer: 3 }, 6));
    const { report, after, compact } = await run(writeGpt2(gpt2), { method: "masa", atoms: 2, projections: ["k"] });
    const [{ coefficients, tensor, columns }] = report.shared.projections as [{ coefficients: number[][]; tensor: string; columns: [number, number][] }];
    assert.deepEqual([tensor, columns], ["c_attn.weight", [[WIDTH, WIDTH]]]);
    const atoms = compact.get("k_proj.atoms") as Float32Array;
    for (let l = 0; l < 3; l++)
      for (let i = 0; i < WIDTH; i++)
        for (let j = 0; j < WIDTH; j++) {
          const found = after.get(`transformer.h.${l}.attn.c_attn.weight`)?.[i * 3 * WIDTH + WIDTH + j] ?? Number.NaN;
          const [c = 0, d = 0] = coefficients[l] ?? [];
          assert.ok(Math.abs(found - c * (atoms[i * WIDTH + j] ?? 0) - d * (atoms[WIDTH * WIDTH + i * WIDTH + j] ?? 0)) < 1e-5);
        }
  });
});

describe("share by recursive tying", () => {
  it("ties layers to their block's mean, first or spread layers, and leaves norms", async () => {
    const path = tiny(4);
    const matrix = (values: Values, layer: number) => [...(values.get(`model.layers.${layer}.mlp.up_proj.weight`) ?? [])];
    for (const [start, sources] of [
      ["lower", [[0], [1]]],
      ["stepwise", [[0], [3]]],
      [
        "average",
        [
          [0, 2],
          [1, 3],
        ],
      ],
    ] as const) {
      const { before, after, report } = await run(path, { method: "recursive", loops: 2, start, rank: 0 });
      assert.deepEqual(report.shared.sources, sources);
      for (let layer = 0; layer < 4; layer++) {
        const used = (sources[layer % 2] ?? []).map((l) => matrix(before, l));
        const expected = used[0]?.map((_, i) => Math.fround(used.reduce((sum, values) => sum + (values[i] ?? 0), 0) / used.length));
        assert.deepEqual(matrix(after, layer), expected);
        assert.deepEqual(after.get(`model.layers.${layer}.input_layernorm.weight`), before.get(`model.layers.${layer}.input_layernorm.weight`));
      }
    }
  });

  it("is exact again with LoRA of full rank, and nearer the higher the rank", async () => {
    const path = tiny(4);
    const errors: number[] = [];
    for (const rank of [2, 4, 16]) {
      const { out, before, report } = await run(path, { method: "recursive", loops: 2, start: undefined, rank });
      const whole = join(temporaryFolder(), "whole");
      const lora = JSON.stringify(join(out, ADAPTER_FOLDER));
      const text = `merge_method: passthrough\nmodels:\n  - model: { model: { path: ${JSON.stringify(out)} }, lora: { path: ${lora} } }\n`;
      await mergeByRecipe({ text, file: join(out, "fold.yml") }, whole, { threads: 1 });
      errors.push(distance(await valuesOf(whole), before, [...before.keys()]));
      assert.equal(report.shared.start, "average");
    }
    const [low = 0, middle = 0, full = 1] = errors;
    assert.ok(low > middle && middle > 0.1 && full < 1e-5, errors.join());
  });

  it("refuses loops that do not divide the layers", async () => {
    const model = await openCheckpoint(ZOO);
    await rejectsWith("share-unsupported", () =>
      share({ model, out: join(temporaryFolder(), "out"), settings: { method: "recursive", loops: 2, start: undefined, rank: 0 } }),
    );
  });
});
