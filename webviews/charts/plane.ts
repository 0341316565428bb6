// Points on a plane whose two axes have one scale, so that distances can be seen; with paths between them.
import { axisBottom, axisLeft } from "d3-axis";
import { scaleLinear } from "d3-scale";
import { select } from "d3-selection";
import { symbol, symbolCircle, symbolDiamond, symbolSquare } from "d3-shape";
import { type ChartSize, createChart, shorten } from "./svg.ts";

export interface PlanePoint {
  readonly name: string;
  readonly kind: "base" | "expert" | "merge" | "step";
  readonly x: number;
  readonly y: number;
  readonly selected?: boolean;
}

export interface Plane {
  readonly label: string;
  readonly xTitle: string;
  readonly yTitle: string;
  readonly points: readonly PlanePoint[];
  /** Lines through points, given by their places. */
  readonly paths: readonly { readonly kind: "ray" | "path"; readonly through: readonly (readonly [number, number])[] }[];
}

const MARGIN = { top: 20, right: 24, bottom: 46, left: 62 };
const SHAPES = { base: symbolSquare, expert: symbolCircle, merge: symbolDiamond, step: symbolCircle };
const AREAS = { base: 110, expert: 120, merge: 140, step: 22 };
const CHARACTER = 7;
const LEAST = 160;

/** Draws points, their names as far as they do not touch, and the paths between them. */
export function drawPlane(plane: Plane, size: ChartSize): SVGSVGElement {
  const width = Math.max(LEAST, size.width - MARGIN.left - MARGIN.right);
  const xs = extent(plane.points.map(({ x }) => x));
  const ys = extent(plane.points.map(({ y }) => y));
  // One unit per pixel on both axes; a flat cloud still gets a picture of some height.
  const unit = 1.16 * (Math.max(xs.span, ys.span) / width || 1 / width);
  const height = Math.max(LEAST, Math.min(width, Math.ceil((ys.span * 1.16) / unit) + 40));
  const svg = createChart(size, height + MARGIN.top + MARGIN.bottom, summarise(plane), "plane");
  const x = scaleLinear([xs.middle - (unit * width) / 2, xs.middle + (unit * width) / 2], [0, width]);
  const y = scaleLinear([ys.middle - (unit * height) / 2, ys.middle + (unit * height) / 2], [height, 0]);
  const plot = select(svg).append("g").attr("transform", `translate(${MARGIN.left},${MARGIN.top})`);
  const ticks = (room: number) => Math.max(2, Math.floor(room / 80));
  plot
    .append("g")
    .attr("class", "axis")
    .attr("transform", `translate(0,${height})`)
    .call(axisBottom(x).ticks(ticks(width)).tickSize(-height).tickPadding(8));
  plot
    .append("g")
    .attr("class", "axis")
    .call(axisLeft(y).ticks(ticks(height)).tickSize(-width).tickPadding(8));
  const titles = plot.append("g").attr("class", "axis-titles");
  titles
    .append("text")
    .attr("x", width / 2)
    .attr("y", height + 40)
    .attr("text-anchor", "middle")
    .text(plane.xTitle);
  titles
    .append("text")
    .attr("transform", `translate(-50,${height / 2}) rotate(-90)`)
    .attr("text-anchor", "middle")
    .text(plane.yTitle);
  plot
    .selectAll("path.line")
    .data(plane.paths)
    .join("path")
    .attr("class", ({ kind }) => `line ${kind}`)
    .attr("d", ({ through }) => through.map(([a, b], i) => `${i === 0 ? "M" : "L"}${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(""));
  const marks = plot
    .selectAll("g.point")
    .data(plane.points)
    .join("g")
    .attr("class", ({ kind, selected }) => `point ${kind}${selected ? " selected" : ""}`)
    .attr("data-row", (_, i) => i)
    .attr("data-column", 0)
    .attr("transform", (point) => `translate(${x(point.x).toFixed(1)},${y(point.y).toFixed(1)})`);
  marks.append("title").text((point) => `${point.name}: ${point.x.toPrecision(3)}, ${point.y.toPrecision(3)}`);
  marks
    .append("path")
    .attr("class", ({ kind }) => `mark ${kind === "step" ? "curve-point" : kind}`)
    .attr("d", ({ kind }) => symbol(SHAPES[kind], AREAS[kind]).digits(2)() ?? "");
  const named = plane.points
    .filter(({ kind }) => kind !== "step")
    .map((point) => placeName(shorten(point.name, Math.floor(width / 2 / CHARACTER)), x(point.x), y(point.y), width));
  plot
    .selectAll("text.name")
    .data(apart(named))
    .join("text")
    .attr("class", "name")
    .attr("x", (label) => label.left)
    .attr("y", (label) => label.y)
    .text((label) => label.text);
  return svg;
}

interface Name {
  readonly text: string;
  readonly left: number;
  readonly y: number;
}

/** Names of points in the right part stand to the left of them, inside the picture. */
const placeName = (text: string, x: number, y: number, width: number): Name => ({
  text,
  left: x > width * 0.6 ? x - 10 - text.length * CHARACTER : x + 10,
  y: y - 8,
});

/** Of names that would lie on each other the last, which is a merge if there is one. */
function apart(names: readonly Name[]): Name[] {
  const kept: Name[] = [];
  for (const name of names.toReversed()) {
    const touches = (other: Name) =>
      Math.abs(other.y - name.y) < 14 && name.left < other.left + other.text.length * CHARACTER && other.left < name.left + name.text.length * CHARACTER;
    if (!kept.some(touches)) kept.push(name);
  }
  return kept;
}

function extent(values: readonly number[]): { middle: number; span: number } {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return values.length === 0 || !(high > low) ? { middle: Number.isFinite(low) ? low : 0, span: 0 } : { middle: (low + high) / 2, span: high - low };
}

function summarise({ label, points }: Plane): string {
  const named = points.filter(({ kind }) => kind !== "step");
  return `${label}: ${named.map(({ name, x, y }) => `${name} at ${x.toPrecision(3)}, ${y.toPrecision(3)}`).join("; ") || "no models"}`;
}
