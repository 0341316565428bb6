// pareto.json -> what the page draws and computes. Pure.
import { asCosts } from "../../merge-core/pareto/dominance.ts";
import type { Direction, FrontFile, FrontPoint } from "../../merge-core/pareto/front-file.ts";
import { scaleFront } from "../../merge-core/pareto/front-measures.ts";
import { predict } from "../../merge-core/pareto/surrogate.ts";
import type { Parallel } from "../charts/parallel.ts";
import type { Scatter, ScatterAxis, ScatterKind, ScatterPoint } from "../charts/scatter.ts";
import { figure } from "../charts/svg.ts";
import type { Table } from "../common/table.ts";

/** Bounds on objectives and coefficients by name; a side without a bound is infinite. */
export type Filters = Readonly<Record<string, readonly [number, number]>>;

export interface AxisChoice {
  readonly logarithmic?: boolean;
  readonly inverted?: boolean;
}

/** What is chosen on the page; survives hiding it. */
export interface ParetoChoice {
  readonly x: string;
  readonly y: string;
  readonly axes: Readonly<Record<string, AxisChoice>>;
  readonly filters: Filters;
  readonly chosen?: string | undefined;
  /** How much each objective counts, in the file's order. */
  readonly preference: readonly number[];
  /** Names of the parallel axes from left to right; those that are missing follow. */
  readonly order?: readonly string[] | undefined;
}

/** A quantity of every point, measured or else predicted. */
export interface Quantity {
  /** Told apart from all others. */
  readonly name: string;
  readonly kind: "objective" | "coefficient";
  /** Among those of its kind. */
  readonly index: number;
  readonly better?: "high" | "low";
  readonly values: Float64Array;
}

/** Objectives, measured or else predicted, and coefficients of all points. */
export function quantitiesOf(file: FrontFile): Quantity[] {
  const objectives = file.objectives.map(({ name, direction }, i): Quantity => {
    const values = Float64Array.from(file.points, ({ values: measured, predicted }) => measured[i] ?? predicted?.[i] ?? Number.NaN);
    return { name, kind: "objective", index: i, better: direction === "maximize" ? "high" : "low", values };
  });
  const coefficients = coefficientNames(file).map((name, i): Quantity => {
    return { name, kind: "coefficient", index: i, values: Float64Array.from(file.points, ({ coefficients: c }) => c?.[i] ?? Number.NaN) };
  });
  return [...objectives, ...coefficients];
}

/** A task is often called as the model that was trained for it: then its coefficient says what it is. */
function coefficientNames({ objectives, coefficients }: FrontFile): string[] {
  const taken = new Set(objectives.map(({ name }) => name));
  return coefficients.map(({ name }) => (taken.has(name) ? `share of ${name}` : name));
}

/** The first two objectives, all counting the same. */
export function firstChoice(file: FrontFile): ParetoChoice {
  const [x, y] = [file.objectives[0]?.name ?? "", file.objectives[1]?.name ?? file.coefficients[0]?.name ?? ""];
  return { x, y, axes: {}, filters: {}, preference: file.objectives.map(() => 50) };
}

/** A choice of an earlier page, as far as it fits this file. */
export function restoreChoice(file: FrontFile, saved: Partial<ParetoChoice> | undefined): ParetoChoice {
  const fresh = firstChoice(file);
  const names = quantitiesOf({ ...file, points: [] }).map(({ name }) => name);
  const known = (name: string | undefined, other: string) => (name !== undefined && names.includes(name) ? name : other);
  const fits = saved?.preference?.length === file.objectives.length;
  return {
    ...fresh,
    ...saved,
    x: known(saved?.x, fresh.x),
    y: known(saved?.y, fresh.y),
    preference: fits && saved.preference ? saved.preference : fresh.preference,
  };
}

