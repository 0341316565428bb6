import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { forwardLogits } from "../../merge-core/nn/llama.ts";
import { createDecoder, disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel, type Model, modelFromTensors, randomModel, readTensors } from "../../merge-core/nn/model.ts";
import { type SavedDType, saveModel } from "../../merge-core/nn/save.ts";
import { createTextCodec, readTextCodec } from "../../merge-core/nn/tokenizer.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { TINY_GPT2, tinyConfig, tinyTensors, tinyTokenizerJson, writeTinyModel } from "../helpers/tiny-decoder.ts";

function logitsOf({ decoder }: Model): number[] {
  const logits = forwardLogits(decoder, Int32Array.of(1, 5, 7), 1);
  const values = [...logits.dataSync()];
  logits.dispose();
  disposeDecoder(decoder);
  return values;
}

describe("model folders", () => {
  before(() => initBackend({ threads: 1 }));

  it("of GPT-2 come back bit for bit when saved in float32, with the layers as files hold them", async () => {
    const folder = writeTinyModel(join(temporaryFolder(), "model"), TINY_GPT2);
    const copy = join(folder, "..", "copy");
    await saveModel(await loadModel(folder), copy, "F32");
    const shapes = async (path: string) => new Map([...(await openCheckpoint(path)).tensors].map(([name, { shape }]) => [name, shape]));
    assert.deepEqual(await shapes(copy), await shapes(folder));
    assert.deepEqual((await shapes(copy)).get("transformer.h.0.attn.c_attn.weight"), [8, 24]);
    assert.deepEqual(logitsOf(await loadModel(copy)), logitsOf(await loadModel(folder)));
  });

  it("come back bit for bit when saved in float32", async () => {
    const folder = writeTinyModel(join(temporaryFolder(), "model"));
    const copy = join(folder, "..", "copy");
    const model = await loadModel(folder);
    await saveModel(model, copy, "F32");
    assert.deepEqual(logitsOf(await loadModel(copy)), logitsOf(model));
    assert.deepEqual(readFileSync(join(copy, "tokenizer.json")), readFileSync(join(folder, "tokenizer.json")));
    assert.deepEqual(JSON.parse(readFileSync(join(copy, "generation_config.json"), "utf8")), {
      bos_token_id: 1,
      do_sample: false,
      eos_token_id: 2,
      pad_token_id: 0,
    });
  });

  for (const [dtype, name] of [
    ["BF16", "bfloat16"],
    ["F16", "float16"],
  ] as const satisfies readonly [SavedDType, string][]) {
    it(`say ${name} in config and tensors when saved so`, async () => {
      const copy = join(temporaryFolder(), "copy");
      const model = await loadModel(writeTinyModel(join(temporaryFolder(), "model")));
      await saveModel(model, copy, dtype);
      disposeDecoder(model.decoder);
      const saved = await openCheckpoint(copy);
      assert.deepEqual(new Set([...saved.tensors.values()].map((tensor) => tensor.dtype)), new Set([dtype]));
      assert.equal(saved.config?.dtype, name);
      assert.equal(saved.config?.torch_dtype, name);
    });
  }

  it("run with tensors from memory in place of their own", async () => {
    const folder = writeTinyModel(join(temporaryFolder(), "a"), {}, 1);
    const other = writeTinyModel(join(temporaryFolder(), "b"), {}, 2);
    const tensors = await readTensors(await openCheckpoint(other));
    rmSync(join(folder, "model.safetensors"));
    assert.deepEqual(logitsOf(await modelFromTensors(folder, tensors)), logitsOf(await loadModel(other)));
  });

  it("start at random, from the seed alone", async () => {
    const folder = writeTinyModel(join(temporaryFolder(), "model"), { initializer_range: 0.1 });
    const [one, again, two] = [await randomModel(folder, 1), await randomModel(folder, 1), await randomModel(folder, 2)];
    const weights = [...(one.decoder.weights.get("model.embed_tokens.weight")?.dataSync() ?? [])];
    const deviation = Math.sqrt(weights.reduce((sum, w) => sum + w * w, 0) / weights.length);
    assert.ok(deviation > 0.08 && deviation < 0.12, `deviation ${deviation}`);
    assert.deepEqual(new Set(one.decoder.weights.get("model.norm.weight")?.dataSync()), new Set([1]));
    const first = logitsOf(one);
    assert.deepEqual(logitsOf(again), first);
    assert.notDeepEqual(logitsOf(two), first);
  });

  it("are refused with tensors that config.json does not call for", async () => {
    const config = tinyConfig();
    const tensors = () => tinyTensors(config);
    const missing = tensors();
    missing.delete("model.norm.weight");
    await rejectsWith("tensor-missing", () => createDecoder(config, missing, "m"));
    const extra = tensors().set("model.layers.0.self_attn.q_proj.bias", { dtype: "F32", shape: [16], data: new Uint8Array(64) });
    await rejectsWith("tensor-unexpected", () => createDecoder(config, extra, "m"));
    const reshaped = tensors().set("model.norm.weight", { dtype: "F32", shape: [4], data: new Uint8Array(16) });
    await rejectsWith("tensor-shape-mismatch", () => createDecoder(config, reshaped, "m"));
    const whole = tensors().set("model.norm.weight", { dtype: "I32", shape: [8], data: new Uint8Array(32) });
    await rejectsWith("tensor-not-float", () => createDecoder(config, whole, "m"));
  });

  it("are refused without config.json", () => rejectsWith("file-missing", () => randomModel(temporaryFolder(), 1)));
});

describe("tokenizer", () => {
  const codec = createTextCodec(tinyTokenizerJson());

  it("puts the begin token in front of a sequence only", () => {
    assert.deepEqual(codec.encodeStart("abc"), [1, 3, 4, 5]);
    assert.deepEqual(codec.encodeMore("abc"), [3, 4, 5]);
  });
  it("leaves out what a tokenizer puts behind a text", () => {
    const json = tinyTokenizerJson();
    const specials = { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] }, "</s>": { id: "</s>", ids: [2], tokens: ["</s>"] } };
    const single = [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: "</s>", type_id: 0 } }];
    const closing = createTextCodec({ ...json, post_processor: { type: "TemplateProcessing", single, pair: single, special_tokens: specials } });
    assert.deepEqual(closing.encodeStart("abc"), [1, 3, 4, 5]);
    assert.deepEqual(closing.encodeStart(""), [1]);
    const plain = createTextCodec({ ...json, post_processor: null });
    assert.deepEqual(plain.encodeStart("abc"), [3, 4, 5]);
  });
  it("leaves special tokens out of text", () => assert.equal(codec.decode([1, 3, 4, 2]), "ab"));
  it("is refused when missing or broken", async () => {
    const folder = temporaryFolder();
    await rejectsWith("tokenizer-missing", () => readTextCodec(folder));
    for (const text of ["[", "7", '{"model": {"type": "No"}}']) {
      writeFileSync(join(folder, "tokenizer.json"), text);
      await rejectsWith("tokenizer-invalid", () => readTextCodec(folder));
    }
  });
});
