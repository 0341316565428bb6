// CoPA-Merging (Zeng et al., 2025; RobustMerge at NeurIPS 2025): LoRA factors are pruned to their largest elements, and each rank of a task
// scaled by how much of its row of A the pruning took, in proportion to the other tasks. Paper and released code differ, and both are
// here. Paper: every task keeps its own product B_t S_t A_t, so the sum is an adapter of all ranks together. Code: factors are added up
// across tasks, which mixes one task's B with another's A and applies the weight twice, and scales below the 80th percentile of a
// task are raised to it. Scales alpha / r go into B first, where the code takes them for equal. A row of A that is pruned to
// nothing has no scale (the code divides by zero): it takes the task's largest.
import type { LowRank } from "./family.ts";
import type { Factors } from "./low-rank.ts";

export interface CopaTerm {
  readonly factors: LowRank;
  readonly weight: number;
}

/** Share of the ranks whose scales are left as they are. */
const FREE_SHARE = 0.2;

/** @param density share of each factor that is kept; the authors' is 0.2, with weights of 2 */
export function copa(terms: readonly CopaTerm[], density: number, variant: "paper" | "released"): Factors {
  const pruned = terms.map(({ factors, weight }) => ({
    a: prune(factors.a, density),
    b: prune(factors.b, density),
    factor: weight * factors.scale,
    scale: factors.scale,
    weight,
    factors,
  }));
  const scales = pruned.map(({ a, factors }) => rowScales(factors, a, variant));
  const [first] = terms;
  if (first === undefined) throw new TypeError("nothing to combine");
  const { r, inFeatures, outFeatures } = first.factors;
  const total = Array.from({ length: r }, (_, q) => scales.reduce((sum, own) => sum + (own[q] as number), 0));
  const ranks = variant === "paper" ? r * terms.length : r;
  const a = new Float64Array(ranks * inFeatures);
  const bt = new Float64Array(ranks * outFeatures);
  for (const [t, term] of pruned.entries())
    for (let q = 0; q < r; q++) {
      const row = variant === "paper" ? t * r + q : q;
      const share = (scales[t]?.[q] as number) / (total[q] as number);
      const own = variant === "paper" ? 1 : term.weight;
      for (let i = 0; i < inFeatures; i++) a[row * inFeatures + i]! += own * (term.a[q * inFeatures + i] as number);
      for (let o = 0; o < outFeatures; o++) bt[row * outFeatures + o]! += term.factor * share * (term.b[o * r + q] as number);
    }
  return { r: ranks, inFeatures, outFeatures, a, bt };
}

/** The largest by magnitude; all that equal the least of them stay, as in the code. */
function prune(values: ArrayLike<number>, density: number): Float64Array {
  const sizes = Float64Array.from(values, Math.abs).sort();
  const limit = sizes[Math.min(sizes.length - 1, Math.floor(sizes.length * (1 - density)))] ?? 0;
  return Float64Array.from(values, (x) => (Math.abs(x) >= limit ? x : 0));
}

/** Per rank, the magnitude of its row of A before over that after pruning; at least 1. */
function rowScales({ a, r, inFeatures }: LowRank, pruned: Float64Array, variant: "paper" | "released"): number[] {
  const sizeOf = (values: ArrayLike<number>, q: number) => {
    let sum = 0;
    for (let i = 0; i < inFeatures; i++) sum += Math.abs(values[q * inFeatures + i] as number);
    return sum;
  };
  const ratios = Array.from({ length: r }, (_, q) => sizeOf(a, q) / sizeOf(pruned, q));
  const largest = ratios.filter(Number.isFinite).reduce((most, x) => Math.max(most, x), 1);
  const scales = ratios.map((x) => (Number.isFinite(x) ? x : largest));
  if (variant === "paper") return scales;
  const floor = [...scales].sort((x, y) => x - y)[Math.floor(r * (1 - FREE_SHARE))] ?? 1;
  return scales.map((x) => Math.max(x, floor));
}
