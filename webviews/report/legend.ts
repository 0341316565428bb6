// What the marks of the trade-off chart stand for.

import { MARKS, markPath } from "../charts/tradeoff.ts";
import { element } from "../common/dom.ts";
import { svgElement } from "../common/svg.ts";

const NAMES = { "curve-point": "merge of the two", base: "base", expert: "expert", merge: "merge of all four" } as const;

/** The marks of the trade-off chart with their names. */
export function legend(): HTMLElement {
  return element("ul", { class: "legend" }, ...MARKS.map((kind) => element("li", {}, swatch(kind), NAMES[kind])));
}

const swatch = (kind: (typeof MARKS)[number]): SVGSVGElement =>
  svgElement(
    "svg",
    { viewBox: "-11 -11 22 22", width: 22, height: 22, "aria-hidden": "true" },
    svgElement("path", { class: `mark ${kind}`, d: markPath(kind) }),
  );
