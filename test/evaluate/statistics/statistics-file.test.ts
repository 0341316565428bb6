import assert from "node:assert/strict";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../../merge-core/checkpoints/open-checkpoint.ts";
import { mergeByRecipe } from "../../../merge-core/evaluate/recipe-merge.ts";
import { fisherDiagonal } from "../../../merge-core/evaluate/statistics/fisher.ts";
import { writeFisher, writeGram } from "../../../merge-core/evaluate/statistics/statistics-file.ts";
import { readExamples, tokenize } from "../../../merge-core/nn/data.ts";
import { disposeDecoder } from "../../../merge-core/nn/load.ts";
import { loadModel, readTensors } from "../../../merge-core/nn/model.ts";
import { rejectsWith } from "../../helpers/diagnostics.ts";
import { temporaryFolder } from "../../helpers/folders.ts";
import { writeTinyModel } from "../../helpers/tiny-decoder.ts";

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