/** Quantities as the axes were put; those that nobody has moved keep their order behind them. */
export function inOrder(quantities: readonly Quantity[], order: readonly string[] = []): Quantity[] {
  const place = ({ name }: Quantity) => (order.includes(name) ? order.indexOf(name) : order.length);
  return quantities.toSorted((a, b) => place(a) - place(b));
}

/** The list with one item in another place. */
export function movedTo<T>(items: readonly T[], from: number, to: number): T[] {
  const rest = items.toSpliced(from, 1);
  return rest.toSpliced(to, 0, ...items.slice(from, from + 1));
}

/** Which points all filters let through. */
export function passing(quantities: readonly Quantity[], filters: Filters, count: number): Uint8Array {
  const pass = new Uint8Array(count).fill(1);
  for (const { name, values } of quantities) {
    const [low, high] = filters[name] ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
    if (low === Number.NEGATIVE_INFINITY && high === Number.POSITIVE_INFINITY) continue;
    for (let i = 0; i < count; i++) {
      const value = values[i] ?? Number.NaN;
      if (!(value >= low && value <= high)) pass[i] = 0;
    }
  }
  return pass;
}

export const nameOf = ({ id, label }: FrontPoint): string => label ?? id;

/** What a point is drawn as; those that failed are nowhere. */
export function kindOf(point: FrontPoint): ScatterKind | undefined {
  if (point.status === "failed") return undefined;
  if (point.kind === "baseline") return "baseline";
  if (!point.evaluated) return "predicted";
  return point.onFront ? "front" : "measured";
}

const goodEnd = ({ better, name }: Quantity): string => (better === undefined ? name : `${name} (${better === "high" ? "higher" : "lower"} is better)`);

/** A setting that is no point of the file, such as the one the preference asks for. */
export interface Setting {
  readonly coefficients: readonly number[];
  readonly predicted: readonly number[];
}

/** How good it is in each objective, 0 to 1 over all candidates. */
export interface Candidate extends Setting {
  readonly goodness: readonly number[];
}

/** The picture of two quantities. */
export function scatterOf(file: FrontFile, quantities: readonly Quantity[], choice: ParetoChoice, pass: Uint8Array, preferred?: Setting): Scatter {
  const [x, y] = [choice.x, choice.y].map((name) => quantities.find((quantity) => quantity.name === name));
  if (x === undefined || y === undefined) return { label: "No objectives", x: { title: "" }, y: { title: "" }, points: [], front: [], region: [] };
  const points: ScatterPoint[] = [];
  file.points.forEach((point, i) => {
    const kind = kindOf(point);
    if (kind === undefined) return;
    const isPale = pass[i] === 0 && kind !== "baseline";
    const place = { name: nameOf(point), x: x.values[i] ?? Number.NaN, y: y.values[i] ?? Number.NaN, ...(isPale ? { pale: true } : {}) };
    points.push({ ...place, kind });
    if (point.id === file.knee) points.push({ ...place, name: `knee, ${place.name}`, kind: "knee" });
    if (point.id === choice.chosen) points.push({ ...place, kind: "chosen" });
  });
  const at = ({ kind, index }: Quantity, setting: Setting) => (kind === "objective" ? setting.predicted : setting.coefficients)[index];
  if (preferred !== undefined)
    points.push({ name: "predicted at this preference", kind: "preferred", x: at(x, preferred) ?? Number.NaN, y: at(y, preferred) ?? Number.NaN });
  const axis = (quantity: Quantity): ScatterAxis => ({ title: goodEnd(quantity), ...choice.axes[quantity.name] });
  const brush = {
    ...(choice.filters[x.name] && { x: finite(choice.filters[x.name], x.values) }),
    ...(choice.filters[y.name] && { y: finite(choice.filters[y.name], y.values) }),
  };
  return {
    label: `${x.name} against ${y.name}`,
    x: axis(x),
    y: axis(y),
    points,
    ...staircase(file, x, y),
    ...(Object.keys(brush).length > 0 ? { brush } : {}),
  };
}

