// What the layer map can show: of all models, of a pair, or of one model against the base.
import type { Comparison, Group, Measure, Measures } from "../../merge-core/analysis/comparison.ts";
import { modelNames } from "./names.ts";

/** How values become colours: from least to most, or from a middle (0, or 1 for ratios) both ways. */
export type Shading = "least-to-most" | "around-zero" | "around-one";

export interface MeasureView {
  readonly id: string;
  readonly title: string;
  readonly of: (group: Measures) => Measure | undefined;
  readonly shading: Shading;
  /** Shown in percent, else to this many digits behind the point. */
  readonly digits: number | "percent";
}

/** Whose numbers are shown, and which there are. */
export interface Subject {
  readonly id: string;
  readonly name: string;
  readonly measures: readonly MeasureView[];
}

const mean = (values: readonly (Measure | undefined)[]): Measure => {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
};

const CONFLICT = { id: "conflict", title: "Sign conflict, %", shading: "least-to-most", digits: "percent" } as const;
const COSINE = { id: "cosine", title: "Cosine of changes", shading: "around-zero", digits: 2 } as const;
const WEIGHTS = { id: "weights", title: "Cosine of weights", shading: "least-to-most", digits: 4 } as const;
const RATIO = { id: "ratio", title: "Norm ratio", shading: "around-one", digits: 2 } as const;
const SUBSPACE = { id: "subspace", title: "Subspace alignment", shading: "least-to-most", digits: 2 } as const;

function ofAll(hasBase: boolean): MeasureView[] {
  if (!hasBase) return [{ ...WEIGHTS, title: "Cosine of weights, mean of pairs", of: ({ pairs }) => mean(pairs.map(({ cosine }) => cosine)) }];
  return [
    { ...CONFLICT, of: ({ conflict }) => conflict },
    { ...COSINE, title: "Cosine of changes, mean of pairs", of: ({ pairs }) => mean(pairs.map(({ changes }) => changes?.cosine)) },
    { id: "agreement", title: "Sign agreement, %", shading: "least-to-most", digits: "percent", of: ({ signAgreement }) => signAgreement },
    { ...SUBSPACE, title: "Subspace alignment, mean of pairs", of: ({ pairs }) => mean(pairs.map(({ changes }) => changes?.subspace)) },
    {
      id: "relative",
      title: "Change relative to the base, mean, %",
      shading: "least-to-most",
      digits: "percent",
      of: ({ models }) => mean(models.map(({ changes }) => changes?.relativeNorm)),
    },
  ];
}

function ofPair(pair: number, hasBase: boolean): MeasureView[] {
  const weights: MeasureView = { ...WEIGHTS, of: ({ pairs }) => pairs[pair]?.cosine };
  if (!hasBase) return [weights, { ...RATIO, of: ({ pairs }) => pairs[pair]?.normRatio }];
  return [
    { ...CONFLICT, of: ({ pairs }) => pairs[pair]?.changes?.conflict },
    { ...COSINE, of: ({ pairs }) => pairs[pair]?.changes?.cosine },
    { ...RATIO, title: "Norm ratio of changes", of: ({ pairs }) => pairs[pair]?.changes?.normRatio },
    { ...SUBSPACE, title: "Subspace alignment, first in second", of: ({ pairs }) => pairs[pair]?.changes?.subspace },
    { ...SUBSPACE, id: "subspace-reverse", title: "Subspace alignment, second in first", of: ({ pairs }) => pairs[pair]?.changes?.subspaceReverse },
    { id: "angle", title: "Mean principal angle, degrees", shading: "least-to-most", digits: 1, of: ({ pairs }) => pairs[pair]?.changes?.angle },
    { id: "support", title: "Changed by both, %", shading: "least-to-most", digits: "percent", of: ({ pairs }) => pairs[pair]?.changes?.support },
    {
      id: "top",
      title: "Conflict of the largest changes, %",
      shading: "least-to-most",
      digits: "percent",
      of: ({ pairs }) => pairs[pair]?.changes?.topConflict,
    },
    weights,
  ];
}

const ofModel = (model: number): MeasureView[] => [
  {
    id: "relative",
    title: "Change relative to the base, %",
    shading: "least-to-most",
    digits: "percent",
    of: ({ models }) => models[model]?.changes?.relativeNorm,
  },
  { ...WEIGHTS, title: "Cosine to the base", of: ({ models }) => models[model]?.cosineToBase },
  { id: "density", title: "Changed elements, %", shading: "least-to-most", digits: "percent", of: ({ models }) => models[model]?.changes?.density },
  { id: "rank", title: "Effective rank of the change, mean", shading: "least-to-most", digits: 1, of: ({ models }) => models[model]?.changes?.effectiveRank },
  { id: "dropped", title: "Dropped by sign, %", shading: "least-to-most", digits: "percent", of: ({ models }) => models[model]?.changes?.droppedBySign },
];

/** Everything that can be chosen; measures without a single value are left out. */
export function subjectsOf(comparison: Comparison): Subject[] {
  const names = modelNames(comparison.models);
  const hasBase = comparison.base !== undefined;
  const { pairs } = comparison.total;
  const all: Subject[] = [
    ...(pairs.length > 1 ? [{ id: "all", name: "all models", measures: ofAll(hasBase) }] : []),
    ...pairs.map(({ a, b }, i) => ({ id: `pair-${a}-${b}`, name: `${names[a]} and ${names[b]}`, measures: ofPair(i, hasBase) })),
    ...(hasBase ? names.map((name, i) => ({ id: `model-${i}`, name: `${name} and the base`, measures: ofModel(i) })) : []),
  ];
  const groups: readonly Measures[] = [comparison.total, ...comparison.layers, ...comparison.tensors];
  const isKnown = ({ of }: MeasureView) => groups.some((group) => typeof of(group) === "number");
  return all.map((subject) => ({ ...subject, measures: subject.measures.filter(isKnown) })).filter(({ measures }) => measures.length > 0);
}

/** Values -> places on the colour scale: 0 to 1, or -1 to 1 around a middle. */
export function shadeFor(shading: Shading, values: readonly number[]): (value: number) => number {
  const known = values.filter(Number.isFinite);
  if (shading === "least-to-most") {
    const [least, most] = [Math.min(...known), Math.max(...known)];
    return (value) => (most > least ? (value - least) / (most - least) : 0);
  }
  const off = (value: number) => (shading === "around-zero" ? value : Math.log2(value));
  const far = Math.max(0, ...known.map((value) => Math.abs(off(value))));
  return (value) => (far > 0 ? off(value) / far : 0);
}

/** A value as cells and tables show it. */
export const formatMeasure = ({ digits }: Pick<MeasureView, "digits">, value: Measure | undefined): string => {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return digits === "percent" ? (100 * value).toFixed(1) : value.toFixed(digits);
};

/** The measure of a group that has the given name. */
export const valueIn = (groups: readonly Group[], name: string, { of }: MeasureView): number => {
  const group = groups.find((other) => other.name === name);
  return (group && of(group)) ?? Number.NaN;
};
