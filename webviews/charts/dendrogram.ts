// A tree of groups, joined at the distance of their parts: leaves on the left, the root on the right.
import { axisBottom } from "d3-axis";
import { scaleLinear } from "d3-scale";
import { select } from "d3-selection";
import type { Cluster } from "../../merge-core/analysis/cluster.ts";
import { type ChartSize, createChart, shorten } from "./svg.ts";

export interface Dendrogram {
  readonly label: string;
  readonly axisTitle: string;
  readonly names: readonly string[];
  readonly root: Cluster;
  /** Items that are marked. */
  readonly selected?: readonly number[];
}

/** One joint: a bracket from the middles of both parts to their common height. */
export interface Joint {
  readonly height: number;
  /** Rows of the parts' middles, counted from 0 in leaf order, and the heights at which the parts end. */
  readonly parts: readonly [{ readonly row: number; readonly height: number }, { readonly row: number; readonly height: number }];
}

const ROW = 26;
const MARGIN = { top: 8, right: 16, bottom: 44 };
const CHARACTER = 8;

/** Where the joints are. Pure. */
export function layoutDendrogram(root: Cluster): Joint[] {
  const joints: Joint[] = [];
  const place = (cluster: Cluster): number => {
    const [a, b] = cluster.parts;
    if (a === undefined || b === undefined) return root.members.indexOf(cluster.members[0] ?? 0);
    const [first, second] = [place(a), place(b)];
    joints.push({
      height: cluster.height,
      parts: [
        { row: first, height: a.height },
        { row: second, height: b.height },
      ],
    });
    return (first + second) / 2;
  };
  place(root);
  return joints;
}

/** Draws the tree; colours come from `--chart-*` custom properties. */
export function drawDendrogram(tree: Dendrogram, size: ChartSize): SVGSVGElement {
  const { root, names } = tree;
  const longest = Math.max(...names.map((name) => name.length));
  const left = Math.min(Math.ceil(longest * CHARACTER) + 12, Math.floor(size.width * 0.36));
  const bottom = MARGIN.top + ROW * root.members.length;
  const svg = createChart(size, bottom + MARGIN.bottom, summarise(tree), "dendrogram");
  const x = scaleLinear([0, Math.max(root.height, Number.MIN_VALUE)], [left, size.width - MARGIN.right]);
  const y = (row: number) => MARGIN.top + ROW * (row + 0.5);
  const chart = select(svg);
  const axis = axisBottom(x)
    .ticks(Math.max(2, Math.floor((size.width - left) / 90)))
    .tickSize(MARGIN.top - bottom)
    .tickPadding(8);
  chart.append("g").attr("class", "axis").attr("transform", `translate(0,${bottom})`).call(axis);
  chart
    .append("g")
    .attr("class", "axis-titles")
    .append("text")
    .attr("x", (left + size.width - MARGIN.right) / 2)
    .attr("y", bottom + 38)
    .attr("text-anchor", "middle")
    .text(tree.axisTitle);
  chart
    .selectAll("path.joint")
    .data(layoutDendrogram(root))
    .join("path")
    .attr("class", "joint")
    .attr("d", ({ height, parts: [a, b] }) => `M${x(a.height).toFixed(1)},${y(a.row)}H${x(height).toFixed(1)}V${y(b.row)}H${x(b.height).toFixed(1)}`);
  const shown = Math.max(1, Math.floor((left - 12) / CHARACTER));
  const leaves = chart
    .selectAll("g.leaf")
    .data(root.members)
    .join("g")
    .attr("class", (item) => `leaf${tree.selected?.includes(item) ? " selected" : ""}`)
    .attr("data-row", (_, row) => row)
    .attr("data-column", 0);
  leaves.append("title").text((item) => names[item] ?? "");
  leaves
    .append("text")
    .attr("x", left - 8)
    .attr("y", (_, row) => y(row) + 4)
    .attr("text-anchor", "end")
    .text((item) => shorten(names[item] ?? "", shown));
  return svg;
}

/** One sentence: which join first and last. */
function summarise({ label, names, root }: Dendrogram): string {
  const joints = layoutDendrogram(root);
  const first = joints.toSorted((a, b) => a.height - b.height)[0];
  if (first === undefined) return `${label}: one model`;
  const at = (row: number) => names[root.members[Math.round(row)] ?? 0] ?? "";
  return `${label}: ${names.length} models; ${at(first.parts[0].row)} and ${at(first.parts[1].row)} join first, at ${first.height.toPrecision(3)}, all at ${root.height.toPrecision(3)}`;
}
