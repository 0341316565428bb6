// Angles between models, and their order in the tree.
import { clusterItems } from "../../merge-core/analysis/cluster.ts";
import type { Comparison } from "../../merge-core/analysis/comparison.ts";
import type { Dendrogram } from "../charts/dendrogram.ts";
import type { Heatmap } from "../charts/heatmap.ts";
import { modelNames } from "./names.ts";

/** Cosine of two models' changes, or without a base of their weights; 1 with itself, NaN without a value. */
export function cosineOf({ total, base }: Comparison, a: number, b: number): number {
  if (a === b) return 1;
  const pair = total.pairs.find((p) => p.a === Math.min(a, b) && p.b === Math.max(a, b));
  return (base === undefined ? pair?.cosine : pair?.changes?.cosine) ?? Number.NaN;
}

/** Models whose angle has no value are taken for unrelated. */
const distanceOf = (comparison: Comparison) => {
  const cosines = comparison.models.map((_, i) => comparison.models.map((__, j) => cosineOf(comparison, i, j)));
  return (a: number, b: number) => {
    const cosine = cosines[a]?.[b] ?? Number.NaN;
    return Number.isNaN(cosine) ? 1 : 1 - cosine;
  };
};

/** Models in the order of the tree. */
export const orderOf = (comparison: Comparison): readonly number[] => clusterItems(comparison.models.length, distanceOf(comparison))?.members ?? [];

/** Models by models, signed around zero where there is a base: changes can be opposed, weights of relatives never are. */
export function modelMatrix(comparison: Comparison, order = orderOf(comparison)): Heatmap {
  const names = modelNames(comparison.models);
  const hasBase = comparison.base !== undefined;
  return {
    label: `${hasBase ? "Cosine of the changes from the base" : "Cosine of the weights"}, models by models`,
    columns: order.map((i) => names[i] ?? ""),
    summariesFrom: order.length,
    rows: order.map((i) => ({ label: names[i] ?? "", group: "Models", values: order.map((j) => cosineOf(comparison, i, j)) })),
    signed: true,
    fraction: (value) => value,
    // Cosines of weights differ in later digits than those of changes.
    format: (value) => value.toFixed(hasBase ? 2 : 4),
  };
}

/** Models joined by likeness; undefined for less than two. */
export function modelTree(comparison: Comparison): Dendrogram | undefined {
  const root = clusterItems(comparison.models.length, distanceOf(comparison));
  if (root === undefined || root.parts.length === 0) return undefined;
  return { label: "Models joined by likeness", axisTitle: "1 - cosine, mean of pairs", names: modelNames(comparison.models), root };
}
