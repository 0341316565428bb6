import assert from "node:assert/strict";
import { layoutTiles } from "../../../webviews/inspector/treemap.ts";

describe("treemap", () => {
  const parts = [
    { name: "mlp", bytes: 60 },
    { name: "attention", bytes: 30 },
    { name: "norm", bytes: 10 },
    { name: "bias", bytes: 0 },
  ];

  it("gives each part an area in proportion to its bytes, within the picture", () => {
    const tiles = layoutTiles(parts, 200, 100);
    assert.deepEqual(
      tiles.map(({ name, width, height }) => [name, Math.round(width * height)]),
      [
        ["mlp", 12000],
        ["attention", 6000],
        ["norm", 2000],
      ],
    );
    for (const { x, y, width, height } of tiles) assert.ok(x >= 0 && y >= 0 && x + width <= 200.001 && y + height <= 100.001);
  });

  it("of nothing is empty", () => {
    assert.deepEqual(layoutTiles([], 200, 100), []);
  });
});
