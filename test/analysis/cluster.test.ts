import assert from "node:assert/strict";
import { clusterItems } from "../../merge-core/analysis/cluster.ts";

describe("clustering", () => {
  // Points on a line: 0, 1, 5, 7. By hand: {0,1} at 1, {5,7} at 2, all at the mean of 5, 7, 4, 6.
  const points = [5, 0, 7, 1];
  const root = clusterItems(4, (a, b) => Math.abs((points[a] ?? 0) - (points[b] ?? 0)));

  it("joins the nearest first, at mean distances", () => {
    assert.equal(root?.height, 5.5);
    assert.deepEqual(
      root?.parts.map(({ members, height }) => [[...members].sort(), height]),
      [
        [[0, 2], 2],
        [[1, 3], 1],
      ],
    );
  });

  it("keeps joined items side by side in its order", () => {
    assert.deepEqual(root?.members, [0, 2, 1, 3]);
  });

  it("has one leaf for one item, and nothing for none", () => {
    assert.deepEqual(
      clusterItems(1, () => 0),
      { members: [0], height: 0, parts: [] },
    );
    assert.equal(
      clusterItems(0, () => 0),
      undefined,
    );
  });
});
