import assert from "node:assert/strict";
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { formatShardIndex } from "../../merge-core/formats/shard-index.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";

const a = floatTensor("model.layers.0.a", [2], [1, 2]);
const b = floatTensor("model.layers.1.b", [3], [3, 4, 5], "BF16");
const SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;
const INDEX = "model.safetensors.index.json";

const writeIndex = (folder: string, map: Record<string, string>) => writeFileSync(join(folder, INDEX), formatShardIndex(new Map(Object.entries(map)), 0, 0));

describe("openCheckpoint", () => {
  it("opens a folder with one file", async () => {
    const folder = writeModel([a, b], { config: { model_type: "llama" }, files: { "tokenizer.json": "{}", ".hidden": "" } });
    const checkpoint = await openCheckpoint(folder);
    const file = join(folder, "model.safetensors");
    const bytes = readFileSync(file);
    assert.deepEqual([...checkpoint.tensors.keys()], [a.name, b.name]);
    assert.deepEqual(checkpoint.shards, [{ file, sizeBytes: bytes.length, metadata: { format: "pt" } }]);
    assert.deepEqual(checkpoint.config, { model_type: "llama" });
    assert.deepEqual(checkpoint.sideFiles, ["tokenizer.json"]);
    const entry = checkpoint.tensors.get(b.name);
    assert.ok(entry);
    assert.deepEqual(Uint8Array.from(bytes.subarray(entry.offset, entry.offset + entry.byteLength)), b.data);
  });

  it("opens shards through a folder or an index, a single file by itself", async () => {
    const folder = writeModel([[b], [a]]);
    for (const path of [folder, join(folder, INDEX)]) {
      const { tensors, shards } = await openCheckpoint(path);
      assert.deepEqual([...tensors.keys()], [b.name, a.name]);
      assert.deepEqual(
        shards.map((s) => s.file),
        SHARDS.map((s) => join(folder, s)),
      );
    }
    assert.deepEqual([...(await openCheckpoint(join(folder, SHARDS[1]))).tensors.keys()], [a.name]);
  });

  it("follows links, as in the Hugging Face cache", async () => {
    const blobs = writeModel([[a], [b]]);
    const snapshot = temporaryFolder();
    for (const name of [...SHARDS, INDEX]) {
      renameSync(join(blobs, name), join(blobs, `blob-${name}`));
      symlinkSync(join(blobs, `blob-${name}`), join(snapshot, name));
    }
    assert.equal((await openCheckpoint(snapshot)).tensors.size, 2);
  });

  it("takes the only safetensors file under another name", async () => {
    const folder = writeModel([a]);
    renameSync(join(folder, "model.safetensors"), join(folder, "weights.safetensors"));
    assert.equal((await openCheckpoint(folder)).tensors.size, 1);
  });

  it("says what it looked for when there is no model", async () => {
    const missing = await rejectsWith("model-missing", () => openCheckpoint("/no/such/folder"));
    assert.deepEqual(missing.notes, ["looked for /no/such/folder"]);
    const hub = await rejectsWith("model-missing", () => openCheckpoint("some-org/some-model"));
    assert.match(hub.remedy ?? "", /hf download some-org\/some-model/);
    const empty = await rejectsWith("model-without-tensors", () => openCheckpoint(temporaryFolder()));
    assert.match(empty.expected ?? "", /model\.safetensors\.index\.json/);
  });

  it("names formats it does not read", async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, "model-q4.gguf"), "");
    assert.equal((await rejectsWith("model-format-unsupported", () => openCheckpoint(folder))).found, "model-q4.gguf");
    await rejectsWith("model-format-unsupported", () => openCheckpoint(join(folder, "model-q4.gguf")));
  });

  it("does not guess among several files", async () => {
    const folder = writeModel([[a], [b]]);
    rmSync(join(folder, INDEX));
    await rejectsWith("model-ambiguous", () => openCheckpoint(folder));
  });

  it("refuses a missing shard, a broken link to one, a folder in its place", async () => {
    const folder = writeModel([[a], [b]]);
    rmSync(join(folder, SHARDS[1]));
    assert.equal((await rejectsWith("shard-missing", () => openCheckpoint(folder))).expected, SHARDS[1]);
    symlinkSync("/no/such/blob", join(folder, SHARDS[1]));
    await rejectsWith("shard-missing", () => openCheckpoint(folder));
    rmSync(join(folder, SHARDS[1]));
    mkdirSync(join(folder, SHARDS[1]));
    await rejectsWith("file-not-regular", () => openCheckpoint(folder));
  });

  it("refuses a truncated shard, naming it", async () => {
    const folder = writeModel([[a], [b]]);
    truncateSync(join(folder, SHARDS[1]), readFileSync(join(folder, SHARDS[1])).length - 1);
    const diagnostic = await rejectsWith("safetensors-truncated", () => openCheckpoint(folder));
    assert.equal(diagnostic.file, join(folder, SHARDS[1]));
  });

  it("refuses an index that disagrees with its shards", async () => {
    const folder = writeModel([[a], [b]]);
    writeIndex(folder, { [a.name]: SHARDS[0], [b.name]: SHARDS[1], ghost: SHARDS[1] });
    await rejectsWith("index-tensor-missing", () => openCheckpoint(folder));
    writeIndex(folder, { [a.name]: SHARDS[0] });
    assert.equal((await openCheckpoint(folder)).tensors.size, 1, "a shard nobody names is no part of the model");
    const both = writeModel([[a, b], [b]]);
    await rejectsWith("index-tensor-unlisted", () => openCheckpoint(both));
  });

  it("refuses a config that is not an object, too deep or too large", async () => {
    const folder = writeModel([a], { config: [] });
    await rejectsWith("config-invalid", () => openCheckpoint(folder));
    writeFileSync(join(folder, "config.json"), "[".repeat(100));
    await rejectsWith("json-too-deep", () => openCheckpoint(folder));
    writeFileSync(join(folder, "config.json"), " ".repeat(10_000_001));
    await rejectsWith("json-too-large", () => openCheckpoint(folder));
  });

  it("stops when cancelled", async () => {
    const folder = writeModel([a]);
    await rejectsWith("cancelled", () => openCheckpoint(folder, { signal: AbortSignal.abort() }));
  });
});
