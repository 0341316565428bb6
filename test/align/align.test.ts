// Alignment: permuted copies come back exactly, what a model computes stays, what is not understood is refused.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { align } from "../../merge-core/align/align.ts";
import { barrierOf, lossLines } from "../../merge-core/align/barrier.ts";
import { identity, permuteBytes } from "../../merge-core/align/permute.ts";
import { findSymmetries, type Group } from "../../merge-core/align/symmetries.ts";
import type { Checkpoint } from "../../merge-core/checkpoints/checkpoint.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { DTYPE_BYTES } from "../../merge-core/formats/dtypes.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { forwardLogits } from "../../merge-core/nn/llama.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel, readTensors } from "../../merge-core/nn/model.ts";
import { permutation } from "../../merge-core/nn/random.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { TINY_GPT2, testRandom, writeTinyModel } from "../helpers/tiny-decoder.ts";

const ZOO = "media/zoo/base";
const DATA = ["media/zoo/data/add.test.jsonl"];

/** A random order of everything that a group may move. */
function shuffle(group: Group): [string, Int32Array][] {
  const random = (name: string, count: number) => permutation(5, name, count);
  if (group.kind === "units") return [[group.space, Int32Array.from(random(group.space, group.size))]];
  const { prefix, heads, kvHeads, headDim, rotary, spaces } = group;
  const share = heads / kvHeads;
  const groups = random(prefix, kvHeads);
  const orders = { q: [], k: [], v: [], o: [] } as Record<"q" | "k" | "v" | "o", number[]>;
  for (const [at, from] of groups.entries()) {
    const keys = rotary ? [...identity(headDim)] : random(`${prefix}${at}keys`, headDim);
    const values = random(`${prefix}${at}values`, headDim);
    orders.k.push(...keys.map((d) => from * headDim + d));
    orders.v.push(...values.map((d) => from * headDim + d));
    for (const query of random(`${prefix}${at}queries`, share)) {
      const head = from * share + query;
      orders.q.push(...keys.map((d) => head * headDim + d));
      orders.o.push(...values.map((d) => head * headDim + d));
    }
  }
  return (["q", "k", "v", "o"] as const).map((name) => [spaces[name], Int32Array.from(orders[name])]);
}

async function shuffledCopy(model: Checkpoint, residual = false): Promise<string> {
  const { axes, groups } = findSymmetries(model, { residual });
  const orders = new Map(groups.flatMap(shuffle));
  const tensors = [...(await readTensors(model))].map(([name, { dtype, shape, data }]) => {
    const own = axes.get(name);
    return { name, dtype, shape, data: own === undefined ? data : permuteBytes(data, shape, DTYPE_BYTES[dtype], own, orders) };
  });
  const files = Object.fromEntries(
    model.sideFiles.filter((name) => name !== "config.json").map((name) => [name, readFileSync(join(model.folder, name), "utf8")]),
  );
  return writeModel(tensors, { ...(model.config === undefined ? {} : { config: model.config }), files });
}

async function logits(folder: string): Promise<Float32Array> {
  await initBackend({ threads: 1 });
  const model = await loadModel(folder);
  const values = tf.tidy(() => forwardLogits(model.decoder, Int32Array.of(1, 3, 4, 5, 6, 7, 1, 8, 9, 10, 11, 12), 2).dataSync() as Float32Array);
  disposeDecoder(model.decoder);
  return values;
}

const largest = (x: Float32Array, y: Float32Array): number => x.reduce((most, value, i) => Math.max(most, Math.abs(value - (y[i] as number))), 0);

/** Shuffles, aligns, and holds the result to the original byte by byte. */
async function comesBack(folder: string, residual = false): Promise<void> {
  const a = await openCheckpoint(folder);
  const copy = await shuffledCopy(a, residual);
  const b = await openCheckpoint(copy);
  const out = join(temporaryFolder(), "out");
  const { distance, groups } = await align({ a, b, out, residual, threads: 1, seed: 3 });
  assert.ok(distance.before > 0.1 && distance.after === 0, JSON.stringify(distance));
  assert.ok(groups.every(({ moved, before, after }) => moved > 0 && after > before));
  const [expected, found] = [await readTensors(a), await readTensors(await openCheckpoint(out))];
  for (const [name, { data }] of expected) assert.ok(Buffer.compare(data, found.get(name)?.data ?? new Uint8Array()) === 0, name);
}

