// Alignments and heads -> charts and tables. Pure.
import type { AlignPage, HeadsPage } from "../../merge-core/cli/weights-page.ts";
import type { Curves } from "../charts/curves.ts";
import type { Heatmap } from "../charts/heatmap.ts";
import type { Table } from "../common/table.ts";
import { shadeFor } from "../comparison/measures.ts";

const figure = (value: number): string => String(Number(value.toPrecision(5)));

/** The loss on the way from A to B, as B was and as it is aligned. */
export function lossCurves(line: NonNullable<AlignPage["line"]>): Curves {
  const curve = (name: string, losses: readonly number[]) => ({ name, points: losses.map((loss, i) => [i / (losses.length - 1), loss] as const) });
  return {
    label: "Loss on the straight line from A to B",
    xTitle: "share of B",
    yTitle: "loss, nats per token",
    curves: [curve("as it was", line.before.losses), curve("aligned", line.after.losses)],
  };
}

/** Losses along the line, before and after. */
export function lossTable({ before, after }: NonNullable<AlignPage["line"]>): Table {
  const steps = before.losses.length - 1;
  return {
    header: ["share of B", "loss as it was", "loss aligned"],
    rows: before.losses.map((loss, i) => [figure(i / steps), figure(loss), figure(after.losses[i] ?? Number.NaN)]),
  };
}

export const groupsTable = ({ groups }: AlignPage): Table => ({
  header: ["group", "moved", "of", "product before", "after"],
  rows: groups.map(({ group, size, moved, before, after }) => [group, String(moved), String(size), figure(before), figure(after)]),
});

const COSINES = { format: (value: number) => value.toFixed(2) };

/** For each head the cosine of the head of an earlier layer that is most like it; those that are shared are marked. */
export function headsHeatmap({ similarity: { best }, pairs }: HeadsPage): Heatmap {
  const rows = best.slice(1).map((units, i) => ({ label: `layer ${i + 1}`, group: "Layers", values: units.map(({ cosine }) => cosine) }));
  const columns = rows[0]?.values.map((_, unit) => `head ${unit}`) ?? [];
  return {
    ...COSINES,
    label: "Cosine of each head with the one most like it in an earlier layer",
    columns,
    summariesFrom: columns.length,
    rows,
    fraction: shadeFor(
      "least-to-most",
      rows.flatMap(({ values }) => values),
    ),
    selected: (row, column) => pairs.some(({ layer, unit }) => layer === row + 1 && unit === column),
  };
}

/** Heads with their best match. */
export function headsTable({ similarity: { best }, pairs }: HeadsPage): Table {
  const taken = new Map(pairs.map(({ layer, unit, from }) => [`${layer}.${unit}`, from]));
  const name = ({ layer, unit }: { readonly layer: number; readonly unit: number }) => `layer ${layer}, head ${unit}`;
  const rows = best.flat().map((pair) => {
    const from = taken.get(`${pair.layer}.${pair.unit}`);
    return [name(pair), name(pair.from), figure(pair.cosine), from === undefined ? "" : name(from)];
  });
  return { header: ["head", "most like", "cosine", "takes the weights of"], rows };
}

/** Layers by earlier layers: the mean over the heads of the best cosine there. */
export function layersHeatmap({ similarity: { layers } }: HeadsPage): Heatmap {
  const columns = layers.slice(0, -1).map((_, layer) => String(layer));
  const rows = layers.slice(1).map((values, i) => ({
    label: `layer ${i + 1}`,
    group: "Layers",
    values: columns.map((_, other) => values[other] ?? Number.NaN),
  }));
  return {
    ...COSINES,
    label: "Best cosine of heads, mean by layers and earlier layers",
    columns,
    summariesFrom: columns.length,
    rows,
    fraction: shadeFor(
      "least-to-most",
      rows.flatMap(({ values }) => values),
    ),
  };
}