/** A filter's bounds as far as there are values. */
function finite(bounds: readonly [number, number] | undefined, values: Float64Array): [number, number] {
  const known = [...values].filter(Number.isFinite);
  const [low, high] = bounds ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  return [
    Number.isFinite(low) ? low : known.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
    Number.isFinite(high) ? high : known.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
  ];
}

type Corner = readonly [number, number];

/** The front of two objectives as steps, and the region between it and the reference. Nothing for coefficients, of which none is better. */
export function staircase(file: FrontFile, x: Quantity, y: Quantity): { front: Corner[]; region: Corner[] } {
  const [i, j] = [x.index, y.index];
  if (x.kind !== "objective" || y.kind !== "objective" || i === j) return { front: [], region: [] };
  const directions = [i, j].map((k) => file.objectives[k]?.direction ?? "maximize");
  const measured = file.points.filter(({ evaluated, coefficients, status }) => evaluated && coefficients !== undefined && status === "done");
  const places = measured.map(({ values }): Corner => [values[i] ?? Number.NaN, values[j] ?? Number.NaN]).filter((corner) => corner.every(Number.isFinite));
  const sorted = bestOf(places, directions);
  // Between neighbours the corner is where both are worse: the steps belong to what is dominated.
  const front = sorted.flatMap((place, k): Corner[] => {
    const next = sorted[k + 1];
    if (next === undefined) return [place];
    const corner: Corner = directions[0] === "maximize" ? [place[0], next[1]] : [next[0], place[1]];
    return [place, corner];
  });
  const [first, last] = [sorted[0], sorted.at(-1)];
  const reference = [file.reference[i] ?? Number.NaN, file.reference[j] ?? Number.NaN] as const;
  if (first === undefined || last === undefined || !reference.every(Number.isFinite)) return { front, region: [] };
  // The worse end of x lies at the first point if high is good, at the last if low is.
  const ends: Corner[] =
    directions[0] === "maximize"
      ? [
          [last[0], reference[1]],
          [reference[0], reference[1]],
          [reference[0], first[1]],
        ]
      : [
          [reference[0], last[1]],
          [reference[0], reference[1]],
          [first[0], reference[1]],
        ];
  return { front, region: [...front, ...ends] };
}

/** The front of places in a plane, by rising x: one sweep from the good end of x keeps what is better in y than all before. */
function bestOf(places: readonly Corner[], directions: readonly Direction[]): Corner[] {
  const costs = places.map((place) => ({ place, cost: asCosts(place, directions) }));
  const cost = (item: (typeof costs)[number], k: number) => item.cost[k] ?? 0;
  let best = Number.POSITIVE_INFINITY;
  const kept = costs
    .sort((a, b) => cost(a, 0) - cost(b, 0) || cost(a, 1) - cost(b, 1))
    .filter((item) => {
      if (cost(item, 1) >= best) return false;
      best = cost(item, 1);
      return true;
    });
  return kept.map(({ place }) => place).sort((a, b) => a[0] - b[0]);
}

/** Lines over all objectives, then coefficients; the better end of an objective is up. */
export function parallelOf(file: FrontFile, quantities: readonly Quantity[], choice: ParetoChoice): Parallel {
  const drawn = file.points.map((point) => kindOf(point) !== undefined);
  return {
    label: "Objectives and coefficients",
    axes: quantities.map(({ name, better, values }) => {
      const { logarithmic = false, inverted = false } = choice.axes[name] ?? {};
      const brush = choice.filters[name];
      const shown = Array.from(values, (value, i) => (drawn[i] ? value : Number.NaN));
      return {
        title: name,
        values: shown,
        logarithmic,
        inverted: inverted !== (better === "low"),
        ...(brush && { brush: finite(brush, values) }),
      };
    }),
    names: file.points.map(nameOf),
    front: file.points.flatMap(({ onFront }, i) => (onFront ? [i] : [])),
    chosen: file.points.flatMap(({ id }, i) => (id === choice.chosen ? [i] : [])),
  };
}

