// What task_arithmetic, ties and dare share: differences from the base, made sparse, weighted, added up and put back on
// the base. The order of steps and the guards are those that merge recipes in the field rely on:
//   d_i = sparsify(W_i - B);  v_i = w_i d_i;  X = sum v_i, or only the v_i that agree with the elected sign;
//   X /= sum of the weights that took part (if normalize);  R = B + lambda X.
import type { TensorEngine } from "../compute/engine.ts";
import { add, compare, constant, div, type Expr, input, linear, scale, select, sub } from "../compute/expr.ts";
import type { MergeInput, MergeMethod, MergeTask, ParameterSpec } from "./method.ts";
import { DENSITY, divideBy, flagOf, floatSum, normalizeFlag, numberOf, WEIGHT, weightOf } from "./parameters.ts";
import { wholeSelection, wholeVectorThresholds } from "./whole-vector.ts";

/** One model's difference from the base. */
export interface TaskVector {
  readonly model: MergeInput;
  readonly delta: Expr;
}

/** Makes all the differences of one tensor sparse; density 1 must leave one as it is. */
export type Sparsify = (vectors: readonly TaskVector[], task: MergeTask, engine: TensorEngine) => Promise<TaskVector[]> | TaskVector[];

/** `sum`: add all up. `elect`: per element, only what agrees in sign with the sum (TIES). */
export type Consensus = "sum" | "elect";

/** A sum of weights below this is taken for zero, and nothing is divided by it. */
const NO_WEIGHT = 1e-8;
/** A difference whose L1 norm is below this is not rescaled. */
const NO_NORM = 1e-7;

export const COUNT_ELECTION: ParameterSpec = {
  name: "count_election",
  scope: "global",
  type: "flag",
  default: 0,
  doc: "Elect the sign that most models have, each with one vote, instead of the sign of the weighted sum.",
};

/** Parameters every method of the family takes, with the defaults that differ. */
export function taskVectorParameters(defaults: { normalize: 0 | 1; rescale: 0 | 1 }, ...extra: readonly ParameterSpec[]): ParameterSpec[] {
  return [
    WEIGHT,
    { ...DENSITY, range: { min: 0, max: 1 } },
    { name: "lambda", scope: "global", type: "number", default: 1, doc: "Factor for the merged difference before it is added to the base." },
    normalizeFlag(defaults.normalize),
    {
      name: "rescale",
      scope: "global",
      type: "flag",
      default: defaults.rescale,
      doc: "After dropping elements, scale each difference back to its old L1 norm.",
    },
    { name: "int8_mask", scope: "global", type: "flag", default: 0, doc: "Accepted for compatibility; the result does not depend on it." },
    ...extra,
  ];
}

/** The `merge` function of one member of the family. */
export function mergeTaskVectors(sparsify: Sparsify, consensus: Consensus): MergeMethod["merge"] {
  return async (task, engine) => {
    const { base, others } = task;
    if (base === undefined) throw new TypeError("task vectors need a base");
    const origin = input(base.index);
    if (others.length === 0) return origin;
    const dense = others.map((model) => ({ model, delta: sub(input(model.index), origin) }));
    const sparse = sparsify === keepAll ? dense : await thin(sparsify, dense, task, engine);
    const merged = consensus === "elect" ? electedSum(sparse, task) : plainSum(sparse, task);
    return add(origin, merged);
  };
}

/** Of a difference of density 0 nothing is left, which no draw or selection need find out. */
async function thin(sparsify: Sparsify, vectors: readonly TaskVector[], task: MergeTask, engine: TensorEngine): Promise<TaskVector[]> {
  const kept = vectors.filter(({ model }) => densityOf(model) > 0);
  const sparse = new Map((await sparsify(kept, task, engine)).map((vector) => [vector.model, vector]));
  return vectors.map((vector) => sparse.get(vector.model) ?? { ...vector, delta: constant(0) });
}

function plainSum(vectors: readonly TaskVector[], task: MergeTask): Expr {
  const sum = linear(vectors.map(({ model, delta }) => ({ weight: weightOf(model), x: delta })));
  const total = floatSum(vectors.map(({ model }) => weightOf(model)));
  const normalized = flagOf(task, "normalize") && Math.abs(total) >= NO_WEIGHT ? divideBy(sum, total) : sum;
  return scaleUnlessOne(normalized, numberOf(task, "lambda"));
}

