// Two measures against each other as a weight moves: one mark per merge, joined in the order of the weights.
import { axisBottom, axisLeft } from "d3-axis";
import { scaleLinear } from "d3-scale";
import { select } from "d3-selection";
import { line, symbol, symbolCircle, symbolDiamond, symbolSquare } from "d3-shape";
import { type ChartSize, createChart, percent } from "./svg.ts";

/** One merge on the curve; x and y are fractions. */
export interface TradeoffPoint {
  readonly label: string;
  readonly x: number;
  readonly y: number;
}

/** A model that is not on the curve. */
export interface ReferencePoint extends TradeoffPoint {
  readonly kind: "base" | "expert" | "merge";
}

export interface Tradeoff {
  readonly label: string;
  readonly xTitle: string;
  readonly yTitle: string;
  /** In the order of the weights. */
  readonly points: readonly TradeoffPoint[];
  readonly references: readonly ReferencePoint[];
}

/** Room above and to the right for the labels, which stand on the better side of the curve. */
const MARGIN = { top: 24, right: 40, bottom: 48, left: 56 };
const MAX_SIDE = 460;
const SHAPES = { "curve-point": symbolCircle, base: symbolSquare, expert: symbolCircle, merge: symbolDiamond };
/** Experts are drawn large and hollow, because the ends of the curve lie on them. */
const AREAS = { "curve-point": 64, base: 110, expert: 260, merge: 110 };

/** Kinds of marks; shape and colour tell them apart. */
export const MARKS = ["curve-point", "base", "expert", "merge"] as const;
type Mark = (typeof MARKS)[number];

/** Outline of a mark around the origin. */
export const markPath = (kind: Mark): string => symbol(SHAPES[kind], AREAS[kind]).digits(2)() ?? "";
/** Labels nearer to each other than this (in pixels) would overlap. */
const LABEL_ROOM = { x: 28, y: 15 };

export interface PlacedLabel {
  readonly text: string;
  readonly x: number;
  readonly y: number;
}

/** The labels that can be read: the first and the last, and of the others, in order, those that touch none before. */
export function placeLabels(candidates: readonly PlacedLabel[]): PlacedLabel[] {
  const last = candidates.at(-1);
  const ordered = [...candidates.slice(0, 1), ...(candidates.length > 1 && last ? [last] : []), ...candidates.slice(1, -1)];
  const placed: PlacedLabel[] = [];
  for (const label of ordered) {
    if (placed.every((other) => Math.abs(other.x - label.x) >= LABEL_ROOM.x || Math.abs(other.y - label.y) >= LABEL_ROOM.y)) placed.push(label);
  }
  return placed;
}

/** Draws `data` on a square; both axes run over all fractions from 0 to 1, so that pictures compare. */
export function drawTradeoff(data: Tradeoff, size: ChartSize): SVGSVGElement {
  const side = Math.min(size.width - MARGIN.left - MARGIN.right, MAX_SIDE);
  const width = side + MARGIN.left + MARGIN.right;
  const svg = createChart({ ...size, width }, side + MARGIN.top + MARGIN.bottom, summarise(data), "tradeoff");
  const plot = select(svg).append("g").attr("transform", `translate(${MARGIN.left},${MARGIN.top})`);
  const x = scaleLinear([0, 1], [0, side]);
  const y = scaleLinear([0, 1], [side, 0]);
  drawAxes(svg, data, side);
  const place = (point: TradeoffPoint) => `translate(${x(point.x).toFixed(1)},${y(point.y).toFixed(1)})`;
  const path = line<TradeoffPoint>()
    .x((point) => x(point.x))
    .y((point) => y(point.y))
    .digits(1);
  plot
    .append("path")
    .attr("class", "curve")
    .attr("d", path([...data.points]));
  const onCurve = data.points.map((point) => ({ point, kind: "curve-point" as const }));
  const marks: { point: TradeoffPoint; kind: Mark }[] = [...data.references.map((point) => ({ point, kind: point.kind })), ...onCurve];
  plot
    .selectAll("path.mark")
    .data(marks)
    .join("path")
    .attr("class", ({ kind }) => `mark ${kind}`)
    .attr("transform", ({ point }) => place(point))
    .attr("d", ({ kind }) => markPath(kind))
    .append("title")
    .text(({ point }) => `${point.label}: ${data.xTitle} ${percent(point.x)}, ${data.yTitle} ${percent(point.y)}`);
  const labels = placeLabels(data.points.map((point) => ({ text: point.label, x: x(point.x), y: y(point.y) })));
  plot
    .selectAll("text.weight")
    .data(labels)
    .join("text")
    .attr("class", "weight")
    .attr("x", (label) => label.x + 8)
    .attr("y", (label) => label.y - 7)
    .text((label) => label.text);
  return svg;
}

function drawAxes(svg: SVGSVGElement, data: Tradeoff, side: number): void {
  const plot = select(svg).select<SVGGElement>("g");
  const ticks = Math.max(2, Math.min(10, Math.floor(side / 60)));
  const format = (value: { valueOf(): number }) => String(Math.round(100 * value.valueOf()));
  const bottom = axisBottom(scaleLinear([0, 1], [0, side]))
    .ticks(ticks)
    .tickSize(-side)
    .tickPadding(8)
    .tickFormat(format);
  const left = axisLeft(scaleLinear([0, 1], [side, 0]))
    .ticks(ticks)
    .tickSize(-side)
    .tickPadding(8)
    .tickFormat(format);
  plot.append("g").attr("class", "axis").attr("transform", `translate(0,${side})`).call(bottom);
  plot.append("g").attr("class", "axis").call(left);
  const title = plot.append("g").attr("class", "axis-titles");
  title
    .append("text")
    .attr("x", side / 2)
    .attr("y", side + 40)
    .attr("text-anchor", "middle")
    .text(data.xTitle);
  title
    .append("text")
    .attr("transform", `translate(${-42},${side / 2}) rotate(-90)`)
    .attr("text-anchor", "middle")
    .text(data.yTitle);
}

/** One sentence: what, how many, and the ends. */
function summarise(data: Tradeoff): string {
  const [first, last] = [data.points[0], data.points.at(-1)];
  if (first === undefined || last === undefined) return `${data.label}: no points`;
  const at = (point: TradeoffPoint) => `${data.xTitle} ${percent(point.x)} and ${data.yTitle} ${percent(point.y)} at ${point.label}`;
  return `${data.label}: ${data.points.length} merges, from ${at(first)} to ${at(last)}`;
}
