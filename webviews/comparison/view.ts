// A comparison -> what the page shows. Only the drawing needs a document.
import { clusterItems } from "../../merge-core/analysis/cluster.ts";
import type { Comparison, Group, Measure, Measures, PairMeasures } from "../../merge-core/analysis/comparison.ts";
import type { Bars } from "../charts/bars.ts";
import type { Dendrogram } from "../charts/dendrogram.ts";
import type { Heatmap } from "../charts/heatmap.ts";

export interface Table {
  readonly header: string[];
  readonly rows: string[][];
}

/** A measure of two models that the layer map can show. */
export interface PairView {
  readonly name: string;
  readonly of: (group: Measures) => Measure | undefined;
}

/** The shortest endings of the paths that tell the models apart. */
export function modelNames(paths: readonly string[]): string[] {
  const parts = paths.map((path) => path.split("/").filter(Boolean));
  const ending = (depth: number) => parts.map((part) => part.slice(-depth).join("/"));
  const depth = [1, 2, 3, 4].find((d) => new Set(ending(d)).size === paths.length);
  return depth === undefined ? [...paths] : ending(depth);
}

/** What the colours of the layer map can stand for: conflict where there is a base, else cosine of the weights; of all pairs, or of one. */
export function pairViews(comparison: Comparison): PairView[] {
  const names = modelNames(comparison.models);
  const single = comparison.total.pairs.map(({ a, b }, i): PairView => ({ name: `${names[a]} and ${names[b]}`, of: (group) => pairValue(group.pairs[i]) }));
  return comparison.base === undefined || single.length < 2 ? single : [{ name: "all pairs", of: ({ conflict }) => conflict }, ...single];
}

const pairValue = (pair: PairMeasures | undefined): Measure | undefined => (pair?.changes === undefined ? pair?.cosine : pair.changes.conflict);

const numberOf = (value: Measure | undefined): number => value ?? Number.NaN;

/** Layers by roles. */
export function layerHeatmap(comparison: Comparison, view: PairView): Heatmap {
  const roles = [...new Set(comparison.layers.flatMap((layer) => layer.roles.map(({ name }) => name)))];
  const stacks = new Set(comparison.layers.map(({ name, layer }) => name.slice(0, -String(layer).length)));
  const hasBase = comparison.base !== undefined;
  const known = comparison.layers.flatMap((layer) => [layer, ...layer.roles].map((group) => numberOf(view.of(group))).filter(Number.isFinite));
  const [least, most] = [Math.min(...known), Math.max(...known)];
  return {
    fraction: (value) => (most > least ? (value - least) / (most - least) : 0),
    label: `${hasBase ? "Sign conflict in percent" : "Cosine of the weights"} by layer and role, ${view.name}`,
    columns: [...roles, "layer"],
    summariesFrom: roles.length,
    rows: comparison.layers.map((layer) => ({
      label: `layer ${layer.layer}`,
      group: stacks.size > 1 ? layer.name.slice(0, -String(layer.layer).length - 1) : "Layers",
      values: [...roles.map((role) => numberOf(find(layer.roles, role, view))), numberOf(view.of(layer))],
    })),
    ...(hasBase ? {} : { format: decimals(comparison) }),
  };
}

const find = (groups: readonly Group[], name: string, view: PairView): Measure | undefined => {
  const group = groups.find((other) => other.name === name);
  return group && view.of(group);
};

/** Cosines of weights differ in later digits than those of changes. */
const decimals =
  ({ base }: Comparison) =>
  (value: number): string =>
    value.toFixed(base === undefined ? 4 : 2);

/** Cosine of two models' changes, or without a base of their weights; 1 with itself. */
export function cosineOf({ total, base }: Comparison, a: number, b: number): number {
  if (a === b) return 1;
  const pair = total.pairs.find((p) => p.a === Math.min(a, b) && p.b === Math.max(a, b));
  return numberOf(base === undefined ? pair?.cosine : pair?.changes?.cosine);
}

