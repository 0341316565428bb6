import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { bytesOf } from "../../merge-core/compute/instance.ts";
import { type ComputePool, createPool } from "../../merge-core/compute/pool.ts";

const pause = (ms: number) => new Promise((resume) => setTimeout(resume, ms));

describe("the synchronous fan-out", () => {
  for (const threads of [1, 2, 3]) {
    it(`runs every part exactly once with ${threads} threads`, async () => {
      const pool = createPool({ threads });
      const address = pool.arena.alloc(4096 * 16);
      for (let round = 0; round < 200; round++) {
        const parts = Array.from({ length: 1 + ((round * 7) % 40) }, (_, i) => [address + i * 1600, round * 1000 + i, 400]);
        pool.runSync("fill32", parts);
        const words = new Int32Array(pool.memory.buffer, address, 400 * parts.length);
        assert.ok(
          parts.every((part, i) => words[i * 400] === part[1] && words[i * 400 + 399] === part[1]),
          `round ${round}`,
        );
        if (round % 50 === 10) await pause(60);
      }
      await pool.close();
    });
  }

  it("runs more parts than one round holds", async () => {
    const pool = createPool({ threads: 2 });
    const count = 5000;
    const address = pool.arena.alloc(count * 4);
    pool.runSync(
      "fill32",
      Array.from({ length: count }, (_, i) => [address + 4 * i, i, 1]),
    );
    const words = new Int32Array(pool.memory.buffer, address, count);
    assert.ok(words.every((word, i) => word === i));
    await pool.close();
  });

  it("reports a kernel that traps, and works afterwards", async () => {
    const pool = createPool({ threads: 2 });
    assert.throws(
      () =>
        pool.runSync(
          "fill32",
          Array.from({ length: 8 }, () => [2 ** 32 - 64, 1, 64]),
        ),
      /compute kernel failed: memory access out of bounds/,
    );
    const address = pool.arena.alloc(64);
    pool.runSync("fill32", [
      [address, 7, 1],
      [address + 4, 8, 1],
    ]);
    assert.deepEqual([...new Int32Array(pool.memory.buffer, address, 2)], [7, 8]);
    await pool.close();
  });

  it("refuses names that are no kernel", async () => {
    const pool = createPool({ threads: 1 });
    assert.throws(() => pool.runSync("no_such_kernel", [[]]), /no kernel is called no_such_kernel/);
    await pool.close();
  });

  it("needs no worker to make progress", async () => {
    const folder = mkdtempSync(join(tmpdir(), "weightsmith-pool-"));
    const program = join(folder, "dead.mjs");
    writeFileSync(program, "process.exit(3);");
    const pool = createPool({ threads: 3, workerUrl: pathToFileURL(program) });
    const address = pool.arena.alloc(4096);
    pool.runSync(
      "fill32",
      Array.from({ length: 10 }, (_, i) => [address + 16 * i, i, 4]),
    );
    assert.equal(new Int32Array(pool.memory.buffer, address, 40)[39], 9);
    await pool.close();
    rmSync(folder, { recursive: true });
  });

  it("sees memory that grew after the workers started", async () => {
    const pool = createPool({ threads: 2 });
    const fill = (address: number): void =>
      pool.runSync(
        "fill32",
        Array.from({ length: 64 }, (_, i) => [address + 4096 * i, i + 1, 1024]),
      );
    fill(pool.arena.alloc(64 * 4096));
    await pause(20);
    const far = pool.arena.alloc(64 * 1024 * 1024) + 63 * 1024 * 1024;
    fill(far);
    const words = new Int32Array(pool.memory.buffer, far, 64 * 1024);
    assert.ok(words.every((word, i) => word === (i >> 10) + 1));
    await pool.close();
  });
});

describe("the arena", () => {
  let pool: ComputePool;
  beforeEach(() => {
    pool = createPool({ threads: 1, maxMemoryBytes: 1 << 20 });
  });
  afterEach(() => pool.close());

  it("aligns blocks and reuses freed room, merging neighbours", () => {
    const blocks = Array.from({ length: 8 }, () => pool.arena.alloc(100));
    assert.ok(blocks.every((address) => address % 64 === 0));
    for (const i of [2, 4, 3]) pool.arena.free(blocks[i] ?? -1);
    assert.equal(pool.arena.alloc(384), blocks[2], "three merged blocks of 128 hold 384");
    assert.equal(pool.arena.usedBytes, 5 * 128 + 384);
  });

  it("refuses more than its limit and double frees", () => {
    assert.throws(() => pool.arena.alloc(1 << 20), { code: "out-of-memory" });
    const address = pool.arena.alloc(1);
    pool.arena.free(address);
    assert.throws(() => pool.arena.free(address), TypeError);
    assert.ok(bytesOf(pool.memory).byteLength <= 1 << 20);
  });

  it("never hands out overlapping blocks", () => {
    const live = new Map<number, number>();
    let state = 1;
    const next = (): number => (state = (state * 48271) % 2147483647);
    for (let i = 0; i < 2000; i++) {
      const keys = [...live.keys()];
      if (live.size > 40 || (live.size > 0 && next() % 3 === 0)) {
        const address = keys[next() % keys.length] ?? -1;
        live.delete(address);
        pool.arena.free(address);
      } else {
        const size = 1 + (next() % 5000);
        live.set(pool.arena.alloc(size), size);
      }
      const sorted = [...live].sort((a, b) => a[0] - b[0]);
      assert.ok(sorted.every(([start], j) => j === 0 || start >= (sorted[j - 1]?.[0] ?? 0) + (sorted[j - 1]?.[1] ?? 0)));
    }
  });
});
