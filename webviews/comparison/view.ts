// A comparison -> the tables and smaller charts of the page. Only the drawing needs a document.
import type { Comparison, Measures, Spectrum, TensorGroup, TensorSpectra } from "../../merge-core/analysis/comparison.ts";
import type { Bars } from "../charts/bars.ts";
import type { Columns } from "../charts/columns.ts";
import type { Curves } from "../charts/curves.ts";
import type { Plane } from "../charts/plane.ts";
import { figure } from "../charts/svg.ts";
import type { Table } from "../common/table.ts";
import { formatMeasure, type MeasureView } from "./measures.ts";
import { modelNames } from "./names.ts";

/** Pooled conflict of each role, the highest first. Unrelated changes have about a half. */
export function roleBars({ roles }: Comparison, chosen: readonly string[] = []): Bars {
  const bars = roles.map(({ name, conflict }) => ({ name, value: conflict ?? Number.NaN, ...(chosen.includes(name) && { selected: true }) }));
  const order = bars.toSorted((a, b) => (Number.isNaN(b.value) ? -1 : b.value) - (Number.isNaN(a.value) ? -1 : a.value));
  return { label: "Sign conflict in percent by role", bars: order, mark: { value: 0.5, name: "unrelated changes" } };
}

/** How many elements how many models pull up or down: the conflict of a group taken apart. */
export function signColumns(name: string, { signCounts = [], elements }: Measures): Columns {
  const models = (signCounts.length - 1) / 2;
  return {
    label: `Signed agreement in ${name}, ${elements.toLocaleString("en")} elements`,
    axisTitle: "raised minus lowered, in models",
    columns: signCounts.map((count, i) => ({ name: signed(i - models), count, negative: i < models, ...(i === models && { neutral: true }) })),
  };
}

const signed = (value: number): string => (value > 0 ? `+${value}` : String(value).replace("-", "−"));

export const columnsTable = ({ columns }: Columns): Table => ({
  header: ["raised minus lowered", "elements"],
  rows: columns.map(({ name, count }) => [name, String(count)]),
});

export const planeTable = ({ points, xTitle, yTitle }: Plane): Table => ({
  header: ["point", xTitle, yTitle],
  rows: points.map(({ name, x, y }) => [name, figure(x), figure(y)]),
});

/** The tensors of a choice, those with the most of the measure first. */
export function tensorsTable(tensors: readonly TensorGroup[], measure: MeasureView): { table: Table; names: string[] } {
  const order = tensors.map((tensor) => ({ tensor, value: measure.of(tensor) ?? Number.NEGATIVE_INFINITY })).sort((a, b) => b.value - a.value);
  return {
    names: order.map(({ tensor }) => tensor.name),
    table: {
      header: ["tensor", measure.title, "elements"],
      rows: order.map(({ tensor }) => [tensor.name, formatMeasure(measure, measure.of(tensor)), tensor.elements.toLocaleString("en")]),
    },
  };
}

/** A row for each pair of models. */
export function pairsTable({ total, models }: Comparison): Table {
  const names = modelNames(models);
  const header = ["pair", "cosine of weights", "L2"];
  const more = ["cosine of changes", "norm ratio", "conflict", "support", "top-k overlap", "top-k conflict"];
  const rows = total.pairs.map(({ a, b, cosine, l2, changes: c }) => [
    `${names[a]}, ${names[b]}`,
    ...[cosine, l2].map(figure),
    ...(c === undefined ? [] : [c.cosine, c.normRatio, c.conflict, c.support, c.topOverlap, c.topConflict].map(figure)),
  ]);
  const hasChanges = total.pairs.some(({ changes }) => changes !== undefined);
  return { header: hasChanges ? [...header, ...more] : header, rows };
}

/** A row for each model: its norm and, with a base, its change. */
export function modelsTable({ total, models }: Comparison): Table {
  const names = modelNames(models);
  const header = ["model", "norm", "norm of change", "relative", "density", "median", "90 %", "99 %", "largest", "norm kept", "dropped by sign"];
  const rows = total.models.map(({ norm, changes: c }, i) => {
    const change = c && [c.norm, c.relativeNorm, c.density, c.quantiles.p50, c.quantiles.p90, c.quantiles.p99, c.quantiles.max, c.keptNorm, c.droppedBySign];
    return [names[i] ?? "", figure(norm), ...(change ?? []).map(figure)];
  });
  return { header: total.models.some(({ changes }) => changes !== undefined) ? header : header.slice(0, 2), rows };
}

/** Spectra of the changes; of the weights where there is no base. */
const shownSpectra = ({ models, weights = [] }: TensorSpectra): readonly Spectrum[] => (models.length > 0 ? models : weights);

/** Singular values of a tensor's changes, one curve a model. */
export const spectraCurves = (spectra: TensorSpectra, paths: readonly string[], chosen: readonly number[] = []): Curves => ({
  label: `Singular values of the ${spectra.models.length > 0 ? "changes" : "weights"} of ${spectra.tensor}`,
  xTitle: "index",
  yTitle: "singular value",
  logarithmic: true,
  curves: shownSpectra(spectra).map(({ singularValues }, i) => ({
    name: modelNames(paths)[i] ?? "",
    points: singularValues.map((y, k) => [k + 1, y] as const),
    ...(chosen.includes(i) && { selected: true }),
  })),
});

/** A row for each spectrum: of changes first, then of the weights with the base's. */
export function spectraTable({ models, base, weights = [] }: TensorSpectra, paths: readonly string[]): Table {
  const names = modelNames(paths);
  const row = (what: string, { singularValues, effectiveRank, stableRank, spanningRank, partial }: Spectrum) => [
    what,
    figure(singularValues[0]),
    figure(effectiveRank),
    figure(stableRank),
    figure(spanningRank),
    `${singularValues.length}${partial === true ? " leading" : ""}`,
  ];
  return {
    header: ["matrix", "largest", "effective rank", "stable rank", "directions that leave 5 %", "values"],
    rows: [
      ...models.map((spectrum, i) => row(`change of ${names[i]}`, spectrum)),
      ...weights.map((spectrum, i) => row(`weights of ${names[i]}`, spectrum)),
      ...(base === undefined ? [] : [row("weights of the base", base)]),
    ],
  };
}

/** How the leading directions of the changes lie to each other. */
export function subspaceTable({ pairs = [] }: TensorSpectra, paths: readonly string[]): Table {
  const names = modelNames(paths);
  const mean = (angles: readonly number[]) => (angles.length === 0 ? null : angles.reduce((sum, angle) => sum + angle, 0) / angles.length);
  return {
    header: ["pair", "first in second", "second in first", "least angle", "mean angle", "largest angle", "overlap"],
    rows: pairs.map(({ a, b, subspace, subspaceReverse, angles, overlap }) => [
      `${names[a]}, ${names[b]}`,
      ...[subspace, subspaceReverse, angles[0], mean(angles), angles.at(-1), overlap].map(figure),
    ]),
  };
}
