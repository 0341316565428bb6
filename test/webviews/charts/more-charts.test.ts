// Charts of the similarity and run pages.
import assert from "node:assert/strict";
import { Window } from "happy-dom";
import { drawColumns } from "../../../webviews/charts/columns.ts";
import { drawCurves } from "../../../webviews/charts/curves.ts";
import { drawHeatmap, type Heatmap } from "../../../webviews/charts/heatmap.ts";
import { drawPlane, type Plane } from "../../../webviews/charts/plane.ts";
import { signedColour } from "../../../webviews/charts/svg.ts";
import { matchSnapshot } from "../../helpers/snapshot.ts";

const page = () => new Window().document as unknown as Document;
const size = (width: number) => ({ width, document: page() });

/** No chart may hold what no reader can place. */
const isSound = (svg: SVGSVGElement) => assert.doesNotMatch(svg.outerHTML, /NaN|undefined|Infinity/);

describe("columns", () => {
  const data = { label: "Signs", axisTitle: "sum", columns: [-1, 0, 1].map((sum, i) => ({ name: String(sum), count: [1, 0, 9][i] ?? 0, negative: sum < 0 })) };

  it("are as high as square roots of their counts, and say shares", () => {
    const svg = drawColumns(data, size(300));
    const heights = [...svg.querySelectorAll("rect")].map((rect) => Number(rect.getAttribute("height")));
    assert.ok(Math.abs((heights[2] ?? 0) / (heights[0] ?? 1) - 3) < 1e-9);
    assert.match(svg.getAttribute("aria-label") ?? "", /-1: 10 %, 1: 90 %/);
    matchSnapshot("test/fixtures/charts/columns.svg", svg.outerHTML);
  });

  it("stay readable with 81 of them and with nothing", () => {
    const many = { ...data, columns: Array.from({ length: 81 }, (_, i) => ({ name: String(i - 40), count: i })) };
    const svg = drawColumns(many, size(320));
    const texts = [...svg.querySelectorAll(".column-mark text")];
    assert.ok(texts.length < 20);
    for (const text of texts) {
      const [at, half] = [Number(text.getAttribute("x")), (text.textContent ?? "").length * 4];
      assert.ok(at >= half && at <= 320 - half, `${text.textContent} is cut at ${at}`);
    }
    isSound(svg);
    isSound(drawColumns({ ...data, columns: [] }, size(320)));
  });
});

describe("curves", () => {
  const data = { label: "Loss", xTitle: "step", yTitle: "loss", curves: [{ name: "a", points: [1, 2, Number.NaN, 1, 0.5].map((y, x) => [x, y] as const) }] };

  it("leave a gap where a value is missing", () => {
    const svg = drawCurves(data, size(500));
    assert.equal(svg.querySelector(".curve")?.getAttribute("d")?.match(/M/g)?.length, 2);
    isSound(svg);
    matchSnapshot("test/fixtures/charts/curves.svg", svg.outerHTML);
  });

  it("are drawn from one value, none, or only missing ones, also on a logarithmic scale", () => {
    for (const logarithmic of [false, true])
      for (const points of [
        [],
        [[3, 5]],
        [[1, Number.NaN]],
        [[1, 0]],
        [
          [1, 2],
          [2, 2],
        ],
      ] as (readonly [number, number])[][]) {
        const svg = drawCurves({ ...data, logarithmic, curves: [{ name: "x".repeat(200), points }] }, size(320));
        isSound(svg);
      }
    isSound(drawCurves({ ...data, curves: [] }, size(320)));
  });

  it("take values that differ by rounding alone for one", () => {
    const raw = [[1, 3.0000000000000004] as const];
    const svg = drawCurves({ ...data, curves: [{ name: "a", points: [[1, 3]], raw }] }, size(500));
    for (const text of svg.querySelectorAll(".axis text")) assert.ok((text.textContent ?? "").length <= 4, text.textContent ?? "");
  });

  it("end in their names, as far as there is room", () => {
    const curves = Array.from({ length: 40 }, (_, i) => ({ name: `run ${i}`, points: [[0, 1] as const] }));
    const svg = drawCurves({ ...data, curves }, size(800));
    const ys = [...svg.querySelectorAll(".curve-name")].map((text) => Number(text.getAttribute("y")));
    assert.ok(ys.length > 3 && ys.slice(1).every((y, i) => y - (ys[i] ?? 0) >= 14));
  });
});

