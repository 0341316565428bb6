// Pictures of alignments and of heads: the numbers of the command line and no others.
import assert from "node:assert/strict";
import { Window } from "happy-dom";
import type { AlignPage, HeadsPage } from "../../../merge-core/cli/weights-page.ts";
import { drawCurves } from "../../../webviews/charts/curves.ts";
import { drawHeatmap } from "../../../webviews/charts/heatmap.ts";
import { groupsTable, headsHeatmap, headsTable, layersHeatmap, lossCurves, lossTable } from "../../../webviews/weights/view.ts";
import { matchSnapshot } from "../../helpers/snapshot.ts";

const size = { width: 480, document: new Window().document as unknown as Document };
const line = { before: { losses: [1, 4, 2], barrier: 2.5 }, after: { losses: [1, 1.25, 2], barrier: 0 } };
const align: AlignPage = {
  ...{ kind: "align", weightsmith: "0.0.0", a: "a", b: "b", out: "out", sweeps: 2, distance: { before: 2, after: 1 }, line },
  groups: [{ group: "model.layers.0.mlp", size: 8, moved: 6, before: 0.5, after: 3 }],
};
const unit = (layer: number, head: number, from: readonly [number, number], cosine: number) => ({
  ...{ layer, unit: head, from: { layer: from[0], unit: from[1] }, cosine },
});
const shared = unit(2, 1, [1, 0], 0.9);
const heads: HeadsPage = {
  ...{ kind: "heads", weightsmith: "0.0.0", model: "m", parameters: { before: 100, after: 90 }, pairs: [shared] },
  similarity: { best: [[], [unit(1, 0, [0, 1], 0.2), unit(1, 1, [0, 0], 0.4)], [unit(2, 0, [0, 0], 0.1), shared]], layers: [[], [0.3], [0.05, 0.5]] },
};

describe("page of an alignment", () => {
  it("draws the loss on the line before and after, from A to B", () => {
    const { curves } = lossCurves(line);
    assert.deepEqual(
      curves.map(({ points }) => points),
      [
        [
          [0, 1],
          [0.5, 4],
          [1, 2],
        ],
        [
          [0, 1],
          [0.5, 1.25],
          [1, 2],
        ],
      ],
    );
    assert.deepEqual(lossTable(line).rows[1], ["0.5", "4", "1.25"]);
    matchSnapshot("test/fixtures/charts/loss-line.svg", drawCurves(lossCurves(line), size).outerHTML);
  });

  it("tells what moved", () => {
    assert.deepEqual(groupsTable(align).rows, [["model.layers.0.mlp", "6", "8", "0.5", "3"]]);
  });
});

describe("page of heads", () => {
  it("maps each head to its best match, marks those that are shared, and tells whose weights they take", () => {
    const map = headsHeatmap(heads);
    assert.deepEqual(
      map.rows.map(({ label, values }) => [label, values]),
      [
        ["layer 1", [0.2, 0.4]],
        ["layer 2", [0.1, 0.9]],
      ],
    );
    assert.deepEqual([map.selected?.(1, 1), map.selected?.(1, 0)], [true, false]);
    assert.deepEqual(headsTable(heads).rows[3], ["layer 2, head 1", "layer 1, head 0", "0.9", "layer 1, head 0"]);
    matchSnapshot("test/fixtures/charts/heads.svg", drawHeatmap(map, size).outerHTML);
  });

  it("maps layers to earlier ones, with nothing where none is earlier", () => {
    assert.deepEqual(
      layersHeatmap(heads).rows.map(({ values }) => values),
      [
        [0.3, Number.NaN],
        [0.05, 0.5],
      ],
    );
  });

  it("draws a model of one layer, which has no earlier one", () => {
    const one = { ...heads, pairs: [], similarity: { best: [[]], layers: [[]] } };
    for (const map of [headsHeatmap(one), layersHeatmap(one)]) assert.doesNotMatch(drawHeatmap(map, size).outerHTML, /NaN|Infinity|undefined/);
  });
});
