// Parallel coordinates: one upright axis a quantity, one line a point. Many lines go on a canvas below, the few above it.
import { axisLeft } from "d3-axis";
import { scaleLinear, scaleSymlog } from "d3-scale";
import { select } from "d3-selection";
import { type ChartSize, createChart, figure, shorten } from "./svg.ts";

export interface ParallelAxis {
  readonly title: string;
  readonly values: readonly number[];
  readonly logarithmic?: boolean;
  /** Large values at the bottom. */
  readonly inverted?: boolean;
  readonly brush?: readonly [number, number] | undefined;
}

export interface Parallel {
  readonly label: string;
  readonly axes: readonly ParallelAxis[];
  readonly names: readonly string[];
  /** Points by index: drawn above the rest, `chosen` strongest. */
  readonly front: readonly number[];
  readonly chosen: readonly number[];
}

export interface ParallelLayout {
  readonly height: number;
  readonly left: number;
  readonly top: number;
  readonly places: readonly number[];
  readonly scales: readonly { (value: number): number; invert(pixel: number): number }[];
}

const HEIGHT = 240;
const MARGIN = { top: 34, right: 40, bottom: 12, left: 56 };
/** Names are bold. */
const CHARACTER = 8;

/** Where axes and values lie on a chart of this width. Pure. */
export function layoutParallel({ axes }: Parallel, width: number): ParallelLayout {
  const inner = width - MARGIN.left - MARGIN.right;
  const step = axes.length > 1 ? inner / (axes.length - 1) : 0;
  const scales = axes.map(({ values, logarithmic, inverted }) => {
    const known = values.filter(Number.isFinite);
    const low = known.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
    const high = known.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const domain: [number, number] = low < high ? [low, high] : low === high ? [low - 0.5, high + 0.5] : [0, 1];
    return (logarithmic ? scaleSymlog() : scaleLinear()).domain(domain).range(inverted ? [0, HEIGHT] : [HEIGHT, 0]);
  });
  return { height: HEIGHT, left: MARGIN.left, top: MARGIN.top, places: axes.map((_, i) => i * step), scales };
}

/** Path of a point over the axes; a missing value breaks it. */
export function parallelPath({ axes }: Parallel, { places, scales }: ParallelLayout, index: number): string {
  let pen = "M";
  return axes
    .map(({ values }, i) => {
      const value = values[index] ?? Number.NaN;
      if (!Number.isFinite(value)) {
        pen = "M";
        return "";
      }
      const part = `${pen}${(places[i] ?? 0).toFixed(1)},${(scales[i]?.(value) ?? 0).toFixed(1)}`;
      pen = "L";
      return part;
    })
    .join("");
}

/** @param others points drawn behind the front, by index: none where a canvas shows them */
export function drawParallel(data: Parallel, size: ChartSize, others: readonly number[] = []): SVGSVGElement {
  const layout = layoutParallel(data, size.width);
  const svg = createChart(size, HEIGHT + MARGIN.top + MARGIN.bottom, summarise(data), "parallel");
  const plot = select(svg).append("g").attr("transform", `translate(${MARGIN.left},${MARGIN.top})`);
  const lines = [
    ...others.map((i) => [i, "other"] as const),
    ...data.front.map((i) => [i, "front"] as const),
    ...data.chosen.map((i) => [i, "chosen"] as const),
  ];
  plot
    .selectAll("path.strand")
    .data(lines)
    .join("path")
    .attr("class", ([, kind]) => `strand ${kind}`)
    .attr("d", ([i]) => parallelPath(data, layout, i))
    .append("title")
    .text(([i]) => `${data.names[i]}: ${data.axes.map(({ title, values }) => `${title} ${figure(values[i] ?? Number.NaN)}`).join(", ")}`);
  const room = data.axes.length > 1 ? (layout.places[1] ?? 0) - (layout.places[0] ?? 0) : size.width;
  data.axes.forEach(({ title, brush }, i) => {
    const axis = plot
      .append("g")
      .attr("class", "axis upright")
      .attr("transform", `translate(${(layout.places[i] ?? 0).toFixed(1)},0)`);
    axis.call(
      axisLeft(layout.scales[i] as never)
        .ticks(5)
        .tickFormat(((value: number) => figure(value)) as never),
    );
    axis
      .append("text")
      .attr("class", "axis-name")
      .attr("y", i % 2 === 0 || room > 120 ? -10 : -22)
      .attr("text-anchor", i === 0 ? "start" : i === data.axes.length - 1 ? "end" : "middle")
      .attr("x", i === 0 ? -MARGIN.left + 4 : i === data.axes.length - 1 ? MARGIN.right - 4 : 0)
      .text(shorten(title, Math.max(6, Math.floor((room > 120 ? 0.8 * room : 1.6 * room) / CHARACTER))));
    if (brush === undefined) return;
    const [top, bottom] = brush.map((value) => Math.max(0, Math.min(HEIGHT, layout.scales[i]?.(value) ?? 0))).sort((a, b) => a - b);
    axis
      .append("rect")
      .attr("class", "brush")
      .attr("x", -7)
      .attr("width", 14)
      .attr("y", top ?? 0)
      .attr("height", Math.max(1, (bottom ?? 0) - (top ?? 0)));
  });
  return svg;
}

const summarise = ({ label, axes, names, front }: Parallel): string =>
  `${label}: ${names.length} points over ${axes.map(({ title }) => title).join(", ")}; ${front.length} on the front`;