describe("plane", () => {
  const plane: Plane = {
    label: "Map",
    xTitle: "first",
    yTitle: "second",
    points: [
      { name: "base", kind: "base", x: 0, y: 0 },
      { name: "a", kind: "expert", x: 3, y: 1 },
      { name: "m", kind: "merge", x: 1, y: -1, selected: true },
    ],
    paths: [
      {
        kind: "path",
        through: [
          [0, 0],
          [1, -1],
        ],
      },
    ],
  };

  it("has one scale on both axes", () => {
    const svg = drawPlane(plane, size(480));
    const at = [...svg.querySelectorAll(".point")].map((g) =>
      /translate\(([-\d.]+),([-\d.]+)\)/
        .exec(g.getAttribute("transform") ?? "")
        ?.slice(1)
        .map(Number),
    );
    const [base, a, m] = at;
    const unit = ((a?.[0] ?? 0) - (base?.[0] ?? 0)) / 3;
    assert.ok(Math.abs((m?.[1] ?? 0) - (base?.[1] ?? 0) - unit) < 0.2);
    matchSnapshot("test/fixtures/charts/plane.svg", svg.outerHTML);
  });

  it("is drawn of nothing, of one point, and of points in one place", () => {
    for (const points of [[], plane.points.slice(0, 1), [plane.points[0], plane.points[0]]] as Plane["points"][])
      isSound(drawPlane({ ...plane, points, paths: [] }, size(320)));
  });
});

describe("large heat maps", () => {
  const map = (rows: number, columns: number): Heatmap => ({
    label: "Map",
    columns: Array.from({ length: columns }, (_, i) => `column ${i} ${"x".repeat(200)}`),
    summariesFrom: columns,
    rows: Array.from({ length: rows }, (_, i) => ({
      label: `row ${i}`,
      group: "All",
      values: Array.from({ length: columns }, (_, j) => (i + j) / (rows + columns)),
    })),
  });

  it("drop the numbers and keep colour, title and place, for 40 models and for 200 layers", () => {
    for (const [rows, columns] of [
      [40, 40],
      [200, 9],
    ] as const) {
      const svg = drawHeatmap(map(rows, columns), size(640));
      assert.equal(svg.querySelectorAll(".cell").length, rows * columns);
      assert.equal(svg.querySelectorAll(".cell text").length, 0);
      assert.ok(Number(svg.getAttribute("height")) < 2800);
      isSound(svg);
    }
  });

  it("say in a key what their colours stand for, zero among them where they have signs", () => {
    const named = (large: Heatmap) => [...drawHeatmap(large, size(640)).querySelectorAll(".key text")].map((text) => text.textContent);
    assert.deepEqual(named(map(40, 40)), ["0.0", "48.8", "97.5"]);
    const shifted = map(40, 40).rows.map((row) => ({ ...row, values: row.values.map((value) => value - 0.5) }));
    const signed: Heatmap = { ...map(40, 40), rows: shifted, signed: true, format: (value) => value.toFixed(2) };
    assert.deepEqual(
      named(signed).map((text) => Number(text)),
      [-0.5, 0, 0.47],
    );
    assert.equal(named(map(3, 3)).length, 0, "cells with numbers need none");
    assert.equal(named({ ...map(100, 3), rows: map(100, 3).rows.map((row) => ({ ...row, values: row.values.map(() => Number.NaN) })) }).length, 0);
  });

  it("are drawn without rows, and without columns", () => {
    isSound(drawHeatmap(map(0, 0), size(320)));
    isSound(drawHeatmap(map(3, 0), size(320)));
  });

  it("colour signs from a middle", () => {
    assert.equal(signedColour(0), "color-mix(in oklab, var(--chart-high) 0%, var(--chart-low))");
    assert.equal(signedColour(-0.5), "color-mix(in oklab, var(--chart-negative) 50%, var(--chart-low))");
  });
});
