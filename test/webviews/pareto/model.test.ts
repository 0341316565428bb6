// What the trade-off page computes, against the library's own measures and by hand.
import assert from "node:assert/strict";
import { Window } from "happy-dom";
import type { FrontFile, FrontPoint } from "../../../merge-core/pareto/front-file.ts";
import { hypervolume } from "../../../merge-core/pareto/hypervolume.ts";
import { drawParallel, layoutParallel, parallelPath } from "../../../webviews/charts/parallel.ts";
import { canvasKinds, drawScatter, layoutScatter, MANY_ON_FRONT, type Scatter } from "../../../webviews/charts/scatter.ts";
import {
  candidatesOf,
  describePoint,
  firstChoice,
  inOrder,
  movedTo,
  parallelOf,
  passing,
  pointsTable,
  preferredSetting,
  quantitiesOf,
  restoreChoice,
  scatterOf,
  staircase,
} from "../../../webviews/pareto/model.ts";
import { frontOf, randomFront } from "../../helpers/fronts.ts";
import { matchSnapshot } from "../../helpers/snapshot.ts";

const size = (width: number) => ({ width, document: new Window().document as unknown as Document });

/** Area of a polygon by its corners. */
const area = (corners: readonly (readonly [number, number])[]): number =>
  Math.abs(corners.reduce((sum, [x, y], i) => sum + x * (corners[(i + 1) % corners.length]?.[1] ?? 0) - (corners[(i + 1) % corners.length]?.[0] ?? 0) * y, 0)) /
  2;

const file = randomFront(40, 3);

