// What the marks of the trade-off chart stand for.

import { MARKS, markPath } from "../charts/tradeoff.ts";
import { element } from "../common/dom.ts";

const NAMES = { "curve-point": "merge of the two", base: "base", expert: "expert", merge: "merge of all four" } as const;

export function legend(): HTMLElement {
  return element("ul", { class: "legend" }, ...MARKS.map((kind) => element("li", {}, swatch(kind), NAMES[kind])));
}

function swatch(kind: (typeof MARKS)[number]): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of Object.entries({ viewBox: "-11 -11 22 22", width: "22", height: "22", "aria-hidden": "true" })) svg.setAttribute(name, value);
  path.setAttribute("class", `mark ${kind}`);
  path.setAttribute("d", markPath(kind));
  svg.append(path);
  return svg;
}
