import assert from "node:assert/strict";
import { Window } from "happy-dom";
import { clusterItems } from "../../../merge-core/analysis/cluster.ts";
import type { Comparison, Measures } from "../../../merge-core/analysis/comparison.ts";
import { drawBars } from "../../../webviews/charts/bars.ts";
import { drawDendrogram, layoutDendrogram } from "../../../webviews/charts/dendrogram.ts";
import { drawHeatmap } from "../../../webviews/charts/heatmap.ts";
import { heatmapTable, layerHeatmap, modelMatrix, modelNames, modelTree, pairsTable, pairViews, roleBars } from "../../../webviews/comparison/view.ts";

const page = () => new Window().document as unknown as Document;

const model = { norm: 1, cosineToBase: 1 };
/** Measures of three models, from the conflicts of pairs 01, 02, 12. */
function measures(conflicts: readonly (number | null)[], cosines: readonly number[] = [0, 0, 0]): Measures {
  const pairs = [
    [0, 1],
    [0, 2],
    [1, 2],
  ].map(([a = 0, b = 0], i) => ({
    ...{ a, b, cosine: 0.99, l2: 1, normRatio: 1 },
    changes: { cosine: cosines[i] ?? null, normRatio: 1, conflict: conflicts[i] ?? null, support: 1, topOverlap: 0.1, topConflict: 0.2 },
  }));
  return { elements: 10, models: [model, model, model], pairs, conflict: conflicts[0] ?? null, signAgreement: 0.5 };
}

const comparison: Comparison = {
  format: "weightsmith-comparison",
  weightsmith: "0.0.0",
  base: "zoo/base",
  models: ["zoo/a", "zoo/b", "zoo/c"],
  density: 0.2,
  total: measures([0.5, 0.4, 0.6], [-0.5, 0.9, 0.1]),
  roles: [
    { name: "mlp", ...measures([0.3, 0, 0]) },
    { name: "norm", ...measures([null, 0, 0]) },
    { name: "attention", ...measures([0.7, 0, 0]) },
  ],
  layers: [0, 1].map((layer) => ({
    ...{ name: `model.layers.${layer}`, layer, ...measures([0.1 + layer / 10, 0.2, 0.3]) },
    roles: [{ name: "mlp", ...measures([0.4, 0.6, 0.5]) }, ...(layer === 0 ? [{ name: "attention", ...measures([0.8, 0.7, 0.9]) }] : [])],
  })),
  tensors: [],
  skipped: [],
  explanations: [],
};

describe("comparison page", () => {
  it("names models by the shortest endings that differ", () => {
    assert.deepEqual(modelNames(["x/a", "y/b/"]), ["a", "b"]);
    assert.deepEqual(modelNames(["run1/merged", "run2/merged"]), ["run1/merged", "run2/merged"]);
    assert.deepEqual(modelNames(["same", "same"]), ["same", "same"]);
  });

  it("maps layers by roles for all pairs, and for each", () => {
    const views = pairViews(comparison);
    assert.deepEqual(
      views.map(({ name }) => name),
      ["all pairs", "a and b", "a and c", "b and c"],
    );
    const map = layerHeatmap(comparison, views[3] as (typeof views)[number]);
    assert.deepEqual(map.columns, ["mlp", "attention", "layer"]);
    assert.deepEqual(
      map.rows.map(({ values }) => values),
      [
        [0.5, 0.9, 0.3],
        [0.5, Number.NaN, 0.3],
      ],
    );
    assert.deepEqual(heatmapTable(map).rows[1], ["layer 1", "50.0", "–", "30.0"]);
    assert.deepEqual([map.fraction?.(0.3), map.fraction?.(0.9)], [0, 1]);
  });

  it("sets the models of the matrix beside those they are like, signs printed", () => {
    const map = modelMatrix(comparison);
    assert.deepEqual(map.columns, ["a", "c", "b"]);
    assert.deepEqual(map.rows[0]?.values, [1, 0.9, -0.5]);
    const cells = [...drawHeatmap(map, { width: 400, document: page() }).querySelectorAll(".cell text")].map((text) => text.textContent);
    assert.deepEqual(cells.slice(0, 3), ["1.00", "0.90", "-0.50"]);
  });

  it("draws the tree with a bracket for each joint, inside the picture", () => {
    const tree = modelTree(comparison);
    assert.ok(tree);
    const svg = drawDendrogram(tree, { width: 400, document: page() });
    assert.deepEqual(
      [...svg.querySelectorAll(".leaf")].map((leaf) => leaf.textContent),
      ["a", "c", "b"],
    );
    assert.equal(svg.querySelectorAll(".joint").length, 2);
    assert.match(svg.getAttribute("aria-label") ?? "", /a and c join first, at 0\.100, all at 1\.20/);
    assert.equal(modelTree({ ...comparison, models: ["a"] }), undefined);
  });

  it("places joints between the middles of their parts", () => {
    const root = clusterItems(3, (a, b) => (a + b === 1 ? 1 : 4));
    assert.ok(root);
    assert.deepEqual(layoutDendrogram(root), [
      {
        height: 1,
        parts: [
          { row: 0, height: 0 },
          { row: 1, height: 0 },
        ],
      },
      {
        height: 4,
        parts: [
          { row: 0.5, height: 1 },
          { row: 2, height: 0 },
        ],
      },
    ]);
  });

  it("orders roles by conflict, those without a value last", () => {
    const bars = roleBars(comparison);
    assert.deepEqual(
      bars.bars.map(({ name }) => name),
      ["attention", "mlp", "norm"],
    );
    const svg = drawBars(bars, { width: 400, document: page() });
    assert.deepEqual(
      [...svg.querySelectorAll(".value")].map((text) => text.textContent),
      ["70.0", "30.0", "–"],
    );
    const widths = [...svg.querySelectorAll(".bar")].map((bar) => Number(bar.getAttribute("width")));
    assert.ok(Math.abs((widths[0] ?? 0) / (widths[1] ?? 1) - 7 / 3) < 1e-9);
  });

  it("shows only weights without a base", () => {
    const { base: _, ...rest } = comparison;
    const pairs = comparison.total.pairs.map(({ changes: _changes, ...pair }) => pair);
    assert.equal(pairsTable({ ...rest, total: { ...comparison.total, pairs } }).header.length, 3);
    assert.equal(pairViews(rest)[0]?.name, "a and b");
    assert.equal(heatmapTable(modelMatrix(rest)).rows[0]?.[2], "0.9900");
  });
});
