// CMA-ES (Hansen, "The CMA evolution strategy: a tutorial", 1604.00772, with negative weights for the covariance), ask and tell.
// A box is kept by repair: costs are taken at the nearest point inside, plus a penalty for the distance to it.
import { symmetricEigen } from "../compute/linalg/symmetric-eigen.ts";
import { RandomStream } from "./random-stream.ts";

export interface CmaOptions {
  readonly mean: readonly number[];
  /** First step size, the same in every coordinate. */
  readonly sigma: number;
  readonly seed: number;
  /** Default 4 + floor(3 ln n). */
  readonly population?: number;
  readonly low?: readonly number[];
  readonly high?: readonly number[];
}

export interface CmaCandidate {
  /** Where to measure: inside the box. */
  readonly x: readonly number[];
  /** Added to the measured cost when it is told. */
  readonly distance: number;
}

/** Constants of the tutorial's table 1. */
function constants(n: number, lambda: number) {
  const raw = Array.from({ length: lambda }, (_, i) => Math.log((lambda + 1) / 2) - Math.log(i + 1));
  const mu = Math.floor(lambda / 2);
  const [good, bad] = [raw.slice(0, mu), raw.slice(mu)];
  const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
  const squares = (list: readonly number[]) => sum(list.map((x) => x * x));
  const muEff = sum(good) ** 2 / squares(good);
  const muEffBad = bad.length === 0 ? 0 : sum(bad) ** 2 / squares(bad);
  const cc = (4 + muEff / n) / (n + 4 + (2 * muEff) / n);
  const c1 = 2 / ((n + 1.3) ** 2 + muEff);
  const cmu = Math.min(1 - c1, (2 * (0.25 + muEff + 1 / muEff - 2)) / ((n + 2) ** 2 + muEff));
  const cs = (muEff + 2) / (n + muEff + 5);
  const ds = 1 + 2 * Math.max(0, Math.sqrt((muEff - 1) / (n + 1)) - 1) + cs;
  const limit = Math.min(1 + c1 / cmu, 1 + (2 * muEffBad) / (muEff + 2), (1 - c1 - cmu) / (n * cmu));
  const badSum = Math.max(Number.MIN_VALUE, -sum(bad));
  const weights = raw.map((w, i) => (i < mu ? w / sum(good) : (w * limit) / badSum));
  const chi = Math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));
  return { mu, muEff, cc, c1, cmu, cs, ds, weights, chi };
}

/** What could not be measured is worse than all that could. */
const worth = (cost: number | undefined): number => (cost === undefined || Number.isNaN(cost) ? Number.POSITIVE_INFINITY : cost);

/** One search. `ask` gives a generation, `tell` takes its costs in the same order. */
export class CmaEs {
  readonly #n: number;
  readonly #lambda: number;
  readonly #k: ReturnType<typeof constants>;
  readonly #random: RandomStream;
  readonly #low: readonly number[] | undefined;
  readonly #high: readonly number[] | undefined;
  #mean: number[];
  #sigma: number;
  #c: Float64Array;
  #axes: readonly Float64Array[] = [];
  #lengths: number[] = [];
  #pathC: number[];
  #pathS: number[];
  #generation = 0;
  #asked: { z: number[]; y: number[]; distance: number }[] = [];
  #stop: string | undefined;

  constructor({ mean, sigma, seed, population, low, high }: CmaOptions) {
    const n = mean.length;
    this.#n = n;
    this.#lambda = population ?? 4 + Math.floor(3 * Math.log(n));
    this.#k = constants(n, this.#lambda);
    this.#random = new RandomStream(seed, "cma-es");
    this.#low = low;
    this.#high = high;
    this.#mean = [...mean];
    this.#sigma = sigma;
    this.#c = new Float64Array(n * n);
    for (let i = 0; i < n; i++) this.#c[i * n + i] = 1;
    this.#pathC = mean.map(() => 0);
    this.#pathS = mean.map(() => 0);
    this.#decompose();
  }

  get population(): number {
    return this.#lambda;
  }

  get sigma(): number {
    return this.#sigma;
  }

  /** The middle of the distribution, inside the box. */
  get mean(): readonly number[] {
    return this.#inside(this.#mean);
  }

  /** Why going on is of no use; undefined while it is. */
  get stopped(): string | undefined {
    return this.#stop;
  }

  ask(): CmaCandidate[] {
    this.#asked = Array.from({ length: this.#lambda }, () => this.#draw());
    return this.#asked.map(({ y, distance }) => ({ x: this.#inside(this.#at(y)), distance }));
  }

