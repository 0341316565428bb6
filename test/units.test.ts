import assert from "node:assert/strict";
import { formatCount } from "../merge-core/units.ts";

describe("units", () => {
  it("counts parameters with three significant digits", () => {
    assert.deepEqual([0, 512, 999, 1000, 7_146_000, 1_235_814_400, 999_999].map(formatCount), ["0", "512", "999", "1 k", "7.15 M", "1.24 B", "1000 k"]);
  });
});
