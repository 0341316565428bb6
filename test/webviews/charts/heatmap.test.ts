import assert from "node:assert/strict";
import { Window } from "happy-dom";
import { drawHeatmap, type Heatmap, layoutHeatmap } from "../../../webviews/charts/heatmap.ts";
import { matchSnapshot } from "../../helpers/snapshot.ts";

const page = () => new Window().document as unknown as Document;

const map: Heatmap = {
  label: "Exact match",
  columns: ["sort", "add", "mean"],
  summariesFrom: 2,
  rows: [
    { label: "base", group: "Base", values: [0.2, 0.1, 0.15] },
    { label: "sort", group: "Experts", values: [1, 0, 0.5] },
    { label: "<b>a name that is much too long for its place</b>", group: "Experts", values: [Number.NaN, 0.9876, 0.5] },
  ],
};

describe("heatmap", () => {
  for (const width of [320, 760]) {
    it(`lays cells out inside ${width} pixels, in columns, without overlap`, () => {
      const { cells, height } = layoutHeatmap(map, width);
      for (const row of cells) {
        row.forEach((cell, i) => {
          const before = row[i - 1];
          if (before) assert.ok(cell.x >= before.x + before.width, `cell ${i} starts inside the one before`);
          assert.ok(cell.x + cell.width <= width && cell.y + cell.height <= height);
          assert.equal(cell.x, cells[0]?.[i]?.x);
        });
      }
      cells.slice(1).forEach((row, i) => {
        assert.ok((row[0]?.y ?? 0) >= (cells[i]?.[0]?.y ?? 0) + (cells[i]?.[0]?.height ?? 0));
      });
    });
  }

  it("turns column names that would touch, and sets numbers smaller in narrow cells", () => {
    const narrow = drawHeatmap(map, { width: 120, document: page() });
    assert.match(narrow.querySelector(".columns text")?.getAttribute("transform") ?? "", /rotate/);
    assert.ok(narrow.querySelector(".row.narrow"));
    assert.equal(narrow.querySelector(".cell text")?.textContent, "20");
    const wide = drawHeatmap(map, { width: 600, document: page() });
    assert.doesNotMatch(wide.querySelector(".columns text")?.getAttribute("transform") ?? "", /rotate/);
    assert.equal(wide.querySelector(".row.narrow"), null);
  });

  it("names each group once, above its first row", () => {
    const { groups, cells } = layoutHeatmap(map, 600);
    assert.deepEqual(
      groups.map((group) => group.name),
      ["Base", "Experts"],
    );
    assert.ok((groups[1]?.y ?? 0) < (cells[1]?.[0]?.y ?? 0) && (groups[1]?.y ?? 0) > (cells[0]?.[0]?.y ?? 0));
  });

  it("prints every value, marks missing ones, and names cells in full", () => {
    const svg = drawHeatmap(map, { width: 600, document: page() });
    const shown = [...svg.querySelectorAll(".cell text")].map((text) => text.textContent);
    assert.deepEqual(shown, ["20.0", "10.0", "15.0", "100.0", "0.0", "50.0", "–", "98.8", "50.0"]);
    assert.equal(svg.querySelectorAll(".cell.missing").length, 1);
    assert.equal([...svg.querySelectorAll(".cell title")][7]?.textContent, "<b>a name that is much too long for its place</b>, add: 98.8");
  });

  it("mixes colours by value and lets text change sides with them", () => {
    const svg = drawHeatmap(map, { width: 600, document: page() });
    const fills = [...svg.querySelectorAll(".cell rect")].map((rect) => rect.getAttribute("fill"));
    assert.equal(fills[0], "color-mix(in oklab, var(--chart-high) 20%, var(--chart-low))");
    assert.equal(fills[6], "none");
    const classes = [...svg.querySelectorAll(".cell")].map((cell) => cell.getAttribute("class"));
    assert.deepEqual([classes[0], classes[3]], ["cell low", "cell high"]);
  });

  it("says its size and extremes for readers who do not see it", () => {
    const svg = drawHeatmap(map, { width: 600, document: page() });
    assert.equal(svg.getAttribute("role"), "img");
    assert.equal(svg.getAttribute("aria-label"), "Exact match: 3 rows by 3 columns, from 0.0 (sort, add) to 100.0 (sort, sort)");
    const empty = drawHeatmap({ ...map, rows: [] }, { width: 600, document: page() });
    assert.equal(empty.getAttribute("aria-label"), "Exact match: no values");
  });

  it("without its cells keeps names, size and the outlines of what is selected", () => {
    const whole = drawHeatmap(map, { width: 480, document: page() });
    const bare = drawHeatmap({ ...map, selected: (row, column) => row === 1 && column === 2 }, { width: 480, document: page() }, false);
    assert.deepEqual([bare.getAttribute("viewBox"), bare.getAttribute("aria-label")], [whole.getAttribute("viewBox"), whole.getAttribute("aria-label")]);
    assert.equal(bare.querySelectorAll(".label").length, 3);
    const cells = [...bare.querySelectorAll<SVGElement>(".cell")];
    assert.deepEqual(
      cells.map((cell) => [cell.dataset.row, cell.dataset.column, cell.querySelector("rect")?.getAttribute("fill")]),
      [["1", "2", "none"]],
    );
  });

  it("draws what it drew", () => {
    matchSnapshot("test/fixtures/charts/heatmap.svg", drawHeatmap(map, { width: 480, document: page() }).outerHTML);
  });
});
