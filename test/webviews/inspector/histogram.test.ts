import assert from "node:assert/strict";
import { binRows } from "../../../webviews/inspector/histogram.ts";

describe("histogram", () => {
  it("names the bounds of its steps", () => {
    assert.deepEqual(binRows([1, 2], -1, 1), [
      { from: -1, to: 0, count: 1 },
      { from: 0, to: 1, count: 2 },
    ]);
  });

  it("of equal values is one step", () => {
    assert.deepEqual(binRows([7, 0, 0], 2, 2), [{ from: 2, to: 2, count: 7 }]);
  });
});
