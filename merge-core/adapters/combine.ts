// Ways to combine the adapters of one module: the exact sum, and the combinations of PEFT's add_weighted_adapter with PEFT's
// numbers. Those that work on factors one by one (linear, ties, dare_*, magnitude_prune) mix one adapter's A with another's B,
// so they are not sums of the adapters' changes; how far they are from it is always told. Ways that need the dense changes are only named here.
import type { MatrixSpace } from "../compute/linalg/matrix.ts";
import type { LoadRows } from "../compute/linalg/rows.ts";
import { inTurns } from "../compute/linalg/steps.ts";
import { randomKey, uniforms } from "../compute/rng.ts";
import { isProduct, type ProductTerm, type Term } from "./changes.ts";
import { copa } from "./copa.ts";
import { type Factors, type Reduced, reduceRankSteps, relativeDistance, stack } from "./low-rank.ts";

const SUMS = ["exact", "cat", "svd"] as const;
const BY_FACTORS = ["linear", "ties", "dare_linear", "dare_ties", "magnitude_prune"] as const;
const ON_PRODUCTS = ["ties_svd", "dare_linear_svd", "dare_ties_svd", "magnitude_prune_svd"] as const;
/** Not PEFT's: checkpoints of one run, weighed by hand or by their losses or steps, and CoPA-Merging as its paper and as its code have it. */
const OF_PAPERS = ["average", "mwa", "copa", "copa_released"] as const;
/** Methods of recipes, which merge the changes as they merge models' differences from a base. */
const OF_RECIPES = ["knots", "pcb"] as const;
/** Orthogonal adapters one after another, as one. */
const IN_ORDER = ["compose"] as const;
export const COMBINATIONS = [...SUMS, ...BY_FACTORS, ...ON_PRODUCTS, ...OF_PAPERS, ...OF_RECIPES, ...IN_ORDER] as const;
export type Combination = (typeof COMBINATIONS)[number];
export type RecipeCombination = (typeof OF_RECIPES)[number];
export type ProductCombination = (typeof ON_PRODUCTS)[number];
/** PEFT's, on factors or on products. */
export type Operator = (typeof BY_FACTORS)[number];

export interface CombineOptions {
  readonly method: Exclude<Combination, RecipeCombination | ProductCombination | "compose">;
  /** Rank of the result, for methods that choose it. */
  readonly rank: number;
  /** Share of elements that ties, dare, magnitude_prune and copa keep. */
  readonly density: number;
  /** ties: sign of the sum, or of the number of signs. */
  readonly majority: "total" | "frequency";
  readonly seed: number;
  readonly module: string;
  readonly space: MatrixSpace;
  /** How rows of factors are multiplied; plainly by default. */
  readonly rows?: LoadRows;
}

export const isOfRecipes = (method: Combination): method is RecipeCombination => (OF_RECIPES as readonly string[]).includes(method);

export const isOnProducts = (method: Combination): method is ProductCombination => (ON_PRODUCTS as readonly string[]).includes(method);

export const worksOnFactors = (method: Combination): boolean => ([...BY_FACTORS, ...OF_PAPERS] as readonly string[]).includes(method);

/** Rank of a module's result. @param ranks of the adapters that have the module @param wanted as the user asked */
export function combinedRank(method: Combination, ranks: readonly number[], wanted: number | undefined, sides: readonly [number, number]): number {
  const sum = ranks.reduce((total, r) => total + r, 0);
  const largest = Math.max(...ranks);
  if (method === "cat" || method === "copa") return sum;
  if (worksOnFactors(method)) return largest;
  // The directions that KnOTS merges along are those of the factors.
  const keepsAll = method === "exact" || method === "knots";
  return Math.min(wanted ?? (keepsAll ? sum : largest), keepsAll ? sum : Number.POSITIVE_INFINITY, ...sides);
}

/** Whether the result holds all factors as they are, side by side. */
export const isStacked = (method: Combination, terms: readonly Term[], rank: number): terms is readonly ProductTerm[] =>
  isSum(method) && terms.every(isProduct) && rank === terms.reduce((sum, { factors }) => sum + factors.r, 0);

export const isSum = (method: Combination): method is (typeof SUMS)[number] => (SUMS as readonly string[]).includes(method);

/** Combines the adapters of a module by their factors; `relativeError` is the distance from the exact sum. */
export async function combine(terms: readonly ProductTerm[], options: CombineOptions): Promise<Reduced> {
  const { method, rank } = options;
  const sum = stack(terms);
  if (isStacked(method, terms, rank)) return { ...sum, relativeError: 0 };
  if (isSum(method)) return inTurns(reduceRankSteps(sum, rank, options.rows), options.space.pause);
  if (method === "average" || method === "mwa") return withDistance(averageFactors(terms), sum, options);
  if (method === "copa" || method === "copa_released")
    return withDistance(copa(terms, options.density, method === "copa" ? "paper" : "released"), sum, options);
  return withDistance(byFactors(terms, method, options), sum, options);
}

