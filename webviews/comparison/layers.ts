// Layers by roles, what is chosen there, and the tensors that this means.
import type { Comparison, Group, Measures, TensorGroup } from "../../merge-core/analysis/comparison.ts";
import type { Heatmap } from "../charts/heatmap.ts";
import { formatMeasure, type MeasureView, type Subject, shadeFor, valueIn } from "./measures.ts";

/** A cell of the layer map: a layer's name and a role; without a role the whole layer, without a layer the role everywhere. */
export interface Cell {
  readonly layer?: string;
  readonly role?: string;
}

export const isSame = (a: Cell, b: Cell): boolean => a.layer === b.layer && a.role === b.role;

export const rolesOf = ({ layers }: Comparison): string[] => [...new Set(layers.flatMap((layer) => layer.roles.map(({ name }) => name)))];

/** The cell at a row and column of `layerHeatmap`. */
export function cellAt(comparison: Comparison, row: number, column: number): Cell | undefined {
  const layer = comparison.layers[row]?.name;
  const role = rolesOf(comparison)[column];
  return layer === undefined ? undefined : { layer, ...(role === undefined ? {} : { role }) };
}

/** A measure of a subject by layer and role, with whole layers as a summary; chosen cells are marked. */
export function layerHeatmap(comparison: Comparison, subject: Subject, measure: MeasureView, chosen: readonly Cell[] = []): Heatmap {
  const roles = rolesOf(comparison);
  const stacks = new Set(comparison.layers.map(({ name, layer }) => name.slice(0, -String(layer).length)));
  const rows = comparison.layers.map((layer) => ({
    label: `layer ${layer.layer}`,
    group: stacks.size > 1 ? layer.name.slice(0, -String(layer.layer).length - 1) : "Layers",
    values: [...roles.map((role) => valueIn(layer.roles, role, measure)), measure.of(layer) ?? Number.NaN],
  }));
  return {
    label: `${measure.title} by layer and role, ${subject.name}`,
    columns: [...roles, "layer"],
    summariesFrom: roles.length,
    rows,
    signed: measure.shading !== "least-to-most",
    fraction: shadeFor(
      measure.shading,
      rows.flatMap(({ values }) => values),
    ),
    format: (value) => formatMeasure(measure, value),
    selected: (row, column) => {
      const cell = cellAt(comparison, row, column);
      return cell !== undefined && chosen.some((other) => holds(other, cell.layer, cell.role));
    },
  };
}

const holds = (cell: Cell, layer: string | undefined, role: string | undefined): boolean =>
  (cell.layer === undefined || cell.layer === layer) && (cell.role === undefined || cell.role === role);

const layerName = ({ name, layer }: TensorGroup): string | undefined =>
  layer === undefined ? undefined : name.slice(0, name.indexOf(`.${layer}.`) + 1 + String(layer).length);

/** Tensors of the chosen cells; all where nothing is chosen. */
export function tensorsIn({ tensors }: Comparison, chosen: readonly Cell[]): TensorGroup[] {
  if (chosen.length === 0) return [...tensors];
  return tensors.filter((tensor) => chosen.some((cell) => holds(cell, layerName(tensor), tensor.role)));
}

/** What a drill-down has reached: everything, a layer, a role of one or of all, or a tensor. */
export interface Level {
  readonly name: string;
  readonly group: Measures;
}

/** From the whole down to what is chosen. Several chosen cells have no sums of their own, and end at the whole. */
export function levelsOf(comparison: Comparison, chosen: readonly Cell[], tensor: string | undefined): Level[] {
  const levels: Level[] = [{ name: "all tensors", group: comparison.total }];
  const [cell, ...others] = chosen;
  const layer = others.length === 0 ? comparison.layers.find(({ name }) => name === cell?.layer) : undefined;
  if (layer !== undefined) levels.push({ name: `layer ${layer.layer}`, group: layer });
  const roles = cell?.layer === undefined && others.length === 0 ? comparison.roles : layer?.roles;
  const role: Group | undefined = roles?.find(({ name }) => name === cell?.role);
  if (role !== undefined) levels.push({ name: role.name, group: role });
  const last = comparison.tensors.find(({ name }) => name === tensor);
  return last === undefined ? levels : [...levels, { name: last.name, group: last }];
}
