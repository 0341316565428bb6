import assert from "node:assert/strict";
import { Window } from "happy-dom";
import { clusterItems } from "../../../merge-core/analysis/cluster.ts";
import type { Comparison, Measures } from "../../../merge-core/analysis/comparison.ts";
import { drawBars } from "../../../webviews/charts/bars.ts";
import { drawDendrogram, layoutDendrogram } from "../../../webviews/charts/dendrogram.ts";
import { drawHeatmap } from "../../../webviews/charts/heatmap.ts";
import { heatmapTable } from "../../../webviews/common/heatmap-figure.ts";
import { activationHeatmap, activationTable } from "../../../webviews/comparison/activations.ts";
import { modelMatrix, modelTree } from "../../../webviews/comparison/cosines.ts";
import { gramOf, mergePath, modelPlane } from "../../../webviews/comparison/geometry.ts";
import { cellAt, layerHeatmap, levelsOf, tensorsIn } from "../../../webviews/comparison/layers.ts";
import { formatMeasure, type MeasureView, type Subject, shadeFor, subjectsOf } from "../../../webviews/comparison/measures.ts";
import { modelNames } from "../../../webviews/comparison/names.ts";
import { pairsTable, roleBars, signColumns, spectraCurves, spectraTable, subspaceTable, tensorsTable } from "../../../webviews/comparison/view.ts";
import { matchSnapshot } from "../../helpers/snapshot.ts";

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

/** The same models with changes of these lengths. */
function changedBy(norms: readonly number[]): Comparison {
  const change = { norm: 0, relativeNorm: 1, density: 1, quantiles: { p50: 0, p90: 0, p99: 0, max: 0 }, keptNorm: 1, droppedBySign: 0, droppedEnergy: 0 };
  return { ...comparison, total: { ...comparison.total, models: norms.map((norm) => ({ ...model, changes: { ...change, norm } })) } };
}