const whatCosine = ({ base }: Comparison): string => (base === undefined ? "Cosine of the weights" : "Cosine of the changes from the base");

/** Models whose angle has no value are taken for unrelated. */
const distanceOf = (comparison: Comparison) => (a: number, b: number) => {
  const cosine = cosineOf(comparison, a, b);
  return Number.isNaN(cosine) ? 1 : 1 - cosine;
};

/** Models in the order of the tree. */
const orderOf = (comparison: Comparison): readonly number[] => clusterItems(comparison.models.length, distanceOf(comparison))?.members ?? [];

/** Models by models. Colour is by size; the sign is printed. */
export function modelMatrix(comparison: Comparison): Heatmap {
  const names = modelNames(comparison.models);
  const order = orderOf(comparison);
  return {
    label: `${whatCosine(comparison)}, models by models`,
    columns: order.map((i) => names[i] ?? ""),
    summariesFrom: order.length,
    rows: order.map((i) => ({ label: names[i] ?? "", group: "Models", values: order.map((j) => cosineOf(comparison, i, j)) })),
    fraction: Math.abs,
    format: decimals(comparison),
  };
}

export function modelTree(comparison: Comparison): Dendrogram | undefined {
  const root = clusterItems(comparison.models.length, distanceOf(comparison));
  if (root === undefined || root.parts.length === 0) return undefined;
  return { label: "Models joined by likeness", axisTitle: "1 - cosine, mean over the pairs of both groups", names: modelNames(comparison.models), root };
}

/** Pooled conflict of each role, the highest first. Unrelated changes have about a half. */
export function roleBars({ roles }: Comparison): Bars {
  const bars = roles.map(({ name, conflict }) => ({ name, value: numberOf(conflict) }));
  const order = bars.toSorted((a, b) => (Number.isNaN(b.value) ? -1 : b.value) - (Number.isNaN(a.value) ? -1 : a.value));
  return { label: "Sign conflict in percent by role", bars: order, mark: { value: 0.5, name: "unrelated changes" } };
}

/** A heat map's numbers. */
export function heatmapTable(map: Heatmap): Table {
  const shown = (value: number) => (Number.isNaN(value) ? "–" : (map.format ?? ((x: number) => (100 * x).toFixed(1)))(value));
  return { header: ["", ...map.columns], rows: map.rows.map((row) => [row.label, ...row.values.map(shown)]) };
}

const figures = (value: Measure | undefined): string => (value === null || value === undefined ? "–" : String(Number(value.toPrecision(4))));

export function pairsTable({ total, models }: Comparison): Table {
  const names = modelNames(models);
  const hasChanges = total.pairs.some(({ changes }) => changes !== undefined);
  const header = ["pair", "cosine of weights", "L2"];
  const more = ["cosine of changes", "norm ratio", "conflict", "support", "top-k overlap", "top-k conflict"];
  const rows = total.pairs.map(({ a, b, cosine, l2, changes: c }) => [
    `${names[a]}, ${names[b]}`,
    ...[cosine, l2].map(figures),
    ...(c === undefined ? [] : [c.cosine, c.normRatio, c.conflict, c.support, c.topOverlap, c.topConflict].map(figures)),
  ]);
  return { header: hasChanges ? [...header, ...more] : header, rows };
}

export function modelsTable({ total, models }: Comparison): Table {
  const names = modelNames(models);
  const header = ["model", "norm", "norm of change", "relative", "density", "median", "90 %", "99 %", "largest", "norm kept", "dropped by sign"];
  const rows = total.models.map(({ norm, changes: c }, i) => {
    const change = c && [c.norm, c.relativeNorm, c.density, c.quantiles.p50, c.quantiles.p90, c.quantiles.p99, c.quantiles.max, c.keptNorm, c.droppedBySign];
    return [names[i] ?? "", figures(norm), ...(change ?? []).map(figures)];
  });
  return { header: total.models.some(({ changes }) => changes !== undefined) ? header : header.slice(0, 2), rows };
}
