// Bayesian MAP (Li et al. 2024, section 4): after a first batch, samples go where the surrogates are wrong. The directions of the coefficients are
// divided into bins of equal angle, and bins are drawn by how badly each objective's surrogate fits there.
// Unlike the released code: the bootstrap draws afresh each time, new points join the residuals, bins without points come first, and points stay in the box.
import { finishMap, fitAll, type MapOutcome, type MapProblem, type MapSettings, type Measured, measureAll, measureSome } from "./map.ts";
import { type Box, mapSamples } from "./map-samples.ts";
import { RandomStream } from "./random-stream.ts";
import { predict, type Surrogate } from "./surrogate.ts";

/** More coefficients would have too many bins to fill. */
export const MOST_BAYESIAN_COEFFICIENTS = 6;

const ROUNDS = 4;
const RESAMPLES = 30;
const DROPPED = 0.2;
const EXPLORE = 0.5;
const TEMPERATURE = 0.07;
/** Closest to the lower corner that points are drawn, as a fraction of the way to the box's edge. */
const NEAREST = 0.2;

export async function runBayesianMap(problem: MapProblem, settings: MapSettings): Promise<MapOutcome> {
  const first = Math.max(problem.box.low.length + 1, Math.ceil(settings.samples / 2));
  const random = new RandomStream(settings.seed, "bayesian map");
  const samples = await measureAll(problem, mapSamples(problem.box, first, settings.seed), { kind: "sample" });
  const rest = Math.max(0, settings.samples - first);
  for (let round = 0; round < ROUNDS; round++) {
    const count = Math.floor((rest * (round + 1)) / ROUNDS) - Math.floor((rest * round) / ROUNDS);
    const surrogates = fitAll(problem.links, samples);
    const points = Array.from({ length: count }, (_, i) => drawPoint(problem.box, samples, surrogates, i % surrogates.length, random));
    samples.push(...(await measureSome(problem, points, { kind: "sample" })));
  }
  return finishMap(problem, settings, samples);
}

const binsPerAngle = (n: number): number => (n < 4 ? 4 : 2);

function drawPoint(box: Box, samples: readonly Measured[], surrogates: readonly Surrogate[], objective: number, random: RandomStream): number[] {
  const n = box.low.length;
  const bins = binsPerAngle(n);
  const surrogate = surrogates[objective];
  const residuals = new Map<number, number[]>();
  for (const { x, values } of samples) {
    const bin = binOf(anglesOf(toUnit(box, x)), bins);
    const error = surrogate === undefined ? 0 : (predict(surrogate, x) - (values[objective] ?? 0)) ** 2;
    residuals.set(bin, [...(residuals.get(bin) ?? []), error]);
  }
  const bin = drawBin(bins ** (n - 1), residuals, random);
  const angles = Array.from({ length: n - 1 }, (_, k) => ((Math.floor(bin / bins ** k) % bins) + random.uniform()) * (Math.PI / 2 / bins));
  const direction = fromAngles(angles);
  const edge = 1 / Math.max(...direction);
  const radius = edge * (NEAREST + (1 - NEAREST) * random.uniform());
  return direction.map((d, i) => (box.low[i] ?? 0) + d * radius * ((box.high[i] ?? 0) - (box.low[i] ?? 0)));
}

/** Softmax over mean residual plus its uncertainty, relative to the largest; a bin without points counts as the worst. */
function drawBin(count: number, residuals: ReadonlyMap<number, readonly number[]>, random: RandomStream): number {
  const known = new Map([...residuals].map(([bin, list]) => [bin, mean(list) + EXPLORE * bootstrapDeviation(list, random)]));
  const worst = Math.max(Number.MIN_VALUE, ...known.values());
  const weights = Array.from({ length: count }, (_, bin) => Math.exp(((known.get(bin) ?? worst) / worst - 1) / TEMPERATURE));
  let left = random.uniform() * weights.reduce((a, b) => a + b, 0);
  for (const [bin, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return bin;
  }
  return count - 1;
}

const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;

/** Standard deviation of the mean over resamples that each leave out a fifth. */
function bootstrapDeviation(list: readonly number[], random: RandomStream): number {
  const kept = Math.max(1, Math.round(list.length * (1 - DROPPED)));
  const means = Array.from({ length: RESAMPLES }, () => mean(random.shuffled(list).slice(0, kept)));
  const middle = mean(means);
  return Math.sqrt(mean(means.map((m) => (m - middle) ** 2)));
}

const toUnit = ({ low, high }: Box, x: readonly number[]): number[] => x.map((v, i) => (v - (low[i] ?? 0)) / ((high[i] ?? 0) - (low[i] ?? 0)));

/** Hyperspherical angles of a vector without negative entries, each in 0..pi/2. */
export function anglesOf(u: readonly number[]): number[] {
  return u.slice(0, -1).map((x, i) => Math.atan2(Math.hypot(...u.slice(i + 1)), x));
}

/** The unit vector at these angles. */
export function fromAngles(angles: readonly number[]): number[] {
  let rest = 1;
  const direction = angles.map((angle) => {
    const x = rest * Math.cos(angle);
    rest *= Math.sin(angle);
    return x;
  });
  return [...direction, rest];
}

function binOf(angles: readonly number[], bins: number): number {
  return angles.reduce((sum, angle, k) => sum + Math.min(bins - 1, Math.floor((angle / (Math.PI / 2)) * bins)) * bins ** k, 0);
}