describe("comparison page", () => {
  it("names models by the shortest endings that differ", () => {
    assert.deepEqual(modelNames(["x/a", "y/b/"]), ["a", "b"]);
    assert.deepEqual(modelNames(["run1/merged", "run2/merged"]), ["run1/merged", "run2/merged"]);
    assert.deepEqual(modelNames(["same", "same"]), ["same", "same"]);
  });

  const chosen = (subject: string, measure: string): [Subject, MeasureView] => {
    const found = subjectsOf(comparison).find(({ id }) => id === subject);
    const view = found?.measures.find(({ id }) => id === measure);
    assert.ok(found && view);
    return [found, view];
  };

  it("offers all models, each pair and each model with the base, with the measures that the data hold", () => {
    assert.deepEqual(
      subjectsOf(comparison).map(({ name }) => name),
      ["all models", "a and b", "a and c", "b and c", "a and the base", "b and the base", "c and the base"],
    );
    const ids = subjectsOf(comparison)[1]?.measures.map(({ id }) => id);
    assert.deepEqual(ids, ["conflict", "cosine", "ratio", "support", "top", "weights"], "no subspace alignment, which these data lack");
    assert.deepEqual(subjectsOf({ ...comparison, models: [], total: { elements: 0, models: [], pairs: [] } }), []);
  });

  it("maps layers by roles for a pair", () => {
    const map = layerHeatmap(comparison, ...chosen("pair-1-2", "conflict"));
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

  it("shades signed measures around zero and ratios around one, both ends as far", () => {
    const cosine = shadeFor("around-zero", [-0.5, 0.1, Number.NaN]);
    assert.deepEqual([cosine(-0.5), cosine(0), cosine(0.25)], [-1, 0, 0.5]);
    const ratio = shadeFor("around-one", [0.5, 4]);
    assert.deepEqual([ratio(4), ratio(1), ratio(0.5)], [1, 0, -0.5]);
    assert.equal(shadeFor("least-to-most", [2, 2])(2), 0);
    assert.equal(shadeFor("around-zero", [])(0.5), 0);
  });

  it("marks chosen cells, and those of a chosen layer", () => {
    const { selected } = layerHeatmap(comparison, ...chosen("all", "conflict"), [{ layer: "model.layers.0", role: "mlp" }, { layer: "model.layers.1" }]);
    assert.deepEqual(
      [0, 1, 2].map((column) => selected?.(0, column)),
      [true, false, false],
    );
    assert.ok([0, 1, 2].every((column) => selected?.(1, column)));
    assert.deepEqual(cellAt(comparison, 1, 2), { layer: "model.layers.1" });
    const role = layerHeatmap(comparison, ...chosen("all", "conflict"), [{ role: "mlp" }]).selected;
    assert.deepEqual(
      [0, 1].map((row) => [0, 1, 2].map((column) => role?.(row, column))),
      [
        [true, false, false],
        [true, false, false],
      ],
    );
  });

  it("drills from the whole to a layer, a role and a tensor", () => {
    const tensor = (name: string, role: string, layer: number) => ({ name, role, layer, shape: [2, 2], ...measures([0.25, 0, 0]) });
    const tensors = [tensor("model.layers.0.mlp.up", "mlp", 0), tensor("model.layers.0.attn.q", "attention", 0), tensor("model.layers.1.mlp.up", "mlp", 1)];
    const whole = { ...comparison, tensors };
    const cell = { layer: "model.layers.0", role: "mlp" };
    assert.deepEqual(
      levelsOf(whole, [cell], "model.layers.0.mlp.up").map(({ name }) => name),
      ["all tensors", "layer 0", "mlp", "model.layers.0.mlp.up"],
    );
    assert.equal(levelsOf(whole, [cell, { layer: "model.layers.1" }], undefined).length, 1);
    assert.deepEqual(
      tensorsIn(whole, [cell]).map(({ name }) => name),
      ["model.layers.0.mlp.up"],
    );
    assert.equal(tensorsIn(whole, [{ layer: "model.layers.0" }]).length, 2);
    assert.equal(tensorsIn(whole, []).length, 3);
    assert.deepEqual(
      tensorsIn(whole, [{ role: "mlp" }]).map(({ name }) => name),
      ["model.layers.0.mlp.up", "model.layers.1.mlp.up"],
    );
    assert.deepEqual(
      levelsOf(whole, [{ role: "mlp" }], undefined).map(({ name, group }) => [name, group.conflict]),
      [
        ["all tensors", 0.5],
        ["mlp", 0.3],
      ],
    );
    const [, view] = chosen("all", "conflict");
    assert.deepEqual(tensorsTable(tensors.slice(0, 1), view).table.rows[0], ["model.layers.0.mlp.up", "25.0", "10"]);
  });

  it("names columns of signed agreement by their sums", () => {
    const { columns } = signColumns("all", { ...measures([0]), signCounts: [1, 2, 3, 4, 5, 6, 7] });
    assert.deepEqual(
      columns.map(({ name }) => name),
      ["−3", "−2", "−1", "0", "+1", "+2", "+3"],
    );
    assert.deepEqual(columns[6]?.count, 7);
    assert.deepEqual(columns.map(({ negative, neutral }) => (negative ? "-" : neutral ? "0" : "+")).join(""), "---0+++");
  });

  it("takes a merge apart into the changes it is made of", () => {
    // t0 = (1, 0), t1 = (1, 1), merge = 2 t0 - 0.5 t1 + (0, 0, 1).
    const vectors = [
      [1, 0, 0],
      [1, 1, 0],
      [1.5, -0.5, 1],
    ];
    const gram = vectors.map((a) => vectors.map((b) => a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0)));
    const path = mergePath(gram, 2, [0, 1]);
    assert.ok(path && Math.abs((path.weights[0] ?? 0) - 2) < 1e-12 && Math.abs((path.weights[1] ?? 0) + 0.5) < 1e-12);
    assert.ok(Math.abs(path.rest - Math.sqrt(1 / 3.5)) < 1e-12);
    assert.equal(mergePath(gram, 2, []), undefined);
  });

  it("maps models, base and merge, and leads from the base through the parts to the merge", () => {
    const plane = modelPlane({ ...changedBy([1, 1, 2]), merges: [2] });
    assert.deepEqual(
      plane.points.filter(({ kind }) => kind !== "step").map(({ name, kind }) => `${name} ${kind}`),
      ["base base", "a expert", "b expert", "c merge"],
    );
    const path = plane.paths.find(({ kind }) => kind === "path");
    const [base, merge] = [plane.points.find(({ name }) => name === "base"), plane.points.find(({ name }) => name === "c")];
    assert.deepEqual(
      [path?.through[0], path?.through.at(-1)],
      [
        [base?.x, base?.y],
        [merge?.x, merge?.y],
      ],
    );
    assert.equal(path?.through.length, 4);
    assert.equal(modelPlane({ ...comparison, models: [], total: { elements: 0, models: [], pairs: [] } }).points.length, 1);
  });

  it("has the inner products that norms and cosines give", () => {
    const { total } = changedBy([3, 4, 5]);
    assert.deepEqual(gramOf({ ...comparison, total }), [
      [9, -6, 13.5],
      [-6, 16, 2],
      [13.5, 2, 25],
    ]);
  });

  it("shows missing values as such", () => {
    assert.equal(formatMeasure({ digits: 2 }, null), "–");
    assert.equal(formatMeasure({ digits: "percent" }, 0.4567), "45.7");
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
      [...svg.querySelectorAll(".leaf text")].map((leaf) => leaf.textContent),
      ["a", "c", "b"],
    );
    assert.equal(svg.querySelectorAll(".joint").length, 2);
    assert.match(svg.getAttribute("aria-label") ?? "", /a and c join first, at 0\.100, all at 1\.20/);
    assert.equal(modelTree({ ...comparison, models: ["a"] }), undefined);
    matchSnapshot("test/fixtures/charts/dendrogram.svg", svg.outerHTML);
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
    const marked = drawBars(roleBars(comparison, ["mlp"]), { width: 400, document: page() }).querySelectorAll(".selected");
    assert.deepEqual(
      [...marked].map((row) => row.querySelector("title")?.textContent),
      ["mlp: 30.0 %"],
    );
    assert.deepEqual(
      [...svg.querySelectorAll(".value")].map((text) => text.textContent),
      ["70.0 %", "30.0 %", "–"],
    );
    matchSnapshot("test/fixtures/charts/bars.svg", svg.outerHTML);
    const widths = [...svg.querySelectorAll(".bar")].map((bar) => Number(bar.getAttribute("width")));
    assert.ok(Math.abs((widths[0] ?? 0) / (widths[1] ?? 1) - 7 / 3) < 1e-9);
  });

  it("shows spectra and subspaces with the numbers that they come with, weights where there are no changes", () => {
    const spectrum = (...singularValues: number[]) => ({ singularValues, effectiveRank: 1.5, stableRank: 1.25, spanningRank: 2 });
    const spectra = {
      tensor: "w",
      models: [spectrum(2, 1), { ...spectrum(3), partial: true as const }],
      base: spectrum(9, 8, 7),
      weights: [spectrum(5, 4), spectrum(6, 5)],
      pairs: [{ a: 0, b: 1, subspace: 0.25, subspaceReverse: null, angles: [10, 20, 60], overlap: 0.75 }],
    };
    assert.deepEqual(spectraTable(spectra, ["x/a", "x/b"]).rows, [
      ["change of a", "2", "1.5", "1.25", "2", "2"],
      ["change of b", "3", "1.5", "1.25", "2", "1 leading"],
      ["weights of a", "5", "1.5", "1.25", "2", "2"],
      ["weights of b", "6", "1.5", "1.25", "2", "2"],
      ["weights of the base", "9", "1.5", "1.25", "2", "3"],
    ]);
    assert.deepEqual(subspaceTable(spectra, ["x/a", "x/b"]).rows, [["a, b", "0.25", "–", "10", "30", "60", "0.75"]]);
    assert.deepEqual(spectraCurves(spectra, ["x/a", "x/b"]).curves[0]?.points, [
      [1, 2],
      [2, 1],
    ]);
    assert.deepEqual(spectraCurves({ tensor: "w", models: [], weights: spectra.weights }, ["a", "b"]).curves[1]?.points[0], [1, 6]);
  });

  it("maps the alignment of activations by layers and pairs, the base among them", () => {
    const pairs = [
      { a: -1, b: 0, cka: 0.5, ckaDebiased: 0.25 },
      { a: 0, b: 1, cka: 1, ckaDebiased: null },
    ];
    const activations = { data: ["x.jsonl"], positions: 9, layers: [{ name: "embedding", pairs }] };
    const map = activationHeatmap({ ...comparison, activations }, (layer, { a }) => layer === "embedding" && a === 0);
    assert.deepEqual([map.selected?.(0, 0), map.selected?.(0, 1)], [false, true]);
    assert.deepEqual(
      [map.columns, map.rows[0]?.values],
      [
        ["base, a", "a, b"],
        [0.25, Number.NaN],
      ],
    );
    assert.deepEqual(activationTable({ ...comparison, activations }).rows, [
      ["embedding", "base, a", "0.5", "0.25"],
      ["embedding", "a, b", "1", "–"],
    ]);
  });

  it("shows only weights without a base", () => {
    const { base: _, ...rest } = comparison;
    const pairs = comparison.total.pairs.map(({ changes: _changes, ...pair }) => pair);
    assert.equal(pairsTable({ ...rest, total: { ...comparison.total, pairs } }).header.length, 3);
    assert.deepEqual(
      subjectsOf({ ...rest, total: { ...comparison.total, pairs } })[1]?.measures.map(({ id }) => id),
      ["weights", "ratio"],
    );
    assert.equal(heatmapTable(modelMatrix(rest)).rows[0]?.[2], "0.9900");
  });
});
