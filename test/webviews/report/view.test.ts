import assert from "node:assert/strict";
import { mean, relativeToExperts, resultsTable } from "../../../merge-core/evaluate/demo-results.ts";
import { headline, resultsHeatmap, weightsTable, weightsTradeoff } from "../../../webviews/report/view.ts";
import { sampleResults } from "../../helpers/demo-results.ts";

const results = sampleResults();

describe("report", () => {
  it("measures merges against the experts' own tasks", () => {
    // sort 0.6 / 1 and add 0.45 / 0.9, worked out by hand
    assert.ok(Math.abs(relativeToExperts(results.models[3]!, results.models) - 0.55) < 1e-12);
    assert.equal(mean([1, 2, 6]), 3);
  });

  it("prints the table that the heat map draws", () => {
    const { header, rows } = resultsTable(results);
    const map = resultsHeatmap(results);
    assert.deepEqual(header.slice(2), map.columns);
    assert.deepEqual(rows[3], ["linear", "merge", "60.0", "45.0", "52.5", "55.0"]);
    assert.deepEqual(
      map.rows.map((row) => row.values.map((value) => (100 * value).toFixed(1))),
      rows.map((row) => row.slice(2)),
    );
  });

  it("draws the curve's own points and the models to compare them with", () => {
    const chart = weightsTradeoff(results);
    assert.deepEqual(chart.points, [
      { label: "0.0", x: 1, y: 0 },
      { label: "1.0", x: 0.1, y: 0.9 },
    ]);
    assert.deepEqual(
      chart.references.map(({ label, kind }) => `${kind} ${label}`),
      ["base base", "expert sort", "expert add", "merge linear", "merge ties"],
    );
    assert.deepEqual(weightsTable(results).rows, [
      ["0.0", "100.0", "0.0"],
      ["1.0", "10.0", "90.0"],
    ]);
  });

  it("names the best merge and what it keeps", () => {
    assert.match(headline(results), /Of 2 merges, ties does best: 75\.0 % .* base model has 15\.0 %\. One model, 78.9 % /);
    assert.equal(headline({ ...results, models: [] }), "No merges were measured.");
  });
});