  /** Costs of the candidates last asked for; one that could not be measured is told as Infinity. */
  tell(costs: readonly number[]): void {
    const finite = costs.filter(Number.isFinite);
    const spread = finite.length === 0 ? 0 : Math.max(...finite) - Math.min(...finite);
    const penalised = this.#asked.map((c, i) => ({ ...c, cost: worth(costs[i]) + c.distance ** 2 * Math.max(spread, 1e-12) }));
    const sorted = penalised.sort((a, b) => (a.cost === b.cost ? a.distance - b.distance : a.cost - b.cost));
    this.#generation++;
    if (finite.length > 0) this.#update(sorted);
    const largest = this.#sigma * Math.sqrt(Math.max(...this.#lengths.map((d) => d * d)));
    if (!(largest > 1e-12)) this.#stop = "step size below 1e-12";
    else if (finite.length === costs.length && spread === 0) this.#stop = "all candidates of a generation measure the same";
  }

  #at(y: readonly number[]): number[] {
    return this.#mean.map((m, i) => m + this.#sigma * (y[i] ?? 0));
  }

  #inside(x: readonly number[]): number[] {
    return x.map((v, i) => Math.min(this.#high?.[i] ?? Number.POSITIVE_INFINITY, Math.max(this.#low?.[i] ?? Number.NEGATIVE_INFINITY, v)));
  }

  #draw(): { z: number[]; y: number[]; distance: number } {
    const z = this.#mean.map(() => this.#random.normal());
    const y = this.#mean.map((_, i) => z.reduce((sum, value, j) => sum + (this.#axes[j]?.[i] ?? 0) * (this.#lengths[j] ?? 0) * value, 0));
    const at = this.#at(y);
    const inside = this.#inside(at);
    return { z, y, distance: Math.hypot(...at.map((v, i) => (v - (inside[i] ?? 0)) / this.#sigma)) };
  }

  #update(sorted: readonly { z: number[]; y: number[] }[]): void {
    const { mu, muEff, cc, c1, cmu, cs, ds, weights, chi } = this.#k;
    const n = this.#n;
    const best = (of: "y" | "z", i: number) => sorted.slice(0, mu).reduce((sum, c, k) => sum + (weights[k] ?? 0) * (c[of][i] ?? 0), 0);
    const step = this.#mean.map((_, i) => best("y", i));
    this.#mean = this.#at(step);
    // C^(-1/2) of the step is the axes times the same mean of z.
    const white = this.#mean.map((_, j) => best("z", j));
    const turned = this.#mean.map((_, i) => white.reduce((sum, z, j) => sum + (this.#axes[j]?.[i] ?? 0) * z, 0));
    this.#pathS = this.#pathS.map((p, i) => (1 - cs) * p + Math.sqrt(cs * (2 - cs) * muEff) * (turned[i] ?? 0));
    const length = Math.hypot(...this.#pathS);
    const steady = length / Math.sqrt(1 - (1 - cs) ** (2 * this.#generation)) < (1.4 + 2 / (n + 1)) * chi;
    this.#pathC = this.#pathC.map((p, i) => (1 - cc) * p + (steady ? Math.sqrt(cc * (2 - cc) * muEff) * (step[i] ?? 0) : 0));
    this.#adapt(sorted, { c1, cmu, lost: steady ? 0 : c1 * cc * (2 - cc) });
    this.#sigma *= Math.exp(Math.min(1, (cs / ds) * (length / chi - 1)));
    this.#decompose();
  }

  /** Rank-one and rank-mu update of the covariance. */
  #adapt(sorted: readonly { z: number[]; y: number[] }[], { c1, cmu, lost }: { c1: number; cmu: number; lost: number }): void {
    const n = this.#n;
    const { weights } = this.#k;
    // A bad step is scaled to the length that keeps the covariance positive.
    const scaled = sorted.map(({ z }, k) => {
      const w = weights[k] ?? 0;
      return w >= 0
        ? w
        : (w * n) /
            Math.max(
              1e-300,
              z.reduce((sum, v) => sum + v * v, 0),
            );
    });
    const keep = 1 + lost - c1 - cmu * weights.reduce((a, b) => a + b, 0);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) {
        const many = sorted.reduce((sum, { y }, k) => sum + (scaled[k] ?? 0) * (y[i] ?? 0) * (y[j] ?? 0), 0);
        const value = keep * (this.#c[i * n + j] ?? 0) + c1 * (this.#pathC[i] ?? 0) * (this.#pathC[j] ?? 0) + cmu * many;
        this.#c[i * n + j] = value;
        this.#c[j * n + i] = value;
      }
    }
  }

  #decompose(): void {
    const { values, vectors } = symmetricEigen(Float64Array.from(this.#c), this.#n);
    this.#axes = Array.from({ length: this.#n }, (_, j) => vectors.subarray(j * this.#n, (j + 1) * this.#n));
    this.#lengths = Array.from(values, (value) => Math.sqrt(Math.max(value, 1e-300)));
  }
}
