// PCB-Merging (Du et al., NeurIPS 2024): each element of each difference gets a score, from its own size (intra) and from its agreement
// with the other models (inter); all but the best-scored share is dropped and the rest averaged by score. The paper has a
// softmax in both parts, the released code has none but exp and tanh, in three variants; this is the code. It ranks and normalises
// over all tensors of a model at once, this method over each tensor. Elements are winsorised by magnitude before, and weights are
// not in the divisor, as there. Where all elements of a difference are alike, and the code divides 0 by 0, they score alike.
import type { TensorEngine } from "../compute/engine.ts";
import { abs, add, compare, constant, div, type Expr, input, kept, linear, mul, type Reduction, sub } from "../compute/expr.ts";
import { exp, nearTanh, tanh } from "./elementary.ts";
import type { MergeMethod, MergeTask } from "./method.ts";
import { numberOf, WEIGHT, weightOf } from "./parameters.ts";

const ZERO = constant(0);
const SMALLEST_SUM = 1e-12;

export const pcb: MergeMethod = {
  id: "pcb",
  title: "PCB-Merging",
  kind: "tensor",
  summary: "Scores the elements of each difference by size and by agreement with the other models, keeps the best-scored and averages them by score.",
  formula:
    "d_i = W_i - B;  c_i = |d_i| clipped to its quantiles q and 1 - q;  n_i = c_i from 0 to 1\nb_i = exp(n n_i^2) I_i, with I_i = tanh(d_i sum_j d_j) (variant 1), tanh(d_i sum_j s_j n_j) (2), sum_j tanh(s_i n_i s_j n_j) (3)\ns'_i = b_i from 0 at its 1 - ratio quantile and below to 1;  R = B + sum_i w_i s_i c_i s'_i / sum_i s'_i",
  paper: { title: "Parameter Competition Balancing for Model Merging", url: "https://arxiv.org/abs/2410.02396", year: 2024 },
  parameters: [
    { ...WEIGHT, default: 1.2 },
    { name: "ratio", scope: "global", type: "number", default: 0.05, range: { min: 0, max: 1, minOpen: true }, doc: "Share of the elements that is kept." },
    {
      name: "quantile",
      scope: "global",
      type: "number",
      default: 0.01,
      range: { min: 0, max: 0.5, maxOpen: true },
      doc: "Magnitudes are clipped to this quantile and its mirror image.",
    },
    {
      name: "variant",
      scope: "global",
      type: "integer",
      default: 3,
      range: { min: 1, max: 3 },
      doc: "How agreement is scored, by the three forms of the released code.",
    },
  ],
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 5,
  keeps: (others) => others,
  async merge(task, engine) {
    const { base, others } = task;
    if (base === undefined) throw new TypeError("pcb needs a base");
    const origin = input(base.index);
    const deltas = others.map(({ index }) => sub(input(index), origin));
    const clipped = await winsorize(deltas, numberOf(task, "quantile"), engine);
    warnFlat(task, clipped);
    const scores = scoresOf(deltas, clipped, numberOf(task, "variant"));
    const ranges = await bestRanges(scores, numberOf(task, "ratio"), engine);
    const scales = scores.map((score, i) => scaleOf(score, ranges[i] as Range));
    const values = clipped.map(({ value, bounded }, i) => (isPositive(ranges[i] as Range) ? bounded : value));
    const sum = linear(others.map((model, i) => ({ weight: weightOf(model), x: mul(values[i] as Expr, scales[i] as Expr) })));
    const total = linear(scales.map((x) => ({ weight: 1, x })));
    return add(origin, div(sum, { op: "max", a: total, b: constant(SMALLEST_SUM) }));
  },
};

/** Tells of differences that have nothing to be scored by. */
function warnFlat({ name, others, warn }: MergeTask, clipped: readonly Clipped[]): void {
  const named = (has: (one: Clipped) => boolean): string[] => others.flatMap(({ model }, i) => (has(clipped[i] as Clipped) ? [model] : []));
  const [zero, flat] = [named(({ most }) => most === 0), named(({ least, most }) => most > 0 && least === most)];
  if (zero.length > 0)
    warn({ code: "difference-zero", message: `differences of ${name} are zero up to their upper quantile: they add nothing to it`, found: zero.join(", ") });
  if (flat.length > 0)
    warn({
      code: "magnitudes-alike",
      message: `differences of ${name} have one magnitude between their quantiles: their elements score alike`,
      found: flat.join(", "),
    });
}

interface Clipped {
  /** The magnitudes at the quantiles. */
  readonly least: number;
  readonly most: number;
  /** With the sign of the difference; zeros stay zero. */
  readonly value: Expr;
  /** The same but for magnitudes below the lower quantile, which stay as they are: for elements whose share of 0 makes their score 0. */
  readonly bounded: Expr;
  /** The magnitude from 0 to 1, with the sign of the difference. */
  readonly share: Expr;
}

async function winsorize(deltas: readonly Expr[], quantile: number, engine: TensorEngine): Promise<Clipped[]> {
  const { size } = engine;
  const clamp = (index: number) => Math.min(size - 1, Math.max(0, index));
  // The code's places in ascending order.
  const [low, high] = [clamp(Math.floor(size * quantile)), clamp(Math.floor(size * (1 - quantile)) - 1)];
  const found = await magnitudesAt(
    deltas.flatMap((x) => [
      { x, index: low },
      { x, index: high },
    ]),
    engine,
  );
  return deltas.map((x, i) => {
    const [least = 0, most = 0] = [found[2 * i], found[2 * i + 1]];
    const bounded = within(x, most);
    const value = signed(x, { op: "max", a: abs(bounded), b: constant(least) });
    if (!(most > least)) return { least, most, value, bounded, share: ZERO };
    const beyond = least > 0 ? sub(bounded, within(bounded, least)) : bounded;
    return { least, most, value, bounded, share: mul(beyond, constant(1 / (most - least))) };
  });
}

