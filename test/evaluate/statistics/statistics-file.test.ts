import assert from "node:assert/strict";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../../merge-core/checkpoints/open-checkpoint.ts";
import { mergeByRecipe } from "../../../merge-core/evaluate/recipe-merge.ts";
import { fisherDiagonal } from "../../../merge-core/evaluate/statistics/fisher.ts";
import { writeFisher, writeGram } from "../../../merge-core/evaluate/statistics/statistics-file.ts";
import { encodeSafetensors } from "../../../merge-core/formats/safetensors-write.ts";
import { readExamples, tokenize } from "../../../merge-core/nn/data.ts";
import { disposeDecoder } from "../../../merge-core/nn/load.ts";
import { loadModel, readTensors } from "../../../merge-core/nn/model.ts";
import { rejectsWith } from "../../helpers/diagnostics.ts";
import { temporaryFolder } from "../../helpers/folders.ts";
import { TINY_GPT2, writeTinyModel } from "../../helpers/tiny-decoder.ts";

describe("files of statistics", () => {
  const folder = temporaryFolder();
  const data = join(folder, "data.jsonl");
  const place = (name: string) => join(folder, name);
  before(() => {
    for (const [i, name] of ["a", "b"].entries()) writeTinyModel(place(name), {}, i + 1);
    writeFileSync(data, '{"prompt":"ab","completion":"b"}\n{"text":"abcdefghij"}\n{"prompt":"ndk","completion":"lmf"}\n');
  });

  it("hold what was computed under the model's names, and where it is from", async () => {
    const out = place("a.fisher.safetensors");
    const result = await writeFisher(place("a"), [data], { out, seed: 3, samples: 2, threads: 1 });
    assert.deepEqual({ ...result, seconds: 0 }, { out, kind: "fisher", tensors: 21, examples: 3, tokens: 17, tooLong: 0, seconds: 0 });
    const file = await openCheckpoint(out);
    const model = await loadModel(place("a"));
    const rows = (await readExamples(data)).flatMap((example) => tokenize(example, model.codec, 2, 64));
    const expected = await fisherDiagonal(model.decoder, rows, { seed: 3, samples: 2 });
    for (const [name, { data: bytes }] of await readTensors(file)) {
      assert.deepEqual(file.tensors.get(name)?.shape, model.decoder.weights.get(name)?.shape);
      assert.deepEqual(new Float32Array(bytes.slice().buffer), Float32Array.from(expected.get(name) ?? []));
    }
    const metadata: Readonly<Record<string, string>> = file.shards[0]?.metadata ?? {};
    const { "weightsmith.model": hash, "weightsmith.data": dataHash, "weightsmith.version": version, ...rest } = metadata;
    assert.match(`${hash} ${dataHash} ${version}`, /^[0-9a-f]{64} [0-9a-f]{64} \d/);
    assert.deepEqual(rest, {
      format: "pt",
      "weightsmith.kind": "fisher",
      "weightsmith.examples": "3",
      "weightsmith.tokens": "17",
      "weightsmith.mode": "sampled",
      "weightsmith.samples": "2",
      "weightsmith.seed": "3",
    });
    disposeDecoder(model.decoder);
  });

  it("are what the merge methods read", async () => {
    for (const name of ["a", "b"]) {
      await writeFisher(place(name), [data], { out: place(`${name}.f.safetensors`), mode: "empirical", threads: 1 });
      await writeGram(place(name), [data], { out: place(`${name}.g.safetensors`), threads: 1 });
    }
    for (const [method, key, suffix] of [
      ["fisher", "fisher", "f"],
      ["regmean", "gram", "g"],
    ]) {
      const models = ["a", "b"].map((name) => `  - {model: ${name}, ${key}: ${name}.${suffix}.safetensors}\n`).join("");
      await mergeByRecipe({ text: `merge_method: ${method}\nmodels:\n${models}dtype: float32\n`, file: place("recipe.yml") }, place(`${method}-merge`));
      assert.ok(existsSync(place(`${method}-merge/model.safetensors`)));
    }
  });

  it("of GPT-2 have the names and layout of its files, old ones without the first part of names too", async () => {
    for (const [i, name] of ["g", "h"].entries()) writeTinyModel(place(name), TINY_GPT2, i + 1);
    const bare = place("old");
    writeTinyModel(bare, TINY_GPT2, 1);
    const tensors = await readTensors(await openCheckpoint(place("g")));
    const renamed = [...tensors].map(([name, tensor]) => ({ name: name.replace("transformer.", ""), ...tensor }));
    writeFileSync(join(bare, "model.safetensors"), encodeSafetensors(renamed));
    for (const name of ["g", "h", "old"]) {
      await writeFisher(place(name), [data], { out: place(`${name}.f.safetensors`), mode: "empirical", threads: 1 });
      await writeGram(place(name), [data], { out: place(`${name}.g.safetensors`), threads: 1 });
    }
    const [file, old] = [await openCheckpoint(place("g.f.safetensors")), await openCheckpoint(place("old.f.safetensors"))];
    const values = await readTensors(old);
    for (const [name, { data: bytes }] of await readTensors(file)) {
      assert.deepEqual(file.tensors.get(name)?.shape, [...(tensors.get(name)?.shape ?? [])]);
      assert.deepEqual(values.get(name.replace("transformer.", ""))?.data, bytes);
    }
    // The gradient of one example, squared, as the file has it: a row for each input.
    const model = await loadModel(place("g"));
    const rows = (await readExamples(data)).flatMap((example) => tokenize(example, model.codec, 2, 64));
    const known = (await fisherDiagonal(model.decoder, rows, { mode: "empirical" })).get("transformer.h.0.mlp.c_fc.weight") ?? new Float64Array();
    const found = new Float32Array((await readTensors(file)).get("transformer.h.0.mlp.c_fc.weight")?.data.slice().buffer ?? new ArrayBuffer(0));
    const [inputs = 0, outputs = 0] = file.tensors.get("transformer.h.0.mlp.c_fc.weight")?.shape ?? [];
    for (let i = 0; i < inputs; i++) for (let o = 0; o < outputs; o++) assert.equal(found[i * outputs + o], Math.fround(known[o * inputs + i] ?? Number.NaN));
    disposeDecoder(model.decoder);
    for (const [method, key, suffix] of [
      ["fisher", "fisher", "f"],
      ["regmean", "gram", "g"],
    ]) {
      const models = ["g", "h"].map((name) => `  - {model: ${name}, ${key}: ${name}.${suffix}.safetensors}\n`).join("");
      await mergeByRecipe({ text: `merge_method: ${method}\nmodels:\n${models}dtype: float32\n`, file: place("recipe.yml") }, place(`${method}-gpt2`));
    }
  });

  it("appear whole or not at all, and replace nothing unasked", async () => {
    const out = place("taken.safetensors");
    writeFileSync(out, "mine");
    await rejectsWith("output-exists", () => writeGram(place("a"), [data], { out, threads: 1 }));
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    const fresh = { out: place("fresh.safetensors"), threads: 1, batchSize: 1, signal: controller.signal, onProgress };
    await rejectsWith("cancelled", () => writeFisher(place("a"), [data], fresh));
    assert.deepEqual(
      readdirSync(folder).filter((name) => /fresh|partial/.test(name)),
      [],
    );
    await writeGram(place("a"), [data], { out, overwrite: true, threads: 1 });
    assert.ok((await openCheckpoint(out)).tensors.size > 0);
  });

  it("are refused where there is nothing to take them on", async () => {
    const long = place("long.jsonl");
    writeFileSync(long, `{"prompt":"${"a".repeat(80)}","completion":"b"}\n`);
    const out = place("none.safetensors");
    assert.equal((await rejectsWith("data-no-tokens", () => writeFisher(place("a"), [long], { out, threads: 1 }))).file, long);
    await rejectsWith("data-missing", () => writeFisher(place("a"), [], { out, threads: 1 }));
    writeFileSync(long, "\n");
    await rejectsWith("data-empty", () => writeGram(place("a"), [long], { out, threads: 1 }));
    assert.equal(existsSync(out), false);
  });
});
