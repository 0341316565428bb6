// Alignment of activations -> a map of layers by pairs.
import type { ActivationPair, Comparison } from "../../merge-core/analysis/comparison.ts";
import type { Heatmap } from "../charts/heatmap.ts";
import { figure } from "../charts/svg.ts";
import type { Table } from "../common/table.ts";
import { shadeFor } from "./measures.ts";
import { modelNames } from "./names.ts";

function pairName({ models }: Comparison): (pair: ActivationPair) => string {
  const names = modelNames(models);
  const nameOf = (index: number) => (index < 0 ? "base" : (names[index] ?? ""));
  return ({ a, b }) => `${nameOf(a)}, ${nameOf(b)}`;
}

/** Layers by their numbers, as on the map of layers; those of several stacks, and what is no layer, by their names. */
function labels({ layers }: Comparison): (name: string) => string {
  const numbers = new Map(layers.map(({ name, layer }) => [name, layer]));
  const isOneStack = new Set(numbers.values()).size === numbers.size;
  return (name) => (isOneStack && numbers.has(name) ? `layer ${numbers.get(name)}` : name);
}

/** Debiased alignment; colour runs over the values on the map, for models of one origin are alike. */
export function activationHeatmap(comparison: Comparison, isChosen: (layer: string, pair: ActivationPair) => boolean = () => false): Heatmap {
  const layers = comparison.activations?.layers ?? [];
  const label = labels(comparison);
  const rows = layers.map(({ name, pairs }) => ({ label: label(name), group: "Outputs", values: pairs.map(({ ckaDebiased }) => ckaDebiased ?? Number.NaN) }));
  return {
    label: "Alignment of the layers' outputs (CKA, debiased)",
    columns: (layers[0]?.pairs ?? []).map(pairName(comparison)),
    summariesFrom: layers[0]?.pairs.length ?? 0,
    rows,
    fraction: shadeFor(
      "least-to-most",
      rows.flatMap(({ values }) => values),
    ),
    format: (value) => value.toFixed(3),
    selected: (row, column) => {
      const layer = layers[row];
      const pair = layer?.pairs[column];
      return layer !== undefined && pair !== undefined && isChosen(layer.name, pair);
    },
  };
}

/** Both alignments of every layer and pair. */
export function activationTable(comparison: Comparison): Table {
  const nameOf = pairName(comparison);
  const rows = (comparison.activations?.layers ?? []).flatMap(({ name, pairs }) =>
    pairs.map((pair) => [name, nameOf(pair), figure(pair.cka), figure(pair.ckaDebiased)]),
  );
  return { header: ["output of", "pair", "CKA", "CKA, debiased"], rows };
}