const withDistance = (result: Factors, sum: Factors, { rows }: CombineOptions): Reduced => ({ ...result, relativeError: relativeDistance(result, sum, rows) });

/** The weighted means of the factors themselves: right for checkpoints of one run, whose factors share a basis. */
function averageFactors(terms: readonly ProductTerm[]): Factors {
  const [first] = terms;
  if (first === undefined) throw new TypeError("nothing to combine");
  const { r, inFeatures, outFeatures } = first.factors;
  const a = new Float64Array(r * inFeatures);
  const bt = new Float64Array(r * outFeatures);
  for (const { factors, weight } of terms) {
    for (let i = 0; i < a.length; i++) a[i]! += weight * (factors.a[i] as number);
    for (let q = 0; q < r; q++) for (let o = 0; o < outFeatures; o++) bt[q * outFeatures + o]! += weight * factors.scale * (factors.b[o * r + q] as number);
  }
  return { r, inFeatures, outFeatures, a, bt };
}

/** Each side on its own; half of each weight goes to either, the sign to A. */
function byFactors(terms: readonly ProductTerm[], operator: Operator, options: CombineOptions): Factors {
  const weights = terms.map(({ factors, weight }) => factors.scale * weight);
  const halves = weights.map((w) => Math.sqrt(Math.abs(w)));
  const [{ factors } = { factors: undefined }] = terms;
  if (factors === undefined) throw new TypeError("nothing to combine");
  const { r, inFeatures, outFeatures } = factors;
  const side = (name: "a" | "b", signed: boolean) =>
    apply(
      operator,
      terms.map((term, i) => ({
        values: term.factors[name],
        weight: (halves[i] as number) * (signed && (weights[i] as number) < 0 ? -1 : 1),
        index: term.index,
      })),
      { ...options, name: `${options.module} ${name}` },
    );
  const b = side("b", false);
  const bt = Float64Array.from({ length: r * outFeatures }, (_, at) => b[(at % outFeatures) * r + Math.floor(at / outFeatures)] as number);
  return { r, inFeatures, outFeatures, a: side("a", true), bt };
}

interface Part {
  readonly values: ArrayLike<number>;
  readonly weight: number;
  readonly index: number;
}

/** PEFT's operator on tensors of one shape, element by element. */
function apply(
  operator: Operator,
  parts: readonly Part[],
  options: Pick<CombineOptions, "density" | "majority" | "seed"> & { readonly name: string },
): Float64Array {
  const pruned = parts.map((part) => ({ ...part, values: prune(operator, part, options) }));
  const length = pruned[0]?.values.length ?? 0;
  const elects = operator === "ties" || operator === "dare_ties";
  const out = new Float64Array(length);
  for (let i = 0; i < length; i++)
    out[i] = elects ? disjointMean(pruned, i, options.majority) : pruned.reduce((sum, { values, weight }) => sum + weight * (values[i] as number), 0);
  return out;
}

/** The mean of the weighted values that have the elected sign; the election itself is not weighted. */
function disjointMean(parts: readonly Part[], i: number, majority: "total" | "frequency"): number {
  let vote = 0;
  for (const { values } of parts) vote += majority === "total" ? (values[i] as number) : Math.sign(values[i] as number);
  const sign = vote >= 0 ? 1 : -1;
  let [sum, count] = [0, 0];
  for (const { values, weight } of parts) {
    const value = values[i] as number;
    if (Math.sign(value) !== sign) continue;
    sum += weight * value;
    count++;
  }
  return sum / Math.max(1, count);
}

function prune(operator: Operator, { values, index }: Part, { density, seed, name }: { density: number; seed: number; name: string }): ArrayLike<number> {
  if (operator === "linear" || density >= 1) return values;
  if (operator === "ties" || operator === "magnitude_prune") return largest(values, Math.floor(density * values.length));
  const random = uniforms(randomKey(seed, name), { model: index, purpose: 0 }, 0, values.length);
  return Float64Array.from(values, (x, i) => ((random[i] as number) < density ? x / density : 0));
}

/** The `count` largest by magnitude, the others zero; of equal ones at the limit the first. */
function largest(values: ArrayLike<number>, count: number): Float64Array {
  const sizes = Float64Array.from(values, Math.abs).sort();
  const limit = count === 0 ? Number.POSITIVE_INFINITY : (sizes[sizes.length - count] as number);
  let equal = count;
  for (let i = 0; i < values.length; i++) if (Math.abs(values[i] as number) > limit) equal--;
  return Float64Array.from(values, (x) => {
    const size = Math.abs(x);
    return size > limit || (size === limit && equal-- > 0) ? x : 0;
  });
}
