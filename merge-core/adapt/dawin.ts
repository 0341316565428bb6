// DaWin (Oh et al., ICLR 2025, 2410.03782): coefficients from how sure each model is of each sample, with no gradients. Several samples
// share one merge: components of a mixture are fitted to the samples' coefficients, one merge per component.
import { uniforms } from "../nn/random.ts";

/** exp(-H) of each model over their sum: samples x models. For two models the second is the coefficient of interpolation. */
export function entropyShares(entropies: readonly (readonly number[])[]): number[][] {
  return entropies.map((own) => {
    const least = Math.min(...own);
    const weights = own.map((h) => Math.exp(least - h));
    const sum = weights.reduce((total, w) => total + w, 0);
    return weights.map((w) => w / sum);
  });
}

/** Coefficients of task vectors from shares: scale * number of tasks * share, so that equal shares give task arithmetic. */
export const shareCoefficients = (shares: readonly number[], scale = 0.3): number[] => shares.map((share) => scale * shares.length * share);

export interface Mixture {
  /** Of each component, the mean of the samples' shares. */
  readonly means: readonly (readonly number[])[];
  /** Of each sample, the component it belongs to most. */
  readonly assignments: readonly number[];
}

interface Density {
  readonly logAt: (x: readonly number[]) => number;
  readonly mean: readonly number[];
  readonly alphas: readonly number[];
}

const CLIP = 1e-6;
const TOLERANCE = 1e-4;
const MAX_ROUNDS = 1000;
const RESTARTS = 3;

/** A mixture of Beta distributions over numbers in (0, 1), moments matched in each round of EM. Means are [1 - m, m]. */
export function betaMixture(values: readonly number[], components: number, seed = 0): Mixture {
  return fitMixture(
    values.map((value) => [1 - value, value]),
    components,
    seed,
  );
}

/** A mixture of Dirichlet distributions on the simplex; for two dimensions it is the mixture of Betas. */
export function fitMixture(shares: readonly (readonly number[])[], components: number, seed = 0): Mixture {
  const points = shares.map((own) => normalised(own.map((x) => Math.min(1 - CLIP, Math.max(CLIP, x)))));
  const count = Math.max(1, Math.min(components, points.length));
  const runs = Array.from({ length: count === 1 ? 1 : RESTARTS }, (_, restart) => expectationMaximisation(points, firstMembers(points, count, seed, restart)));
  return runs.reduce((best, run) => (run.likelihood > best.likelihood ? run : best)).mixture;
}

const normalised = (values: readonly number[]): number[] => {
  const sum = values.reduce((total, x) => total + x, 0);
  return values.map((x) => x / sum);
};

function expectationMaximisation(points: readonly (readonly number[])[], first: readonly (readonly number[])[]): { likelihood: number; mixture: Mixture } {
  let members = first;
  let likelihood = Number.NEGATIVE_INFINITY;
  for (let round = 0; ; round++) {
    const weights = members.map((own) => own.reduce((sum, r) => sum + r, 0) / points.length);
    const densities = members.map((own) => matchMoments(points, own));
    const logs = points.map((x) => densities.map(({ logAt }, k) => Math.log(Math.max(weights[k] ?? 0, 1e-300)) + logAt(x)));
    const sums = logs.map(logSumExp);
    const next = sums.reduce((total, x) => total + x, 0) / points.length;
    members = densities.map((_, k) => logs.map((own, i) => Math.exp((own[k] ?? 0) - (sums[i] ?? 0))));
    if (next - likelihood < TOLERANCE || round >= MAX_ROUNDS) {
      const assignments = logs.map((own) => own.indexOf(Math.max(...own)));
      return { likelihood: next, mixture: { means: densities.map(({ mean }) => mean), assignments } };
    }
    likelihood = next;
  }
}

/**
 * The Dirichlet distribution with the points' weighted mean, and a precision that matches their variances: a_i = f m_i with
 * f = sum m_i (1 - m_i) / sum var_i - 1, for two dimensions the Beta of the released code. The variance is at most a quarter of m (1 - m) there too.
 */
export function matchMoments(points: readonly (readonly number[])[], members: readonly number[]): Density {
  const total = Math.max(
    members.reduce((sum, r) => sum + r, 0),
    1e-12,
  );
  const dimensions = points[0]?.length ?? 0;
  const average = (of: (x: readonly number[]) => number) => points.reduce((sum, x, i) => sum + (members[i] ?? 0) * of(x), 0) / total;
  const mean = Array.from({ length: dimensions }, (_, k) => average((x) => x[k] ?? 0));
  const room = mean.reduce((sum, m) => sum + m * (1 - m), 0);
  const spread = mean.reduce((sum, m, k) => sum + average((x) => ((x[k] ?? 0) - m) ** 2), 0);
  const precision = room > 0 ? room / Math.min(room / 4, Math.max(spread, 1e-9)) - 1 : 1;
  const alphas = mean.map((m) => Math.max(precision * m, 1e-3));
  const norm = logGamma(alphas.reduce((sum, a) => sum + a, 0)) - alphas.reduce((sum, a) => sum + logGamma(a), 0);
  return { mean, alphas, logAt: (x) => norm + alphas.reduce((sum, a, k) => sum + (a - 1) * Math.log(x[k] ?? CLIP), 0) };
}

function logSumExp(values: readonly number[]): number {
  const most = Math.max(...values);
  return most + Math.log(values.reduce((sum, x) => sum + Math.exp(x - most), 0));
}

/** Rounds of k-means from random points. */
function firstMembers(points: readonly (readonly number[])[], count: number, seed: number, restart: number): number[][] {
  const draws = uniforms(seed, `mixture/${restart}`, count);
  const sorted = [...points].sort((a, b) => (a[0] ?? 0) - (b[0] ?? 0));
  // One start from each stretch of the first coordinate, so that no two coincide unless the points do.
  let centres = Array.from({ length: count }, (_, k) => sorted[Math.floor(((k + (draws[k] ?? 0)) / count) * points.length)] ?? []);
  let nearest: number[] = [];
  for (let round = 0; round < 100; round++) {
    nearest = points.map((x) => indexOfLeast(centres.map((centre) => centre.reduce((sum, c, k) => sum + (c - (x[k] ?? 0)) ** 2, 0))));
    const moved = centres.map((centre, k) => meanOf(points.filter((_, i) => nearest[i] === k)) ?? centre);
    if (moved.every((centre, k) => centre.every((c, d) => c === centres[k]?.[d]))) break;
    centres = moved;
  }
  // Samples that are all alike need fewer components.
  return [...new Set(nearest)].sort().map((k) => nearest.map((own) => (own === k ? 1 : 0)));
}

const indexOfLeast = (values: readonly number[]): number => values.indexOf(Math.min(...values));

function meanOf(points: readonly (readonly number[])[]): number[] | undefined {
  const [first] = points;
  return first?.map((_, k) => points.reduce((sum, x) => sum + (x[k] ?? 0), 0) / points.length);
}

/** log Gamma by Lanczos' approximation, about 15 digits for x > 0. */
export function logGamma(x: number): number {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  const shifted = x - 1;
  const sum = LANCZOS.slice(1).reduce((total, c, i) => total + c / (shifted + i + 1), LANCZOS[0] ?? 0);
  const t = shifted + 7.5;
  return 0.5 * Math.log(2 * Math.PI) + (shifted + 0.5) * Math.log(t) - t + Math.log(sum);
}

const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905, -0.13857109526572012,
  9.9843695780195716e-6, 1.5056327351493116e-7,
];
