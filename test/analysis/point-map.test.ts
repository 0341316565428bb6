import assert from "node:assert/strict";
import { eigenSymmetric, mapPoints } from "../../merge-core/analysis/point-map.ts";

const gramOf = (points: readonly (readonly number[])[]) => points.map((a) => points.map((b) => a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0)));
const distance = (a: readonly number[], b: readonly number[]) => Math.hypot(...a.map((x, i) => x - (b[i] ?? 0)));

describe("map of models", () => {
  it("keeps all distances of points on a plane, wherever the plane lies", () => {
    // A plane in five dimensions, spanned by two orthogonal vectors, away from the origin.
    const [u, v, o] = [
      [1, 2, 0, 0, 2],
      [2, 0, 1, 1, -1],
      [5, 5, 5, 5, 5],
    ];
    const flat = [
      [0, 0],
      [3, 1],
      [-2, 4],
      [1, -5],
    ];
    const points = flat.map(([s = 0, t = 0]) => (o ?? []).map((x, i) => x + s * (u?.[i] ?? 0) + t * (v?.[i] ?? 0)));
    const map = mapPoints(gramOf(points));
    for (const [i, a] of points.entries())
      for (const [j, b] of points.entries()) assert.ok(Math.abs(distance(map.points[i] ?? [], map.points[j] ?? []) - distance(a, b)) < 1e-9);
    assert.ok(Math.abs(map.shown[0] + map.shown[1] - 1) < 1e-12);
  });

  it("says how much it shows: three orthogonal changes of one length lie on a regular simplex, of which two axes show two thirds", () => {
    const { shown } = mapPoints(
      gramOf([
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
      ]),
    );
    assert.ok(shown.every((x) => Math.abs(x - 1 / 3) < 1e-12));
  });

  it("maps nothing, one model and equal models", () => {
    assert.deepEqual(mapPoints([]), { points: [], shown: [0, 0] });
    assert.deepEqual(mapPoints([[4]]), { points: [[0, 0]], shown: [0, 0] });
    assert.deepEqual(
      mapPoints([
        [1, 1],
        [1, 1],
      ]).points,
      [
        [0, 0],
        [0, 0],
      ],
    );
  });

  it("finds eigenvectors: A v = lambda v", () => {
    const a = [
      [2, -1, 0.5],
      [-1, 3, 1],
      [0.5, 1, -4],
    ];
    const { values, vectors } = eigenSymmetric(a.map((row) => [...row]));
    for (const [k, value] of values.entries()) {
      const v = vectors.map((row) => row[k] ?? 0);
      for (const [i, row] of a.entries()) assert.ok(Math.abs(row.reduce((sum, x, j) => sum + x * (v[j] ?? 0), 0) - value * (v[i] ?? 0)) < 1e-12);
      assert.ok(Math.abs(Math.hypot(...v) - 1) < 1e-12);
    }
    assert.ok(Math.abs(values.reduce((sum, x) => sum + x, 0) - 1) < 1e-12, "the trace");
  });
});
