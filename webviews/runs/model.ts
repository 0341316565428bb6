// Logs and progress -> curves and tables. Pure.
import { formatBytes } from "../../merge-core/units.ts";
import type { Bars } from "../charts/bars.ts";
import type { Curve, Curves } from "../charts/curves.ts";
import { figure } from "../charts/svg.ts";
import type { Table } from "../common/table.ts";
import type { FollowedRun, RunSample, TrainingRun } from "../protocol.ts";

type Point = readonly [x: number, y: number];

/** A number of each step that the log holds. */
export const METRICS = [
  { id: "loss", title: "Loss", yTitle: "loss, nats per token", smooth: true },
  { id: "validationLoss", title: "Validation loss", yTitle: "loss, nats per token", smooth: false },
  { id: "lr", title: "Learning rate", yTitle: "learning rate", smooth: false },
  { id: "gradNorm", title: "Gradient norm", yTitle: "norm before clipping", smooth: true },
  { id: "tokensPerSecond", title: "Speed", yTitle: "tokens per second", smooth: true },
] as const;

export type Metric = (typeof METRICS)[number];

/** Steps and values of a run that has them; what is no number is a gap. */
export const valuesOf = ({ records }: TrainingRun, { id }: Pick<Metric, "id">): Point[] =>
  records.flatMap((record) => {
    const value = record[id];
    return value === undefined ? [] : [[record.step, value ?? Number.NaN] as const];
  });

/**
 * Exponential moving average without the pull to zero at its start: each value is the weighted mean of all before it. Gaps stay and add nothing.
 * @param weight of what came before, 0 to below 1
 */
export function smooth(points: readonly Point[], weight: number): Point[] {
  let [sum, norm] = [0, 0];
  return points.map(([x, y]) => {
    if (!Number.isFinite(y)) return [x, Number.NaN];
    sum = weight * sum + (1 - weight) * y;
    norm = weight * norm + (1 - weight);
    return [x, sum / norm];
  });
}

/** Points that a picture shows: of each stretch the lowest and the highest, so that no spike is lost. */
export function thin(points: readonly Point[], most: number): readonly Point[] {
  if (points.length <= most) return points;
  const size = Math.ceil((2 * points.length) / most);
  const kept: Point[] = [];
  for (let i = 0; i < points.length; i += size) {
    const stretch = points.slice(i, i + size);
    const known = stretch.filter(([, y]) => Number.isFinite(y));
    const [low, high] = [
      known.reduce<Point | undefined>((a, b) => (a === undefined || b[1] < a[1] ? b : a), undefined),
      known.reduce<Point | undefined>((a, b) => (a === undefined || b[1] > a[1] ? b : a), undefined),
    ];
    const pair = [low, high].filter((point) => point !== undefined).sort((a, b) => a[0] - b[0]);
    kept.push(...(pair.length === 0 ? stretch.slice(0, 1) : low === high ? pair.slice(0, 1) : pair));
  }
  return kept;
}

const MOST_POINTS = 1200;

export interface CurveOptions {
  readonly smoothing: number;
  readonly logarithmic: boolean;
  /** Logs of runs that are not shown. */
  readonly hidden: readonly string[];
  readonly step?: number | undefined;
}

/** Curves of one metric over all runs shown; a run keeps its colour whatever others are hidden. */
export function metricCurves(runs: readonly TrainingRun[], metric: Metric, { smoothing, logarithmic, hidden, step }: CurveOptions): Curves {
  const curves = runs.flatMap((run, series): Curve[] => {
    const points = valuesOf(run, metric);
    if (hidden.includes(run.log) || points.length === 0) return [];
    const isSmoothed = metric.smooth && smoothing > 0;
    const shown = isSmoothed ? smooth(points, smoothing) : points;
    return [{ name: run.name, series, points: thin(shown, MOST_POINTS), ...(isSmoothed ? { raw: thin(points, MOST_POINTS) } : {}) }];
  });
  return { label: metric.title, xTitle: "step", yTitle: metric.yTitle, logarithmic, mark: step, curves };
}

/** Every step of every run. */
export function metricTable(runs: readonly TrainingRun[], metric: Metric, hidden: readonly string[]): Table {
  const shown = runs.filter(({ log }) => !hidden.includes(log));
  const steps = new Map<number, string[]>();
  shown.forEach((run, i) => {
    for (const [step, value] of valuesOf(run, metric)) {
      const row = steps.get(step) ?? new Array<string>(shown.length).fill("");
      row[i] = Number.isFinite(value) ? String(value) : "–";
      steps.set(step, row);
    }
  });
  return { header: ["step", ...shown.map(({ name }) => name)], rows: [...steps].sort(([a], [b]) => a - b).map(([step, row]) => [String(step), ...row]) };
}

