// Results -> what the report shows. Only the drawing needs a document.
import { type DemoResults, type MeasuredModel, relativeToExperts } from "../../merge-core/evaluate/demo-results.ts";
import type { Heatmap } from "../charts/heatmap.ts";
import { type ChartSize, percent } from "../charts/svg.ts";
import { drawTradeoff, type Tradeoff } from "../charts/tradeoff.ts";

const GROUPS: Readonly<Record<MeasuredModel["kind"], string>> = { base: "Base", expert: "Experts", merge: "Merges of all four" };

/** The per-task table as a heat map. */
export function resultsHeatmap({ tasks, models }: DemoResults): Heatmap {
  return {
    label: "Exact match in percent, by model and task",
    columns: [...tasks, "mean", "of experts"],
    summariesFrom: tasks.length,
    rows: models.map((model) => ({
      label: model.name,
      group: GROUPS[model.kind],
      values: [...tasks.map((task) => model.exactMatch[task] ?? Number.NaN), model.mean, relativeToExperts(model, models)],
    })),
  };
}

/** The trade-off curve with the inputs and the merges of all experts for comparison. */
export function weightsTradeoff({ tradeOff, models }: DemoResults): Tradeoff {
  const [first, second] = tradeOff.tasks;
  const at = (exactMatch: Readonly<Record<string, number>>) => ({ x: exactMatch[first] ?? Number.NaN, y: exactMatch[second] ?? Number.NaN });
  const shown = models.filter((model) => model.kind !== "expert" || tradeOff.tasks.includes(model.task ?? ""));
  return {
    label: `Exact match on ${first} and ${second} as their weights move`,
    xTitle: `${first}, % exact`,
    yTitle: `${second}, % exact`,
    points: tradeOff.points.map(({ weight, exactMatch }) => ({ label: weight.toFixed(1), ...at(exactMatch) })),
    references: shown.map((model) => ({ label: model.name, kind: model.kind, ...at(model.exactMatch) })),
  };
}

export const drawWeights = (results: DemoResults, size: ChartSize): SVGSVGElement => drawTradeoff(weightsTradeoff(results), size);

/** The numbers of the trade-off curve. */
export function weightsTable({ tradeOff }: DemoResults): { header: string[]; rows: string[][] } {
  const [first, second] = tradeOff.tasks;
  const rows = tradeOff.points.map(({ weight, exactMatch }) => [
    weight.toFixed(1),
    percent(exactMatch[first] ?? Number.NaN),
    percent(exactMatch[second] ?? Number.NaN),
  ]);
  return { header: [`weight of ${second}`, first, second], rows };
}

/** The result in one or two sentences. */
export function headline({ models }: DemoResults): string {
  const merges = models.filter((model) => model.kind === "merge");
  const base = models.find((model) => model.kind === "base");
  const best = merges.reduce<MeasuredModel | undefined>((a, b) => (a !== undefined && a.mean >= b.mean ? a : b), undefined);
  if (best === undefined || base === undefined) return "No merges were measured.";
  const kept = percent(relativeToExperts(best, models));
  return `Of ${merges.length} merges, ${best.name} does best: ${percent(best.mean)} % of all test answers right on average, where the base model has ${percent(base.mean)} %. One model, ${kept} % of what the four experts do on their own tasks.`;
}
