import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { OutputShard } from "../../merge-core/plan/plan.ts";
import { ShardHashes } from "../../merge-core/run/shard-hashes.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";

const MIB = 2 ** 20;
const bytesOf = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => (i * seed) >>> 7);
const sumOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const shardOf = (file: string, sizeBytes: number): OutputShard => ({ file, sizeBytes, headerBytes: 8, metadata: {}, tensors: [] });

describe("sums of shards that grow", () => {
  const contents = [bytesOf(20 * MIB + 12345, 31), bytesOf(1000, 7)];
  const shards = contents.map((bytes, i) => shardOf(`${i}.safetensors`, bytes.byteLength));
  const expected = contents.map((bytes, i) => ({ file: `${i}.safetensors`, sizeBytes: bytes.byteLength, sha256: sumOf(bytes) }));
  const hashesIn = (folder: string, options: { enabled?: boolean; signal?: AbortSignal } = {}) =>
    new ShardHashes(shards, folder, { enabled: options.enabled ?? true, signal: options.signal });

  it("cover every byte once, in whatever steps the shards are written", async () => {
    for (const step of [3 * MIB + 1, 9 * MIB, 64 * MIB]) {
      const folder = temporaryFolder();
      const hashes = hashesIn(folder);
      for (const [i, bytes] of contents.entries())
        for (let at = 0; at < bytes.byteLength; at += step) {
          // What is not there yet cannot be hashed too early.
          appendFileSync(join(folder, `${i}.safetensors`), bytes.subarray(at, at + step));
          hashes.written(i, Math.min(at + step, bytes.byteLength));
          if (at % 2 === 0) await new Promise((resume) => setImmediate(resume));
        }
      assert.deepEqual(await hashes.all(), expected);
      assert.deepEqual(await hashes.all(), expected, "asked again");
    }
  });

  it("have none for a shard that was not finished, nor without being asked for", async () => {
    const folder = temporaryFolder();
    for (const [i, bytes] of contents.entries()) writeFileSync(join(folder, `${i}.safetensors`), bytes);
    const hashes = hashesIn(folder);
    hashes.written(0, 15 * MIB);
    hashes.written(1, 1000);
    assert.deepEqual(
      (await hashes.all()).map(({ sha256 }) => sha256),
      [undefined, expected[1]?.sha256],
    );
    const disabled = hashesIn(folder, { enabled: false });
    disabled.written(1, 1000);
    assert.ok((await disabled.all()).every((record) => !("sha256" in record)));
  });

  it("end when cancelled, and where a shard is not as long as was told", async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, "0.safetensors"), (contents[0] as Uint8Array).subarray(0, 5 * MIB));
    const cancelled = hashesIn(folder, { signal: AbortSignal.abort() });
    cancelled.written(0, 20 * MIB);
    await rejectsWith("cancelled", () => cancelled.all());
    const short = hashesIn(folder);
    short.written(0, 20 * MIB);
    await rejectsWith("read-short", () => short.all());
  });
});
