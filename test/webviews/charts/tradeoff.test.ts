import assert from "node:assert/strict";
import { Window } from "happy-dom";
import { drawTradeoff, placeLabels, type Tradeoff } from "../../../webviews/charts/tradeoff.ts";
import { matchSnapshot } from "../../helpers/snapshot.ts";

const page = () => new Window().document as unknown as Document;

const data: Tradeoff = {
  label: "Reverse and shift",
  xTitle: "reverse",
  yTitle: "shift",
  points: [
    { label: "0.0", x: 1, y: 0.1 },
    { label: "0.5", x: 0.7, y: 0.75 },
    { label: "1.0", x: 0, y: 1 },
  ],
  references: [
    { label: "base", kind: "base", x: 0.2, y: 0.3 },
    { label: "reverse", kind: "expert", x: 1, y: 0.1 },
  ],
};

/** The side of the square that the axes span. */
const sideOf = (svg: SVGSVGElement, margins: number) => Number(svg.getAttribute("width")) - margins;

describe("trade-off chart", () => {
  it("puts points where both scales say, whatever the width", () => {
    for (const width of [320, 480, 2000]) {
      const svg = drawTradeoff(data, { width, document: page() });
      const side = sideOf(svg, 96);
      assert.ok(Number(svg.getAttribute("width")) <= width);
      const place = svg.querySelectorAll(".curve-point")[1]?.getAttribute("transform");
      assert.equal(place, `translate(${(0.7 * side).toFixed(1)},${(0.25 * side).toFixed(1)})`);
    }
  });

  it("joins the merges in order and tells kinds apart by shape as well as class", () => {
    const svg = drawTradeoff(data, { width: 396, document: page() });
    assert.equal(svg.querySelector(".curve")?.getAttribute("d"), "M300,270L210,75L0,0");
    const shapes = new Set([...svg.querySelectorAll(".mark")].map((mark) => `${mark.getAttribute("class")} ${mark.getAttribute("d")?.length}`));
    assert.equal(shapes.size, 3);
  });

  it("keeps the first and the last label and drops those that would touch another", () => {
    const at = (text: string, x: number) => ({ text, x, y: 100 });
    const kept = placeLabels([at("a", 0), at("b", 10), at("c", 60), at("d", 70), at("e", 120)]).map(({ text }) => text);
    assert.deepEqual(kept.sort(), ["a", "c", "e"]);
    assert.deepEqual(placeLabels([]), []);
  });

  it("says its ends for readers who do not see it, and each mark its numbers", () => {
    const svg = drawTradeoff(data, { width: 480, document: page() });
    assert.equal(svg.getAttribute("aria-label"), "Reverse and shift: 3 merges, from reverse 100.0 and shift 10.0 at 0.0 to reverse 0.0 and shift 100.0 at 1.0");
    assert.equal(svg.querySelector(".base title")?.textContent, "base: reverse 20.0, shift 30.0");
    assert.match(drawTradeoff({ ...data, points: [] }, { width: 480, document: page() }).getAttribute("aria-label") ?? "", /no points/);
  });

  it("draws what it drew", () => {
    matchSnapshot("test/fixtures/charts/tradeoff.svg", drawTradeoff(data, { width: 480, document: page() }).outerHTML);
  });
});