describe("trade-off page", () => {
  for (const [first, second] of [
    ["maximize", "maximize"],
    ["minimize", "minimize"],
    ["maximize", "minimize"],
    ["minimize", "maximize"],
  ] as const)
    it(`shades what the front dominates: as much as its hypervolume (${first}, ${second})`, () => {
      const values = [
        [0.1, 0.8],
        [0.5, 0.6],
        [0.9, 0.2],
        [0.4, 0.3],
        [0.7, 0.75],
      ];
      const signs = [first, second].map((direction) => (direction === "maximize" ? -1 : 1));
      const reference = signs.map((sign) => (sign < 0 ? -0.2 : 1.3));
      const made = frontOf(values, [first, second], reference);
      const [x, y] = quantitiesOf(made);
      assert.ok(x && y);
      const expected = hypervolume(
        values.map((point) => point.map((v, i) => v * (signs[i] ?? 1))),
        reference.map((v, i) => v * (signs[i] ?? 1)),
      );
      assert.ok(Math.abs(area(staircase(made, x, y).region) - expected) < 1e-12);
    });

  it("has no staircase for coefficients, of which none is better", () => {
    const quantities = quantitiesOf(file);
    const [x, y] = [quantities[0], quantities[3]];
    assert.ok(x && y);
    assert.deepEqual(staircase(file, x, y), { front: [], region: [] });
  });

  it("filters by all bounds together; what has no value is left out", () => {
    const quantities = quantitiesOf(file);
    const pass = passing(quantities, { first: [0.4, Number.POSITIVE_INFINITY], "weight 1": [0, 0.5] }, file.points.length);
    file.points.forEach((point, i) => {
      const value = point.values[0] ?? point.predicted?.[0] ?? Number.NaN;
      const weight = point.coefficients?.[0] ?? Number.NaN;
      assert.equal(pass[i], Number(value >= 0.4 && weight >= 0 && weight <= 0.5), point.id);
    });
    assert.ok(pass.includes(1) && pass.includes(0));
    assert.ok(passing(quantities, {}, 3).every((value) => value === 1));
  });

  it("tells measured points, predictions, front, baselines and knee apart, and keeps failed ones off", () => {
    const quantities = quantitiesOf(file);
    const choice = firstChoice(file);
    const scatter = scatterOf(file, quantities, { ...choice, chosen: "sample-1" }, new Uint8Array(file.points.length), {
      coefficients: [0.5, 0.5],
      predicted: [0.1, 0.2, 0.3],
    });
    const count = (kind: string) => scatter.points.filter((point) => point.kind === kind).length;
    const points = file.points.filter(({ status }) => status !== "failed");
    assert.equal(count("baseline"), points.filter(({ kind }) => kind === "baseline").length);
    assert.equal(count("predicted"), points.filter(({ evaluated }) => !evaluated).length);
    assert.equal(count("front"), points.filter(({ onFront }) => onFront).length);
    assert.deepEqual([count("knee"), count("chosen"), count("preferred")], [1, 1, 1]);
    assert.ok(
      scatter.points.every(({ kind, pale }) => pale === (kind === "baseline" || kind === "preferred" ? undefined : true)),
      "baselines are always shown",
    );
    assert.ok(scatter.points.every(({ name }) => name !== "sample-failed"));
    assert.equal(scatter.x.title, "first (higher is better)");
    assert.equal(scatterOf(file, quantities, { ...choice, x: "third" }, new Uint8Array()).x.title, "third (lower is better)");
  });

  it("asks the surrogates for the setting that serves a preference best", () => {
    // Each objective is its own coefficient: the best of a preference for one has that coefficient at its end.
    const made: FrontFile = {
      ...frontOf(
        [
          [0, 1],
          [1, 0],
        ],
        ["maximize", "maximize"],
        [0, 0],
      ),
      surrogates: [0, 1].map((i) => ({ objective: `o${i}`, link: "identity", coefficients: [0, 1 - i, i, 0, 0, 0], fitError: 0, frontError: null, points: 3 })),
    };
    const candidates = candidatesOf(made);
    assert.ok(candidates.length > 4000 && candidates.every(({ coefficients }) => coefficients.every((c) => c >= 0 && c <= 1)));
    assert.ok((preferredSetting(candidates, [1, 0])?.coefficients[0] ?? 0) > 0.99);
    const both = preferredSetting(candidates, [1, 1]);
    assert.ok(both && Math.min(...both.predicted) > 0.9);
    assert.deepEqual(both.predicted, both.coefficients);
    assert.deepEqual(candidatesOf({ ...made, surrogates: [] }), []);
    assert.equal(preferredSetting([], [1, 1]), undefined);
  });

  it("shows the numbers of the file and no others", () => {
    const { header, rows } = pointsTable(file);
    assert.equal(rows.length, file.points.length);
    const byName = new Map(rows.map((row) => [row[0], row]));
    for (const point of file.points) {
      const row = byName.get(point.label ?? point.id);
      file.objectives.forEach(({ name }, k) => {
        const shown = row?.[header.indexOf(name)];
        const value = point.values[k];
        assert.equal(shown, typeof value === "number" ? String(Number(value.toPrecision(4))) : "");
      });
    }
    assert.ok(
      rows.slice(0, 2).every((row) => row[2] === "yes"),
      "the front first",
    );
    const failed = file.points.find(({ status }) => status === "failed") as FrontPoint;
    assert.match(describePoint(file, failed), /failed.*unknown.*out of memory/);
  });

  it("takes an earlier choice as far as it fits", () => {
    const choice = restoreChoice(file, { x: "gone", y: "third", preference: [1], chosen: "sample-1" });
    assert.deepEqual([choice.x, choice.y, choice.preference.length, choice.chosen], ["first", "third", 3, "sample-1"]);
  });

  it("draws the same picture again", () => {
    const quantities = quantitiesOf(file);
    const choice = firstChoice(file);
    const pass = passing(quantities, { first: [0.3, 0.9] }, file.points.length);
    matchSnapshot(
      "test/fixtures/charts/scatter.svg",
      drawScatter(scatterOf(file, quantities, { ...choice, filters: { first: [0.3, 0.9] } }, pass), size(520)).outerHTML,
    );
    matchSnapshot(
      "test/fixtures/charts/parallel.svg",
      drawParallel(parallelOf(file, quantities, { ...choice, chosen: "sample-2" }), size(640), [0, 1]).outerHTML,
    );
  });

  it("puts the better end of objectives up, and turns an axis on request", () => {
    const quantities = quantitiesOf(file);
    const upper = (choice = firstChoice(file)) =>
      layoutParallel(parallelOf(file, quantities, choice), 600).scales.map((scale, i) => {
        const values = [...(quantities[i]?.values ?? [])].filter(Number.isFinite);
        return scale(Math.max(...values)) < scale(Math.min(...values));
      });
    assert.deepEqual(upper().slice(0, 3), [true, true, false]);
    assert.equal(upper({ ...firstChoice(file), axes: { first: { inverted: true } } })[0], false);
  });

  it("tells coefficients from objectives of the same name", () => {
    const same = { ...file, coefficients: file.coefficients.map((coefficient, i) => ({ ...coefficient, name: i === 0 ? "first" : coefficient.name })) };
    const quantities = quantitiesOf(same);
    assert.deepEqual(
      quantities.map(({ name }) => name),
      ["first", "second", "third", "share of first", "weight 2"],
    );
    const all = passing(quantities, {}, same.points.length).length;
    const some = passing(quantities, { first: [0.9, 1] }, same.points.length);
    assert.ok(
      some.some((pass, i) => pass === 1 && (same.points[i]?.coefficients?.[0] ?? 1) < 0.9) && some.length === all,
      "a bound on the one is none on the other",
    );
    assert.deepEqual(pointsTable(same).header.slice(-3), ["share of first", "weight 2", "error"]);
  });

  it("puts axes in the order that was chosen; those that were not moved follow, and names of another file do no harm", () => {
    const names = (order?: readonly string[]) => inOrder(quantitiesOf(file), order).map(({ name }) => name);
    const given = names();
    assert.deepEqual(names(["weight 2", "gone", "first"]), ["weight 2", "first", ...given.filter((name) => name !== "weight 2" && name !== "first")]);
    assert.deepEqual(movedTo(["a", "b", "c"], 0, 2), ["b", "c", "a"]);
    assert.deepEqual(movedTo(["a", "b", "c"], 2, 1), ["a", "c", "b"]);
    assert.deepEqual(movedTo(["a"], 0, 0), ["a"]);
  });

  it("draws fronts of one point, of none, of one objective, and names of 200 letters", () => {
    const one = frontOf([[0.5, 0.5]], ["maximize", "maximize"], [0, 0]);
    const none = { ...one, points: [], knee: null };
    const single = frontOf([[0.5], [0.7]], ["maximize"], [0]);
    const long = { ...one, objectives: one.objectives.map((objective, i) => ({ ...objective, name: `${i}`.repeat(200) })) };
    const nameless = { ...one, objectives: [], coefficients: [] };
    for (const made of [one, none, single, long, nameless])
      for (const width of [320, 640]) {
        const quantities = quantitiesOf(made);
        const choice = firstChoice(made);
        const pass = passing(quantities, {}, made.points.length);
        for (const svg of [
          drawScatter(scatterOf(made, quantities, choice, pass), size(width)),
          drawParallel(parallelOf(made, quantities, choice), size(width)),
        ])
          assert.doesNotMatch(svg.outerHTML, /NaN|undefined|Infinity/);
      }
  });
});