const CANDIDATES = 4096;
const PRIMES = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53];

/** Van der Corput's sequence: the digits of `index` mirrored at the point. */
function mirrored(index: number, base: number): number {
  let [result, step] = [0, 1 / base];
  for (let rest = index; rest > 0; rest = Math.floor(rest / base), step /= base) result += (rest % base) * step;
  return result;
}

/** Settings spread evenly over the box (Halton's sequence) with what the surrogates say of them, and those of the file. */
export function candidatesOf(file: FrontFile): Candidate[] {
  if (file.surrogates.length < file.objectives.length || file.coefficients.length === 0) return [];
  const spread = Array.from({ length: CANDIDATES }, (_, k) =>
    file.coefficients.map(({ range: [low, high] }, i) => low + (high - low) * mirrored(k + 1, PRIMES[i % PRIMES.length] ?? 2)),
  );
  const known = file.points.flatMap(({ coefficients }) => (coefficients === undefined ? [] : [coefficients]));
  const settings = [...spread, ...known].map((coefficients) => ({
    coefficients,
    predicted: file.surrogates.map((surrogate) => predict(surrogate, coefficients)),
  }));
  const directions = file.objectives.map(({ direction }) => direction);
  const costs = scaleFront(settings.map(({ predicted }) => asCosts(predicted, directions)));
  return settings.map((setting, i) => ({ ...setting, goodness: (costs[i] ?? []).map((cost) => 1 - cost) }));
}

/** The candidate that serves a preference best: its goodness, weighed. */
export function preferredSetting(candidates: readonly Candidate[], preference: readonly number[]): Setting | undefined {
  let best: { setting: Setting; worth: number } | undefined;
  for (const setting of candidates) {
    const worth = setting.goodness.reduce((sum, good, k) => sum + good * (preference[k] ?? 0), 0);
    if (best === undefined || worth > best.worth) best = { setting, worth };
  }
  return best?.setting;
}

/** Every point, the front first. */
export function pointsTable(file: FrontFile, pass?: Uint8Array): Table {
  const objectives = file.objectives.flatMap(({ name }) => [name, `${name}, predicted`]);
  const order = file.points.map((point, i) => ({ point, i })).sort((a, b) => Number(b.point.onFront) - Number(a.point.onFront));
  return {
    header: ["point", "kind", "front", ...objectives, ...coefficientNames(file), "error"],
    rows: order
      .filter(({ i }) => pass === undefined || pass[i] === 1)
      .map(({ point }) => [
        nameOf(point),
        point.kind,
        point.onFront ? "yes" : "",
        ...file.objectives.flatMap((_, k) => [cell(point.values[k]), cell(point.predicted?.[k])]),
        ...file.coefficients.map((_, k) => cell(point.coefficients?.[k])),
        point.error ?? "",
      ]),
  };
}

const cell = (value: number | null | undefined): string => (value === null || value === undefined ? "" : figure(value));

/** A point in a sentence: what it is, its numbers, its recipe. */
export function describePoint(file: FrontFile, point: FrontPoint): string {
  const numbers = file.objectives.map(({ name }, k) => {
    const [measured, predicted] = [point.values[k], point.predicted?.[k]];
    if (typeof measured === "number") return `${name} ${figure(measured)}${predicted === undefined ? "" : ` (predicted ${figure(predicted)})`}`;
    return `${name} ${predicted === undefined ? "unknown" : `${figure(predicted)} predicted`}`;
  });
  const recipe = point.coefficients?.map((c, k) => `${file.coefficients[k]?.name} ${figure(c)}`).join(", ");
  const what =
    point.kind === "baseline" ? "baseline" : point.onFront ? "on the front" : point.evaluated ? "measured" : point.status === "failed" ? "failed" : "predicted";
  return `${nameOf(point)}, ${what}: ${numbers.join(", ")}${recipe === undefined ? "" : `; recipe: ${recipe}`}${point.error === undefined ? "" : `; ${point.error}`}`;
}