describe("align", () => {
  const tiny = (changes: Readonly<Record<string, unknown>>) => writeTinyModel(temporaryFolder(), { hidden_size: 16, intermediate_size: 24, ...changes }, 4);

  it("brings experts that have changed places back exactly, with their router", async () => {
    const a = await openCheckpoint("test/fixtures/oracles/merged/mixtral-a");
    const shuffled = await openCheckpoint(await shuffledCopy(a));
    // Expert (e + 1) mod 3 of the copy is the model's expert e, whose units are shuffled already; the router's rows go along.
    const tensors = [...(await readTensors(shuffled))].map(([name, { dtype, shape, data }]) => {
      const rowBytes = data.byteLength / (shape[0] ?? 1);
      const turned = Buffer.concat([data.subarray(2 * rowBytes), data.subarray(0, 2 * rowBytes)]);
      const moved = name.replace(/experts\.(\d)/, (_, e) => `experts.${(Number(e) + 1) % 3}`);
      return { name: moved, dtype, shape, data: name.endsWith("gate.weight") ? turned : data };
    });
    const b = await openCheckpoint(writeModel(tensors, { ...(a.config && { config: a.config }) }));
    const [inside, out] = [join(temporaryFolder(), "out"), join(temporaryFolder(), "out")];
    assert.ok((await align({ a, b, out: inside, threads: 1 })).distance.after > 1);
    const { distance, orders } = await align({ a, b, out, experts: true, threads: 1 });
    assert.equal(distance.after, 0);
    assert.deepEqual([...(orders.get("model.layers.0.block_sparse_moe.experts") ?? [])], [1, 2, 0]);
    const found = await readTensors(await openCheckpoint(out));
    for (const [name, { data }] of await readTensors(a)) assert.ok(Buffer.compare(data, found.get(name)?.data ?? new Uint8Array()) === 0, name);
    await rejectsWith("usage", () => align({ a, b, out: join(temporaryFolder(), "out"), experts: true, residual: true }));
    const plain = await openCheckpoint(ZOO);
    await rejectsWith("align-experts", () => align({ a: plain, b: plain, out: join(temporaryFolder(), "out"), experts: true, threads: 1 }));
  });

  it("brings a permuted copy of a zoo model back exactly", async () => {
    await comesBack(ZOO);
  });

  it("brings groups of query heads, GPT-2's transposed layers and the residual stream back", async () => {
    await comesBack(tiny({}));
    await comesBack(tiny({ ...TINY_GPT2, n_embd: 16 }));
    await comesBack(tiny({}), true);
    await comesBack(tiny({ ...TINY_GPT2, n_embd: 16 }), true);
  });

  it("moves nothing that a model's results hang on", async () => {
    for (const changes of [{}, TINY_GPT2, { architectures: ["Qwen2ForCausalLM"], model_type: "qwen2" }]) {
      const folder = tiny(changes);
      const copy = await shuffledCopy(await openCheckpoint(folder), true);
      const difference = largest(await logits(folder), await logits(copy));
      assert.ok(difference < 1e-5, `${difference} ${JSON.stringify(changes)}`);
    }
  });

  it("leaves a model that was trained from the same base as it is", async () => {
    const out = join(temporaryFolder(), "out");
    const { groups, distance } = await align({ a: await openCheckpoint(ZOO), b: await openCheckpoint("media/zoo/add"), out, threads: 1 });
    assert.ok(groups.every(({ moved }) => moved === 0));
    assert.equal(distance.after, distance.before);
  });

  it("recovers the units of a plain MLP from both of their sides", async () => {
    const random = testRandom(9);
    const sizes = [5, 12, 9, 3];
    const tensors = sizes.slice(1).flatMap((out, i) => {
      const values = (count: number) => Array.from({ length: count }, random);
      return [floatTensor(`fc${i + 1}.weight`, [out, sizes[i] ?? 0], values(out * (sizes[i] ?? 0))), floatTensor(`fc${i + 1}.bias`, [out], values(out))];
    });
    await comesBack(writeModel(tensors));
  });

  it("aligns singular vectors with the units", async () => {
    const a = await openCheckpoint(ZOO);
    const b = await openCheckpoint(await shuffledCopy(a));
    const { singular } = await align({ a, b, out: join(temporaryFolder(), "out"), threads: 1, gammas: [0, 0.3] });
    for (const { before, after } of singular?.total ?? []) {
      assert.ok(Math.abs(after - 1) < 1e-3, `${after}`);
      assert.ok(before < 0.5, `${before}`);
    }
    assert.equal(singular?.total.length, 2);
  });

  it("takes the barrier to a permuted copy away", async () => {
    const a = await openCheckpoint(ZOO);
    const b = await openCheckpoint(await shuffledCopy(a));
    const out = join(temporaryFolder(), "out");
    await align({ a, b, out, threads: 1 });
    const [before, after] = await lossLines(a, [b, await openCheckpoint(out)], DATA, { points: 3, limit: 20, threads: 1 });
    assert.ok((before?.barrier ?? 0) > 0.1 && (after?.barrier ?? 1) < 1e-6, JSON.stringify([before, after]));
    assert.equal(barrierOf([1, 3, 2]), 1.5);
    assert.equal(barrierOf([1, 1, 2]), 0);
  });

  it("refuses models that differ, and parts that it does not understand", async () => {
    const a = await openCheckpoint(ZOO);
    const other = await openCheckpoint(tiny({}));
    await rejectsWith("align-models-differ", () => align({ a, b: other, out: join(temporaryFolder(), "out") }));
    const weight = (name: string, shape: readonly number[]) => floatTensor(name, shape, new Float32Array((shape[0] ?? 1) * (shape[1] ?? 1)));
    const mlp = ["gate_proj", "up_proj"].map((name) => weight(`model.layers.0.mlp.${name}.weight`, [4, 2]));
    const strange = [...mlp, weight("model.layers.0.mlp.down_proj.weight", [2, 4]), weight("model.layers.0.mlp.scale.weight", [4])];
    const model = await openCheckpoint(writeModel(strange));
    await rejectsWith("align-tensor-unknown", () => align({ a: model, b: model, out: join(temporaryFolder(), "out") }));
    const odd = await openCheckpoint(writeModel([weight("a.weight", [2, 2])]));
    await rejectsWith("align-nothing", () => align({ a: odd, b: odd, out: join(temporaryFolder(), "out") }));
  });
});