describe("scatter", () => {
  const points = [-1, 0, 0.001, 10, 1000].map((x) => ({ name: String(x), kind: "measured" as const, x, y: x }));
  const data: Scatter = { label: "x", x: { title: "x" }, y: { title: "y" }, points, front: [], region: [] };

  it("keeps zero and negative values on a logarithmic axis, in order", () => {
    const { x } = layoutScatter({ ...data, x: { title: "x", logarithmic: true } }, 600);
    const at = points.map((point) => x(point.x));
    assert.ok(at.every((pixel, i) => Number.isFinite(pixel) && (i === 0 || pixel > (at[i - 1] ?? 0))));
    assert.ok((at[3] ?? 0) - (at[2] ?? 0) > 60, "a factor of ten thousand is far");
  });

  it("turns an axis", () => {
    const { x } = layoutScatter({ ...data, x: { title: "x", inverted: true } }, 600);
    assert.ok(x(1000) < x(0));
  });

  it("leaves the many to the canvas, a long front too", () => {
    const front = Array.from({ length: MANY_ON_FRONT + 1 }, (_, i) => ({ name: String(i), kind: "front" as const, x: i, y: i }));
    assert.deepEqual(canvasKinds({ ...data, points: front }), ["measured", "predicted", "front"]);
    assert.equal(drawScatter({ ...data, points: [...points, ...front] }, size(400), false).querySelectorAll(".dot").length, 0);
    assert.equal(drawScatter({ ...data, points: [...points, ...front] }, size(400), true).querySelectorAll(".dot").length, points.length + front.length);
  });
});

describe("parallel axes", () => {
  it("break a line where a value is missing", () => {
    const data = {
      label: "p",
      axes: [
        [1, 2],
        [Number.NaN, 3],
        [4, 5],
      ].map((values, i) => ({ title: String(i), values })),
      names: ["a", "b"],
      front: [],
      chosen: [],
    };
    assert.equal(parallelPath(data, layoutParallel(data, 400), 0).match(/M/g)?.length, 2);
    assert.equal(parallelPath(data, layoutParallel(data, 400), 1).match(/M/g)?.length, 1);
  });
});
