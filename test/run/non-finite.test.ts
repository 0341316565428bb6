import assert from "node:assert/strict";
import { narrowFromFloat32, widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { countNonFinite } from "../../merge-core/run/non-finite.ts";

describe("countNonFinite", () => {
  const values = Float32Array.of(0, 1, Number.NaN, -448, Number.POSITIVE_INFINITY, -0, Number.NEGATIVE_INFINITY, 2 ** -9);
  for (const dtype of ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"] as const) {
    it(`counts 3 of 8 in ${dtype}`, () => assert.equal(countNonFinite(dtype, narrowFromFloat32(dtype, values)), 3));
  }

  for (const dtype of ["F16", "BF16", "F8_E4M3", "F8_E5M2"] as const) {
    it(`agrees with decoding on every code of ${dtype}`, () => {
      const wide = dtype === "F16" || dtype === "BF16";
      const codes = wide ? Uint16Array.from({ length: 65536 }, (_, i) => i) : Uint8Array.from({ length: 256 }, (_, i) => i);
      const bytes = new Uint8Array(codes.buffer);
      const expected = widenToFloat32(dtype, bytes).filter((x) => !Number.isFinite(x)).length;
      assert.equal(countNonFinite(dtype, bytes), expected);
    });
  }

  it("counts in lengths that are no whole words", () => {
    for (let length = 0; length < 12; length++) {
      assert.equal(countNonFinite("F16", narrowFromFloat32("F16", new Float32Array(length).fill(Number.NaN))), length);
      assert.equal(countNonFinite("F8_E5M2", narrowFromFloat32("F8_E5M2", new Float32Array(length).fill(Number.NEGATIVE_INFINITY))), length);
    }
  });

  it("integers have none", () => assert.equal(countNonFinite("I8", Uint8Array.of(0x7f, 0xff)), 0));
});
