// A cell's output as an element: the charts and tables of the pages. One code for the notebook in the editor and the written page.
import type { Comparison } from "../../merge-core/analysis/comparison.ts";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { type CellOutput, type EvalOutput, type MergeOutput, outputTable, type TrainOutput } from "../../merge-core/notebook/cell-output.ts";
import { drawCurves } from "../charts/curves.ts";
import type { Heatmap } from "../charts/heatmap.ts";
import { chartFigure } from "../common/chart-figure.ts";
import { element } from "../common/dom.ts";
import { heatmapFigure } from "../common/heatmap-figure.ts";
import { dataTable } from "../common/table.ts";
import { ComparisonPage, headline, type PageOptions } from "../comparison/page.ts";
import type { ParetoChoice } from "../pareto/model.ts";
import { ParetoPage } from "../pareto/page.ts";
import type { ParetoTools } from "../pareto/point-panel.ts";
import { METRICS, metricCurves, metricTable } from "../runs/model.ts";

/** What an editor can do for an output that a page cannot. */
export interface OutputHost {
  /** By the path of the search's result. */
  tools(front: string): ParetoTools;
  choice(front: string): Partial<ParetoChoice> | undefined;
  keep(front: string, choice: ParetoChoice): void;
  compared(comparison: Comparison): PageOptions;
}

/** Draws an output; what takes an editor is offered where there is one. */
export function outputElement(output: CellOutput, host?: OutputHost): HTMLElement {
  switch (output.kind) {
    case "merge":
      return mergeElement(output);
    case "compare":
      return compareElement(output.comparison, host);
    case "eval":
      return evalElement(output);
    case "pareto":
      return new ParetoPage(output.front, host?.choice(output.out), (choice) => host?.keep(output.out, choice), host?.tools(output.out)).element;
    case "train":
      return trainElement(output);
    case "problem":
      return problemElement("This cell failed", output.diagnostics);
  }
}

function compareElement(comparison: Comparison, host: OutputHost | undefined): HTMLElement {
  return element("div", {}, element("p", {}, headline(comparison)), new ComparisonPage(comparison, host?.compared(comparison)).element);
}

function tableOf(caption: string, output: CellOutput): HTMLElement {
  const { header, rows } = outputTable(output);
  return dataTable(caption, { header: [...header], rows: rows.map((row) => [...row]) });
}

function mergeElement(output: MergeOutput): HTMLElement {
  const { warnings } = output;
  const noticed =
    warnings.length === 0 ? undefined : problemElement(warnings.length === 1 ? "One warning" : `${warnings.length} warnings`, warnings, "warning");
  return element("div", { "data-testid": "merge" }, tableOf("Merged", output), noticed);
}

/** Shares are drawn, on one scale; other measures have none in common and are told as numbers. */
function evalElement(output: EvalOutput): HTMLElement {
  const columns = output.metrics.flatMap(({ share }, i) => (share ? [i] : []));
  const figure = columns.length === 0 ? undefined : scoreFigure(output, columns);
  const table = columns.length < output.metrics.length ? tableOf("Measured", output) : undefined;
  return element("div", { "data-testid": "eval" }, figure, table);
}

/** Of each model, the metrics that are shares. A metric that all columns have is told once. A missing value is null in JSON. */
export function scoreHeatmap({ metrics, models }: EvalOutput, columns: readonly number[]): Heatmap {
  const names = columns.map((i) => metrics[i]?.name ?? "");
  const [metric = ""] = (names[0] ?? "").split(" ");
  const isShared = names.length > 1 && names.every((name) => name.startsWith(`${metric} `));
  return {
    label: isShared ? `${metric}, in percent` : "Scores, in percent",
    columns: isShared ? names.map((name) => name.slice(metric.length + 1)) : names,
    summariesFrom: columns.length,
    rows: models.map(({ name, values }) => ({ label: name, group: "", values: columns.map((i) => values[i] ?? Number.NaN) })),
  };
}

/** Room for names, and for a column: few scores make no wide picture. */
const SCORE_NAMES = 240;
const SCORE = 120;

function scoreFigure(output: EvalOutput, columns: readonly number[]): HTMLElement {
  const map = scoreHeatmap(output, columns);
  const { header, rows } = outputTable(output);
  const table = () => ({ header: [...header], rows: rows.map((row) => [...row]) });
  const figure = heatmapFigure({
    name: "scores",
    caption: "Scores",
    label: map.label,
    widest: Math.min(760, SCORE_NAMES + SCORE * columns.length),
    map: () => map,
    table,
    data: () => output,
  });
  return element("div", {}, element("p", { class: "soft" }, map.label), figure.element);
}

function trainElement(output: TrainOutput): HTMLElement {
  const runs = [{ name: output.out, log: output.out, records: output.records, running: false }];
  const present = METRICS.filter(({ id }) => output.records.some((record) => typeof record[id] === "number"));
  const figures = present.map((metric) => {
    const draw = (width: number) => drawCurves(metricCurves(runs, metric, { smoothing: 0, logarithmic: false, hidden: [] }), { width });
    return chartFigure({ name: metric.id, caption: metric.title, widest: 560, draw, table: () => metricTable(runs, metric, []), data: () => output.records })
      .element;
  });
  return element("div", { "data-testid": "train" }, tableOf("Trained", output), element("div", { class: "pictures" }, ...figures));
}

/** Diagnostics under a title, each with its place, values and remedy. */
export function problemElement(title: string, diagnostics: readonly Diagnostic[], kind: "error" | "warning" = "error"): HTMLElement {
  const items = diagnostics.map(({ message, file, range, found, expected, remedy, notes = [] }) => {
    const place = file === undefined ? "" : `${file}${range === undefined ? "" : `:${range.line + 1}:${range.column + 1}`}: `;
    const values = [found && `found ${found}`, expected && `expected ${expected}`].filter(Boolean).join(", ");
    return element(
      "li",
      {},
      `${place}${[message, values, remedy].filter(Boolean).join("; ")}`,
      ...notes.map((note) => element("div", { class: "soft" }, note)),
    );
  });
  const attributes = kind === "error" ? { class: "problem", role: "alert" } : { class: "problem warning", role: "status" };
  return element("div", { ...attributes, "data-testid": "problem" }, element("p", {}, element("b", {}, title)), element("ul", {}, ...items));
}
