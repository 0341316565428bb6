// Area per role: a picture of where a model's bytes are.
import { hierarchy, treemap, treemapSquarify } from "d3-hierarchy";
import { formatBytes } from "../../merge-core/units.ts";
import { svgElement } from "../common/svg.ts";

export interface Part {
  readonly name: string;
  readonly bytes: number;
}

export interface Tile extends Part {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

type Branch = { readonly children: readonly Part[] };

/** Squarified rectangles that tile width x height in proportion to bytes, given largest first; parts of no bytes are left out. */
export function layoutTiles(parts: readonly Part[], width: number, height: number): Tile[] {
  const root = hierarchy<Branch | Part>({ children: parts.filter((part) => part.bytes > 0) }, (node) => ("children" in node ? node.children : undefined));
  root.sum((node) => ("bytes" in node ? node.bytes : 0));
  const placed = treemap<Branch | Part>().size([width, height]).tile(treemapSquarify)(root);
  return placed.leaves().flatMap(({ data, x0, x1, y0, y1 }) => ("bytes" in data ? [{ ...data, x: x0, y: y0, width: x1 - x0, height: y1 - y0 }] : []));
}

/** Theme hues in a fixed order; roles beyond them share the last. */
const HUES = ["blue", "orange", "purple", "green", "yellow", "red"];

/** The picture; its text alternative is its label, and the table beside it holds the same numbers. */
export function drawTreemap(parts: readonly Part[], width: number, height: number): SVGSVGElement {
  const total = parts.reduce((sum, part) => sum + part.bytes, 0);
  const summary = parts.map((part) => `${part.name} ${percent(part.bytes, total)}`).join(", ");
  const svg = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `Size by role: ${summary}`, class: "treemap" });
  layoutTiles(parts, width, height).forEach((tile, i) => {
    svg.append(drawTile(tile, i, total));
  });
  return svg;
}

function drawTile(tile: Tile, i: number, total: number): SVGElement {
  const group = svgElement("g", { transform: `translate(${tile.x},${tile.y})` });
  const rect = svgElement("rect", {
    width: Math.max(0, tile.width - 1),
    height: Math.max(0, tile.height - 1),
    class: `hue-${HUES[Math.min(i, HUES.length - 1)]}`,
  });
  const title = svgElement("title", {}, `${tile.name}: ${formatBytes(tile.bytes)}, ${percent(tile.bytes, total)}`);
  group.append(rect, title);
  if (tile.width > 60 && tile.height > 18) group.append(svgElement("text", { x: 5, y: 14 }, tile.name));
  if (tile.width > 60 && tile.height > 34) group.append(svgElement("text", { x: 5, y: 29 }, percent(tile.bytes, total)));
  return group;
}

const percent = (part: number, total: number) => `${total === 0 ? 0 : Number(((100 * part) / total).toPrecision(3))} %`;
