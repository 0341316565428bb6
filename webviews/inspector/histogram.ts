// Counts by equal steps as bars. Heights are square roots of counts: weights crowd near zero, and their tails matter.
import { svgElement } from "../common/svg.ts";

export interface Bin {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/** The steps with their bounds; where all values are equal there is one. */
export function binRows(counts: readonly number[], min: number, max: number): Bin[] {
  if (min === max) return [{ from: min, to: max, count: counts[0] ?? 0 }];
  const at = (i: number) => min + (max - min) * (i / counts.length);
  return counts.map((count, i) => ({ from: at(i), to: at(i + 1), count }));
}

const WIDTH = 420;
const HEIGHT = 110;

/** Draws counts between the least and the largest value as bars. */
export function drawHistogram(counts: readonly number[], min: number, max: number): SVGSVGElement {
  const bins = binRows(counts, min, max);
  const most = Math.max(...bins.map(({ count }) => count), 1);
  const svg = svgElement("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT + 18}`,
    width: WIDTH,
    height: HEIGHT + 18,
    role: "img",
    class: "histogram",
    "aria-label": `Histogram from ${min.toPrecision(4)} to ${max.toPrecision(4)}; heights are square roots of counts, the highest stands for ${most}`,
  });
  const step = WIDTH / bins.length;
  bins.forEach(({ from, to, count }, i) => {
    const height = Math.sqrt(count / most) * HEIGHT;
    const title = svgElement("title", {}, `${from.toPrecision(4)} to ${to.toPrecision(4)}: ${count.toLocaleString("en")}`);
    svg.append(svgElement("rect", { x: i * step, y: HEIGHT - height, width: Math.max(0.5, step - 0.5), height }, title));
  });
  svg.append(
    label(min.toPrecision(4), 0, "start"),
    label("values; bar height by square root of count", WIDTH / 2, "middle"),
    label(max.toPrecision(4), WIDTH, "end"),
  );
  return svg;
}

function label(text: string, x: number, anchor: "start" | "middle" | "end"): SVGTextElement {
  return svgElement("text", { x, y: HEIGHT + 14, "text-anchor": anchor }, text);
}