/** x from -bound to bound. */
const within = (x: Expr, bound: number): Expr => ({ op: "min", a: { op: "max", a: x, b: constant(0 - bound) }, b: constant(bound) });

/** With the sign of x; 0 where x is 0. */
const signed = (x: Expr, size: Expr): Expr => mul(sub(compare("gt", x, ZERO), compare("lt", x, ZERO)), size);

/** The magnitude at a place in ascending order, counted from 0. */
async function magnitudesAt(items: readonly { readonly x: Expr; readonly index: number }[], engine: TensorEngine): Promise<number[]> {
  const selections = await engine.selectLargest(items.map(({ x, index }) => ({ x, keep: engine.size - index, ties: false as const })));
  const lowest = items.some(({ index }) => index === 0)
    ? await smallest(
        items.map(({ x }) => x),
        engine,
      )
    : [];
  return items.map(({ index }, i) => (index === 0 ? (lowest[i] ?? 0) : (selections[i]?.threshold ?? 0)));
}

/** The smallest magnitude: the inverse of the largest inverse. */
async function smallest(xs: readonly Expr[], engine: TensorEngine): Promise<number[]> {
  const inverses = await engine.reduce(xs.map((x) => ({ op: "maxAbs", x: div(constant(1), x) })));
  return inverses.map((inverse) => Math.fround(1 / inverse));
}

function scoresOf(deltas: readonly Expr[], clipped: readonly Clipped[], variant: number): Expr[] {
  const count = deltas.length;
  const sumOf = (xs: readonly Expr[]): Expr => linear(xs.map((x) => ({ weight: 1, x })));
  const shares = clipped.map(({ share }) => share);
  // A pair agrees either way round.
  const agreements = variant === 3 ? shares.map((share, i) => shares.slice(0, i + 1).map((other) => nearTanh(mul(other, share)))) : [];
  const inter = (i: number): Expr => {
    if (variant === 3) return sumOf(shares.map((_, j) => agreements[Math.max(i, j)]?.[Math.min(i, j)] as Expr));
    return tanh(mul(deltas[i] as Expr, sumOf(variant === 1 ? deltas : shares)));
  };
  return shares.map((share, i) => mul(exp(mul(share, share), count, count), inter(i))).map(kept);
}

interface Range {
  readonly least: number;
  readonly most: number;
}

/** Of each score where its best share begins, and its largest. */
function bestRanges(scores: readonly Expr[], ratio: number, engine: TensorEngine): Promise<Range[]> {
  return scoreRanges(scores, engine.size - Math.min(engine.size - 1, Math.floor(engine.size * (1 - ratio))), engine);
}

/** Scores below the best share as 0, the best as 1. */
function scaleOf(score: Expr, { least, most }: Range): Expr {
  if (!(most > least)) return compare("ge", score, constant(least));
  return mul(sub({ op: "max", a: score, b: constant(least) }, constant(least)), constant(1 / (most - least)));
}

/** For each score its `keep`-th largest value, by sign and not by magnitude, and its largest: one pass where `keep` of them are positive, as nearly always. */
async function scoreRanges(scores: readonly Expr[], keep: number, engine: TensorEngine): Promise<Range[]> {
  const above = scores.map((x): Expr => ({ op: "max", a: x, b: ZERO }));
  const { selections, results } = await engine.selectAndSurvey(
    above.map((x) => ({ x, keep, ties: false as const })),
    above.map((x): Reduction => ({ op: "maxAbs", x })),
  );
  const ranges = scores.map((_, i): Range => ({ least: selections[i]?.threshold ?? 0, most: results[i] ?? 0 }));
  const others = scores.filter((_, i) => !isPositive(ranges[i] as Range));
  const found = others.length === 0 ? [] : await rangesOfFewPositive(others, keep, engine);
  return ranges.map((range) => (isPositive(range) ? range : (found.shift() as Range)));
}

const isPositive = ({ least }: Range): boolean => least > 0;

async function rangesOfFewPositive(scores: readonly Expr[], keep: number, engine: TensorEngine): Promise<Range[]> {
  const parts = scores.map((x) => ({ above: { op: "max", a: x, b: ZERO } as Expr, below: { op: "min", a: x, b: ZERO } as Expr }));
  const counts = await engine.reduce(
    parts.flatMap(({ above, below }): Reduction[] => [
      { op: "countNonZero", x: above },
      { op: "countNonZero", x: below },
      { op: "maxAbs", x: above },
      { op: "maxAbs", x: div(constant(1), below) },
    ]),
  );
  const ranges = parts.map((part, i) => {
    const [positive = 0, negative = 0, most = 0, inverse = 0] = counts.slice(4 * i, 4 * i + 4);
    const top = positive > 0 ? most : negative < engine.size ? 0 : -1 / inverse;
    // Among positive scores the threshold is the keep-th magnitude; among negative ones, counted from the other end.
    const past = keep - (engine.size - negative);
    if (keep <= positive) return { top, item: { x: part.above, keep }, sign: 1 };
    return past <= 0 ? { top, item: undefined, sign: 0 } : { top, item: { x: part.below, keep: negative - past + 1 }, sign: -1 };
  });
  const selections = await engine.selectLargest(ranges.flatMap(({ item }) => (item === undefined ? [] : { ...item, ties: false as const })));
  let at = 0;
  return ranges.map(({ top, item, sign }) => ({ most: top, least: item === undefined ? 0 : sign * (selections[at++]?.threshold ?? 0) }));
}
