// What cells give, as data that pages draw, and as tables for those who do not. Pure.
import type { Comparison } from "../analysis/comparison.ts";
import type { Diagnostic } from "../diagnostics.ts";
import type { FrontFile } from "../pareto/front-file.ts";
import type { LogRecord } from "../train/log.ts";
import { formatBytes, formatDuration } from "../units.ts";

/** How editors know an output. */
export const OUTPUT_MIME = "application/vnd.weightsmith+json";

export interface MergeOutput {
  readonly kind: "merge";
  /** Relative to the notebook, as are all paths of outputs. */
  readonly out: string;
  readonly tensors: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly warnings: readonly Diagnostic[];
}

export interface CompareOutput {
  readonly kind: "compare";
  readonly comparison: Comparison;
}

export interface EvalOutput {
  readonly kind: "eval";
  readonly metrics: readonly { readonly name: string; readonly direction: "min" | "max" /** Runs from 0 to 1. */; readonly share: boolean }[];
  /** One value for each metric. */
  readonly models: readonly { readonly name: string; readonly values: readonly number[] }[];
}

export interface ParetoOutput {
  readonly kind: "pareto";
  readonly out: string;
  readonly front: FrontFile;
}

export interface TrainOutput {
  readonly kind: "train";
  readonly out: string;
  readonly steps: number;
  readonly parameters: number;
  readonly trainLoss: number;
  readonly validationLoss?: number;
  readonly seconds: number;
  readonly records: readonly LogRecord[];
}

export interface ProblemOutput {
  readonly kind: "problem";
  readonly diagnostics: readonly Diagnostic[];
}

export type CellOutput = MergeOutput | CompareOutput | EvalOutput | ParetoOutput | TrainOutput | ProblemOutput;

/** What `weightsmith run --json` says of a cell that ran. */
export interface CellResult {
  readonly name: string;
  readonly kind: string;
  /** Of the cell's opening, counted from 1. */
  readonly line: number;
  readonly output: CellOutput;
}

export interface OutputTable {
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

const figure = (value: number | null | undefined): string =>
  value === null || value === undefined || Number.isNaN(value) ? "" : Number(value.toPrecision(4)).toString();

/** The output's numbers in short. */
export function outputTable(output: CellOutput): OutputTable {
  switch (output.kind) {
    case "merge":
      return {
        header: ["output", "tensors", "size", "time"],
        rows: [[output.out, String(output.tensors), formatBytes(output.bytes), formatDuration(output.seconds)]],
      };
    case "compare":
      return pairTable(output.comparison);
    case "eval":
      return { header: ["model", ...output.metrics.map(({ name }) => name)], rows: output.models.map(({ name, values }) => [name, ...values.map(figure)]) };
    case "pareto":
      return frontTable(output.front);
    case "train":
      return {
        header: ["output", "steps", "trained parameters", "loss", "validation loss", "time"],
        rows: [
          [
            output.out,
            String(output.steps),
            output.parameters.toLocaleString("en"),
            figure(output.trainLoss),
            figure(output.validationLoss),
            formatDuration(output.seconds),
          ],
        ],
      };
    case "problem":
      return {
        header: ["problem", "place"],
        rows: output.diagnostics.map(({ message, file = "", range }) => [message, range === undefined ? file : `${file}:${range.line + 1}`]),
      };
  }
}

function pairTable({ base, models, total }: Comparison): OutputTable {
  const rows = total.pairs.map(({ a, b, cosine, changes }) => [
    models[a] ?? "",
    models[b] ?? "",
    figure(cosine),
    ...(base === undefined ? [] : [figure(changes?.cosine), figure(changes?.conflict)]),
  ]);
  return { header: ["model", "other", "cosine of weights", ...(base === undefined ? [] : ["cosine of changes", "sign conflict"])], rows };
}

function frontTable({ objectives, coefficients, points }: FrontFile): OutputTable {
  const shown = points.filter(({ kind, onFront }) => kind === "baseline" || onFront);
  const rows = shown.map(({ id, label, coefficients: setting, values }) => [
    id,
    label ?? (setting ?? []).map((c) => c.toFixed(2)).join(" "),
    ...values.map(figure),
  ]);
  return { header: ["point", coefficients.map(({ name }) => name).join(" "), ...objectives.map(({ name }) => name)], rows };
}

/** The table in Markdown, for editors that know nothing else. */
export function markdownTable({ header, rows }: OutputTable): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("\\", "\\\\").replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
  return [line(header), line(header.map(() => "---")), ...rows.map(line)].join("\n");
}
