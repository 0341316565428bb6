import assert from "node:assert/strict";
import { type ComputePool, createPool } from "../../merge-core/compute/pool.ts";
import { DTYPE_CODES } from "../../merge-core/compute/program.ts";
import { encodeOutput } from "../../merge-core/compute/reference.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { DTYPE_BYTES, type FloatDType } from "../../merge-core/formats/dtypes.ts";
import { randomBits, SPECIALS, sameBits } from "../helpers/floats.ts";

describe("the type conversion kernels", () => {
  let pool: ComputePool;
  before(() => {
    pool = createPool({ threads: 1 });
  });
  after(() => pool.close());

  const put = (bytes: Uint8Array): number => {
    const address = pool.arena.alloc(bytes.byteLength + 64);
    new Uint8Array(pool.memory.buffer, address, bytes.byteLength).set(bytes);
    return address;
  };

  function widen(dtype: FloatDType, bytes: Uint8Array): Float32Array {
    const n = bytes.byteLength / DTYPE_BYTES[dtype];
    const from = put(bytes);
    const to = pool.arena.alloc(n * 4 + 64);
    pool.context.kernel("widen")(DTYPE_CODES[dtype], from, to, n);
    const values = new Float32Array(pool.memory.buffer, to, n).slice();
    pool.arena.free(from);
    pool.arena.free(to);
    return values;
  }

  function narrow(dtype: FloatDType, values: Float32Array): { bytes: Uint8Array; nonFinite: number } {
    const from = put(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    const to = pool.arena.alloc(values.length * DTYPE_BYTES[dtype] + 64);
    const nonFinite = pool.context.kernel("narrow")(DTYPE_CODES[dtype], from, 16, to, values.length);
    const bytes = new Uint8Array(pool.memory.buffer, to, values.length * DTYPE_BYTES[dtype]).slice();
    pool.arena.free(from);
    pool.arena.free(to);
    return { bytes, nonFinite };
  }

  for (const dtype of ["BF16", "F16", "F8_E4M3", "F8_E5M2"] as const) {
    const codes = DTYPE_BYTES[dtype] === 2 ? new Uint16Array(65536) : new Uint8Array(256);
    codes.forEach((_, i) => {
      codes[i] = i;
    });
    const all = new Uint8Array(codes.buffer);

    it(`widen every code of ${dtype}`, () => sameBits(widen(dtype, all), widenToFloat32(dtype, all)));

    it(`give every code of ${dtype} back`, () => {
      const values = widen(dtype, all);
      const back = narrow(dtype, values);
      assert.deepEqual(back.bytes, encodeOutput(dtype, values));
      const codesBack = DTYPE_BYTES[dtype] === 2 ? new Uint16Array(back.bytes.slice().buffer) : back.bytes;
      const wrong = [...codesBack].filter((code, i) => code !== i && !Number.isNaN(values[i]));
      assert.deepEqual(wrong, []);
      assert.equal(back.nonFinite, values.filter((x) => !Number.isFinite(x)).length);
    });

    it(`round to ${dtype} as the codec does: halfway cases, neighbours of codes, random bits`, () => {
      const values = widen(dtype, all);
      const near: number[] = [...SPECIALS];
      values.forEach((value, i) => {
        const next = values[i + 1] ?? 0;
        const middle = Math.fround((value + next) / 2);
        near.push(middle, Math.fround(middle * (1 + 2 ** -23)), Math.fround(middle * (1 - 2 ** -23)));
      });
      const inputs = Float32Array.from([...near, ...randomBits(100_003, 5)]);
      const { bytes, nonFinite } = narrow(dtype, inputs);
      const expected = encodeOutput(dtype, inputs);
      const wrong = expected.findIndex((byte, i) => byte !== bytes[i]);
      assert.equal(wrong, -1, `byte ${wrong} of ${inputs[Math.floor(wrong / DTYPE_BYTES[dtype])]}`);
      assert.equal(nonFinite, widenToFloat32(dtype, expected).filter((x) => !Number.isFinite(x)).length);
    });
  }

  it("round float64 once and give float32 back exactly", () => {
    const doubles = Float64Array.from(randomBits(4001, 9), (x, i) => x * (1 + i * 2 ** -40));
    sameBits(widen("F64", new Uint8Array(doubles.buffer)), Float32Array.from(doubles));
    const floats = Float32Array.from([...SPECIALS, ...randomBits(1001, 3)]);
    for (const dtype of ["F32", "F64"] as const) assert.deepEqual(narrow(dtype, floats).bytes, encodeOutput(dtype, floats));
  });

  it("count only the elements asked for", () => {
    const values = new Float32Array(24).fill(Number.POSITIVE_INFINITY);
    for (let n = 1; n < 20; n++) assert.equal(narrow("BF16", values.slice(0, n)).nonFinite, n);
  });
});