/** Keeps of the weighted differences, per element, what agrees with the sign of their sum. */
function electedSum(vectors: readonly TaskVector[], task: MergeTask): Expr {
  const weighted = vectors.map(({ model, delta }) => scale(delta, weightOf(model)));
  const masks = agreement(weighted, task.parameters[COUNT_ELECTION.name] === 1);
  const agreeing = vectors.map(({ model }, i) => ({ model, value: weighted[i] ?? constant(0), agrees: masks[i] ?? constant(0) }));
  const sum = linear(agreeing.map(({ value, agrees }) => ({ weight: 1, x: select(agrees, value, constant(0)) })));
  const lambda = numberOf(task, "lambda");
  if (!flagOf(task, "normalize")) return scaleUnlessOne(sum, lambda);
  const weights = linear(agreeing.map(({ model, agrees }) => ({ weight: weightOf(model), x: agrees })));
  const divisor = select(weights, weights, constant(1));
  return scaleUnlessOne(div(sum, divisor), lambda);
}

/** Per value 1 where its sign is that of the sum, or of the most values (zero counts as positive), else 0; zeros never agree. */
export function agreement(values: readonly Expr[], byCount = false): Expr[] {
  const zero = constant(0);
  const voteOf = (x: Expr): Expr => (byCount ? sub(compare("gt", x, zero), compare("lt", x, zero)) : x);
  const positive = compare("ge", linear(values.map((x) => ({ weight: 1, x: voteOf(x) }))), zero);
  return values.map((value) => select(positive, compare("gt", value, zero), compare("lt", value, zero)));
}

/**
 * Scales each sparse difference so that its L1 norm is that of the dense one. Differences that were not
 * thinned out, or whose norms are too small to divide by, stay as they are.
 */
export async function restoreNorms(dense: readonly TaskVector[], sparse: readonly TaskVector[], engine: TensorEngine): Promise<TaskVector[]> {
  const thinned = sparse.flatMap((vector, i) => (vector.delta === dense[i]?.delta ? [] : [{ i, before: dense[i]?.delta, after: vector.delta }]));
  if (thinned.length === 0) return [...sparse];
  const norms = await engine.reduce(thinned.flatMap(({ before, after }) => [before ?? after, after].map((x) => ({ op: "sumAbs" as const, x }))));
  const factors = new Map(thinned.map(({ i }, k) => [i, normRatio(norms[2 * k] ?? 0, norms[2 * k + 1] ?? 0)]));
  return sparse.map((vector, i) => ({ ...vector, delta: scaleUnlessOne(vector.delta, factors.get(i) ?? 1) }));
}

const normRatio = (before: number, after: number): number => (before < NO_NORM || after < NO_NORM ? 1 : before / after);
const scaleUnlessOne = (x: Expr, factor: number): Expr => (factor === 1 ? x : scale(x, factor));

export const densityOf = (model: MergeInput): number => numberOf(model, "density");

/** Leaves every difference as it is. */
export const keepAll: Sparsify = (vectors) => [...vectors];

/** Elements of a difference that its density keeps, at least one. */
const keptOf = (model: MergeInput, size: number): number => Math.max(1, Math.floor(densityOf(model) * size));

const wholeKey = ({ model, modelIndex }: MergeInput): string => `kept ${modelIndex} ${model}`;

/** Thresholds of each model's difference as a whole, from the densities of all tensors. */
export const largestOfAll = wholeVectorThresholds(({ base, others }, size) =>
  others.every((model) => densityOf(model) >= 1)
    ? []
    : others.map((model) => ({ key: wholeKey(model), x: sub(input(model.index), input(base?.index ?? 0)), keep: keptOf(model, size) })),
);

/** Keeps the `density` largest elements by magnitude, at least one; ties go to the lowest index. */
export const keepLargest: Sparsify = async (vectors, task, engine) => {
  const whole = new Map(vectors.map((vector) => [vector, wholeSelection(task, wholeKey(vector.model))]));
  const thinned = vectors.filter((vector) => densityOf(vector.model) < 1 && whole.get(vector) === undefined);
  const items = thinned.map(({ model, delta }) => ({ x: delta, keep: keptOf(model, engine.size) }));
  const selections = items.length === 0 ? [] : await engine.selectLargest(items);
  const selected = new Map([...whole, ...thinned.map((vector, k) => [vector, selections[k]] as const)]);
  const sparse = vectors.map((vector) => {
    const selection = selected.get(vector);
    return selection === undefined ? vector : { ...vector, delta: { op: "trim" as const, a: vector.delta, selection } };
  });
  return flagOf(task, "rescale") ? restoreNorms(vectors, sparse, engine) : sparse;
};
