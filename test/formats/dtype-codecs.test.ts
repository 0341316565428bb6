import assert from "node:assert/strict";
import { decodeSmall, encodeSmall, narrowFromFloat32, widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";

const formats = [
  { dtype: "F16", codes: 65536, sign: 0x8000, lastFinite: 0x7bff, overflowTo: Number.POSITIVE_INFINITY },
  { dtype: "BF16", codes: 65536, sign: 0x8000, lastFinite: 0x7f7f, overflowTo: Number.POSITIVE_INFINITY },
  { dtype: "F8_E4M3", codes: 256, sign: 0x80, lastFinite: 0x7e, overflowTo: Number.NaN },
  { dtype: "F8_E5M2", codes: 256, sign: 0x80, lastFinite: 0x7b, overflowTo: Number.POSITIVE_INFINITY },
] as const;

/** The float32 next to x in the direction away from zero (+1) or towards it (-1), for positive x. */
function neighbour(x: number, step: 1 | -1): number {
  const float = Float32Array.of(x);
  const word = new Uint32Array(float.buffer);
  word[0] = (word[0] ?? 0) + step;
  return float[0] ?? Number.NaN;
}

describe("dtype codecs", () => {
  // Values from the IEEE 754 and OCP FP8 tables.
  for (const [dtype, code, value] of [
    ["F16", 0x3c00, 1],
    ["F16", 0x7bff, 65504],
    ["F16", 0x0001, 2 ** -24],
    ["F16", 0x0400, 2 ** -14],
    ["F16", 0xfc00, Number.NEGATIVE_INFINITY],
    ["BF16", 0x3f80, 1],
    ["BF16", 0xc049, -3.140625],
    ["BF16", 0x0001, 2 ** -133],
    ["BF16", 0x7f80, Number.POSITIVE_INFINITY],
    ["F8_E4M3", 0x38, 1],
    ["F8_E4M3", 0x7e, 448],
    ["F8_E4M3", 0x01, 2 ** -9],
    ["F8_E4M3", 0xff, Number.NaN],
    ["F8_E5M2", 0x3c, 1],
    ["F8_E5M2", 0x7b, 57344],
    ["F8_E5M2", 0x01, 2 ** -16],
    ["F8_E5M2", 0x7c, Number.POSITIVE_INFINITY],
    ["F8_E5M2", 0x7d, Number.NaN],
  ] as const) {
    it(`${dtype} 0x${code.toString(16)} is ${value}`, () => assert.equal(decodeSmall(dtype, code), value));
  }

  for (const { dtype, codes, sign, lastFinite, overflowTo } of formats) {
    it(`${dtype}: every code survives, NaN as NaN`, () => {
      for (let code = 0; code < codes; code++) {
        const value = decodeSmall(dtype, code);
        const back = encodeSmall(dtype, value);
        if (Number.isNaN(value)) assert.ok(Number.isNaN(decodeSmall(dtype, back)), `code ${code}`);
        else assert.equal(back, code);
      }
    });

    it(`${dtype}: halfway goes to the even code, anything nearer to its neighbour`, () => {
      for (let code = 0; code < lastFinite; code++) {
        const middle = (decodeSmall(dtype, code) + decodeSmall(dtype, code + 1)) / 2;
        if (Math.fround(middle) !== middle) continue;
        assert.equal(encodeSmall(dtype, middle), code + (code & 1), `middle above ${code}`);
        assert.equal(encodeSmall(dtype, -middle), sign | (code + (code & 1)), `middle below -${code}`);
        assert.equal(encodeSmall(dtype, neighbour(middle, -1)), code);
        assert.equal(encodeSmall(dtype, neighbour(middle, 1)), code + 1);
      }
    });

    it(`${dtype}: overflow, infinity and negative zero`, () => {
      const max = decodeSmall(dtype, lastFinite);
      const halfStep = (max - decodeSmall(dtype, lastFinite - 1)) / 2;
      const wide = dtype === "BF16" ? 3.4028234e38 : max * 4;
      for (const beyond of [wide, Number.POSITIVE_INFINITY]) assert.equal(decodeSmall(dtype, encodeSmall(dtype, beyond)), overflowTo);
      assert.equal(encodeSmall(dtype, neighbour(max + halfStep, -1)), lastFinite);
      assert.equal(encodeSmall(dtype, -0), sign);
    });
  }

  it("BF16 agrees with the usual bit trick on many floats", () => {
    const words = Uint32Array.from({ length: 20_000 }, (_, i) => Math.imul(i + 1, 0x9e3779b1));
    const floats = new Float32Array(words.buffer);
    words.forEach((bits, i) => {
      if (Number.isNaN(floats[i])) return;
      const trick = (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
      assert.equal(encodeSmall("BF16", floats[i] ?? 0), trick, `bits ${bits}`);
    });
  });

  it("whole arrays, unaligned, in every float dtype", () => {
    const values = Float32Array.of(0, -0, 1, -1.5, 0.0625, 448, Number.NaN);
    for (const dtype of ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"] as const) {
      const bytes = narrowFromFloat32(dtype, values);
      const shifted = new Uint8Array(bytes.length + 1);
      shifted.set(bytes, 1);
      assert.deepEqual(widenToFloat32(dtype, shifted.subarray(1)), values, dtype);
    }
  });

  it("F64 is rounded once", () => {
    const bytes = new Uint8Array(Float64Array.of(0.1, 1 + 2 ** -24, 1e300).buffer);
    assert.deepEqual(widenToFloat32("F64", bytes), Float32Array.of(Math.fround(0.1), 1, Number.POSITIVE_INFINITY));
  });
});