/** What all runs have at a step, in words. */
export function atStep(runs: readonly TrainingRun[], step: number, hidden: readonly string[]): string {
  const parts = runs.flatMap((run) => {
    const record = hidden.includes(run.log) ? undefined : run.records.find((other) => other.step === step);
    if (record === undefined) return [];
    const values = METRICS.flatMap(({ id, title }) => (record[id] === undefined ? [] : [`${title.toLowerCase()} ${figure(record[id])}`]));
    return [`${run.name}: ${values.join(", ")}`];
  });
  return `Step ${step}. ${parts.join("; ") || "No run logged this step."}`;
}

/** Trained parameters by module, the last part of a tensor's name that is no number or kind of factor. */
export function parameterBudget({ tensors = [] }: TrainingRun): { total: number; bars: Bars; rows: string[][] } {
  const counts = new Map<string, number>();
  for (const { name, shape } of tensors) {
    const module = name.split(".").findLast((part) => !/^(weight|bias|\d+|default)$|lora_|_(A|B)$|vera_|hada_|lokr_/.test(part)) ?? name;
    counts.set(module, (counts.get(module) ?? 0) + shape.reduce((product, size) => product * size, 1));
  }
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const order = [...counts].sort(([, a], [, b]) => b - a);
  return {
    total,
    bars: { label: "Trained parameters by module, in percent", bars: order.map(([name, count]) => ({ name, value: count / total })) },
    rows: order.map(([name, count]) => [name, count.toLocaleString("en")]),
  };
}

/** Rates are taken over at least this long: what a single record says is noise. */
const RATE_SECONDS = 1;

/** A quantity's growth per second along a run. */
export function ratesOf(samples: readonly RunSample[], of: (sample: RunSample) => number | undefined): Point[] {
  const points: Point[] = [];
  let from = samples[0];
  for (const sample of samples.slice(1)) {
    if (from === undefined || sample.seconds - from.seconds < RATE_SECONDS) continue;
    const grown = (of(sample) ?? Number.NaN) - (of(from) ?? Number.NaN);
    points.push([sample.seconds, grown >= 0 ? grown / (sample.seconds - from.seconds) : Number.NaN]);
    from = sample;
  }
  return points;
}

const MIB = 2 ** 20;

/** Bytes read and written per second, and values computed, where the run tells them. */
export function rateCurves({ title, unit, samples }: FollowedRun): Curves[] {
  const curve = (name: string, of: (sample: RunSample) => number | undefined, scale: number): Curve => ({
    name,
    points: ratesOf(samples, of).map(([x, y]) => [x, y / scale]),
  });
  const isBytes = unit === "bytes";
  const done = curve(isBytes ? "written" : unit, ({ done: d }) => d, isBytes ? MIB : 1);
  const read = samples.some(({ bytesRead }) => bytesRead !== undefined) ? [curve("read", ({ bytesRead }) => bytesRead, MIB)] : [];
  const flow: Curves = {
    label: `Rates of ${title}`,
    xTitle: "seconds",
    yTitle: isBytes ? "MiB per second" : `${unit} per second`,
    fromZero: true,
    curves: [...read, done],
  };
  if (!samples.some(({ values }) => values !== undefined)) return [flow];
  const computed: Curves = {
    label: `Values merged by ${title}`,
    xTitle: "seconds",
    yTitle: "million values per second",
    fromZero: true,
    curves: [curve("computed", ({ values }) => values, 1e6)],
  };
  return [flow, computed];
}

/** The numbers of rate curves. */
export function ratesTable(curves: Curves): Table {
  const [first] = curves.curves;
  return {
    header: ["seconds", ...curves.curves.map(({ name }) => `${name}, ${curves.yTitle}`)],
    rows: (first?.points ?? []).map(([x], i) => [x.toFixed(1), ...curves.curves.map(({ points }) => figure(points[i]?.[1] ?? Number.NaN))]),
  };
}

/** Averages over the whole run, in words. */
export function rateText({ samples, unit }: FollowedRun): string {
  const [first, last] = [samples[0], samples.at(-1)];
  const seconds = (last?.seconds ?? 0) - (first?.seconds ?? 0);
  if (first === undefined || last === undefined || seconds < RATE_SECONDS) return "";
  const rate = (of: (sample: RunSample) => number | undefined) => ((of(last) ?? Number.NaN) - (of(first) ?? Number.NaN)) / seconds;
  const written = rate(({ done }) => done);
  const parts = unit === "bytes" ? [`written ${formatBytes(written)}/s`] : [`${figure(written)} ${unit}/s`];
  if (last.bytesRead !== undefined) parts.unshift(`read ${formatBytes(rate(({ bytesRead }) => bytesRead))}/s`);
  if (last.values !== undefined) parts.push(`computed ${figure(rate(({ values }) => values) / 1e6)} million values/s`);
  return parts.join(", ");
}
