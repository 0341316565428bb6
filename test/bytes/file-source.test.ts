import assert from "node:assert/strict";
import { symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { handleSource, openFile, type ReadableHandle } from "../../merge-core/bytes/file-source.ts";
import { memorySource } from "../../merge-core/bytes/memory-source.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";

const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);

/** A handle that returns at most `most` bytes a call. */
const slowHandle = (most: number, size = bytes.length): ReadableHandle => ({
  async read(buffer, offset, length, position) {
    const part = bytes.subarray(position, Math.min(size, position + Math.min(length, most)));
    buffer.set(part, offset);
    return { bytesRead: part.length };
  },
  stat: async () => ({ size }),
  close: async () => {},
});

describe("byte sources", () => {
  it("a file is read by range, through links", async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, "a"), bytes);
    symlinkSync(join(folder, "a"), join(folder, "link"));
    const source = await openFile(join(folder, "link"));
    assert.equal(source.sizeBytes, 100);
    assert.deepEqual(await source.read(10, 5), bytes.slice(10, 15));
    assert.deepEqual(await source.read(100, 0), new Uint8Array(0));
    await source.close();
  });

  it("short reads are continued", async () => {
    assert.deepEqual(await handleSource(slowHandle(7), 100, "x").read(3, 90), bytes.slice(3, 93));
  });

  it("a file that shrank is told from a failing disk", async () => {
    const shrunk = await rejectsWith("read-short", () => handleSource(slowHandle(7, 50), 100, "x").read(0, 100));
    assert.match(shrunk.message, /shrank/);
    const stuck = await rejectsWith("read-short", () => handleSource({ ...slowHandle(0), stat: async () => ({ size: 100 }) }, 100, "x").read(0, 100));
    assert.match(stuck.message, /could not be read/);
  });

  it("a real file that shrinks after opening", async () => {
    const file = join(temporaryFolder(), "a");
    writeFileSync(file, bytes);
    const source = await openFile(file);
    truncateSync(file, 20);
    await rejectsWith("read-short", () => source.read(0, 100));
    await source.close();
  });

  for (const [offset, length] of [
    [0, 101],
    [101, 0],
    [-1, 5],
    [5, -1],
    [0.5, 1],
    [Number.MAX_SAFE_INTEGER, 1],
  ] as const) {
    it(`range ${offset} + ${length} is refused`, async () => {
      await rejectsWith("read-out-of-range", () => memorySource(bytes).read(offset, length));
      await rejectsWith("read-out-of-range", () => handleSource(slowHandle(7), 100, "x").read(offset, length));
    });
  }

  it("missing files, folders and cancellation have their own codes", async () => {
    const folder = temporaryFolder();
    await rejectsWith("file-missing", () => openFile(join(folder, "none")));
    await rejectsWith("file-not-regular", () => openFile(folder));
    await rejectsWith("cancelled", () => handleSource(slowHandle(7), 100, "x").read(0, 1, { signal: AbortSignal.abort() }));
    await rejectsWith("cancelled", () => memorySource(bytes).read(0, 1, { signal: AbortSignal.abort() }));
  });

  it("a memory source hands out copies", async () => {
    const source = memorySource(bytes);
    (await source.read(0, 1))[0] = 99;
    assert.equal(bytes[0], 0);
  });
});
