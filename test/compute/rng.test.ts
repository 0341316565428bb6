import assert from "node:assert/strict";
import { bernoulli, constant } from "../../merge-core/compute/expr.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { evaluate } from "../../merge-core/compute/reference.ts";
import { hashName, philox4x32, randomKey, streamWord, uniforms, type Words4 } from "../../merge-core/compute/rng.ts";

/** kat_vectors of Random123 (Salmon et al.): counter, key, result of philox4x32-10. */
const KNOWN: readonly (readonly [Words4, readonly [number, number], Words4])[] = [
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
];

describe("Philox 4x32-10", () => {
  it("gives the published vectors", () => {
    for (const [counter, key, expected] of KNOWN) assert.deepEqual(philox4x32(counter, key), expected);
  });

  it("gives the published vectors in WASM, and their neighbours", async () => {
    const pool = createPool({ threads: 1 });
    const to = pool.arena.alloc(256);
    for (const [counter, key, expected] of KNOWN) {
      const [block, stream, low, high] = counter;
      // The kernel draws groups of eight aligned blocks; the vector's own is somewhere inside the first, and the counter may overflow after it.
      const first = block - (block % 8);
      pool.context.kernel("drawWords")(to, 64, first * 4, stream, low, high, key[0], key[1]);
      const words = new Uint32Array(pool.memory.buffer, to, 64);
      assert.deepEqual([...words.slice((block - first) * 4, (block - first) * 4 + 4)], expected);
      for (let lane = 0; lane < 16; lane++) {
        const overflows = first + lane >= 2 ** 32;
        const at: Words4 = [(first + lane) % 2 ** 32, (overflows ? stream + 1 : stream) % 2 ** 32, low, high];
        assert.deepEqual([...words.slice(lane * 4, lane * 4 + 4)], philox4x32(at, key));
      }
    }
    await pool.close();
  });
});

describe("bits drawn at random", () => {
  it("are 1 where the word's upper 24 bits are below the limit, also beyond 2^34 elements", async () => {
    const pool = createPool({ threads: 1 });
    const to = pool.arena.alloc(64);
    const key = randomKey(11, "w");
    const stream = { model: 3, purpose: 1 };
    const { seedLow, seedHigh, nameLow, nameHigh } = key;
    for (const start of [0, 96, 2 ** 34 - 64, 2 ** 34 + 32])
      for (const below of [0, 1, 5_033_164, 2 ** 24]) {
        pool.context.kernel("drawBits")(to, 100, start, below, streamWord(stream), seedLow, seedHigh, nameLow, nameHigh);
        const bytes = new Uint8Array(pool.memory.buffer, to, 16);
        const bits = Array.from({ length: 100 }, (_, i) => ((bytes[i >> 3] as number) >> (i & 7)) & 1);
        assert.deepEqual(
          bits,
          Array.from(uniforms(key, stream, start, 100), (x) => (x * 2 ** 24 < below ? 1 : 0)),
        );
      }
    await pool.close();
  });
});

describe("random streams", () => {
  it("hash names with FNV-1a of 64 bits", () => {
    // Published test values of the FNV authors.
    assert.equal(hashName(""), 0xcbf29ce484222325n);
    assert.equal(hashName("a"), 0xaf63dc4c8601ec8cn);
    assert.equal(hashName("foobar"), 0x85944171f73967e8n);
  });

  it("differ by seed, name, model and purpose, and depend on nothing else", () => {
    const base = uniforms(randomKey(1, "a"), { model: 0, purpose: 0 }, 0, 64);
    const others = [
      uniforms(randomKey(2, "a"), { model: 0, purpose: 0 }, 0, 64),
      uniforms(randomKey(1 + 2 ** 32, "a"), { model: 0, purpose: 0 }, 0, 64),
      uniforms(randomKey(1, "b"), { model: 0, purpose: 0 }, 0, 64),
      uniforms(randomKey(1, "a"), { model: 1, purpose: 0 }, 0, 64),
      uniforms(randomKey(1, "a"), { model: 0, purpose: 1 }, 0, 64),
    ];
    for (const other of others) assert.notDeepEqual(other, base);
    assert.deepEqual(uniforms(randomKey(1, "a"), { model: 0, purpose: 0 }, 32, 32), base.slice(32));
  });

  it("go on beyond 2^34 elements without repeating", () => {
    const key = randomKey(1, "a");
    const stream = { model: 0, purpose: 0 };
    assert.notDeepEqual(uniforms(key, stream, 2 ** 34, 16), uniforms(key, stream, 0, 16));
  });

  it("keep the asked share, within five standard deviations", () => {
    const size = 100_000;
    for (const keep of [0, 0.1, 0.5, 1]) {
      const mask = evaluate(bernoulli(constant(keep), { model: 3, purpose: 0 }), { inputs: [], size, key: randomKey(7, "w") });
      const share = mask.reduce((sum, bit) => sum + bit, 0) / size;
      assert.ok(Math.abs(share - keep) <= 5 * Math.sqrt((keep * (1 - keep)) / size), `${share} for ${keep}`);
    }
  });

  it("refuse models and purposes that do not fit the counter", () => {
    assert.throws(() => streamWord({ model: 65536, purpose: 0 }), RangeError);
    assert.throws(() => streamWord({ model: 0, purpose: 256 }), RangeError);
  });
});
