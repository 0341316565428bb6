// One tensor of all models -> its sums. One pass counts magnitudes, among which the thresholds of the trim are found; one pass sums up all else, of what
// the trim keeps too. Inputs that fit the budget are read from disk once.
import type { TensorEngine } from "../compute/engine.ts";
import {
  abs as absolute,
  add,
  compare,
  constant,
  div,
  type Expr,
  input,
  linear,
  type MagnitudeSelection,
  mul,
  type Reduction,
  select,
  sub,
} from "../compute/expr.ts";
import { MOST_PATTERN_VECTORS, signOf } from "../compute/sign-patterns.ts";
import { compactCounts } from "./magnitude-counts.ts";
import { patternsIn } from "./sign-patterns.ts";
import { type ModelSums, type PairSums, pairsOf, type Sums } from "./sums.ts";

const ZERO = constant(0);
const ONE = constant(1);

/** @param hasBase whether input 0 is the base @param density share of elements that the trim keeps, at least one per tensor */
export async function measureTensor(engine: TensorEngine, hasBase: boolean, density: number): Promise<Sums> {
  const weights = Array.from({ length: engine.inputCount }, (_, i) => input(i));
  const [base, ...others] = weights;
  const vectors = hasBase ? others.map((x) => sub(x, base as Expr)) : weights;
  const keep = Math.max(1, Math.floor(density * engine.size));
  const items = vectors.map((x) => ({ x, keep }));
  const { selections, counts } = await engine.selectAndSurvey(items, [], vectors);
  const trimmed = vectors.map((a, i): Expr => ({ op: "trim", a, selection: selections[i] as MagnitudeSelection }));
  const sums = await allSums(engine, hasBase ? [base as Expr, ...vectors] : vectors, vectors, trimmed);
  const models = sums.models.map((model, i): ModelSums => ({ ...model, magnitudes: compactCounts(counts[i] as Float64Array) }));
  return { elements: engine.size, ...sums, models };
}

type CountedModel = Omit<ModelSums, "magnitudes">;

/** What remains to be summed up once the trims are known, in one pass. */
async function allSums(engine: TensorEngine, spanning: readonly Expr[], vectors: readonly Expr[], trimmed: readonly Expr[]) {
  const products = spanning.flatMap((_, i) => spanning.slice(i).map((_, k): [number, number] => [i, i + k]));
  const balance = linear(trimmed.map((x) => ({ weight: 1, x })));
  const elected = select(compare("ge", balance, ZERO), ONE, constant(-1));
  const agreeing = trimmed.map((x) => positivePart(mul(x, elected)));
  const byPattern = vectors.length <= MOST_PATTERN_VECTORS;
  const { results, patterns } = await engine.survey(
    [
      ...products.map(([i, j]): Reduction => ({ op: "dot", x: spanning[i] as Expr, y: spanning[j] as Expr })),
      ...vectors.map((x): Reduction => ({ op: "maxAbs", x })),
      ...trimmed.flatMap((x, i) => [x, agreeing[i] as Expr].map((y): Reduction => ({ op: "sumSquares", x: y }))),
      ...(byPattern ? [] : [...signReductions(vectors), ...trimmedReductions(trimmed, agreeing)]),
    ],
    [],
    byPattern ? [{ xs: vectors }, { xs: trimmed, elected: balance }] : [],
  );
  const next = reader(results);
  const gram = spanning.map(() => new Array<number>(spanning.length).fill(0));
  for (const [i, j] of products) {
    const product = next();
    (gram[i] as number[])[j] = product;
    (gram[j] as number[])[i] = product;
  }
  const largest = vectors.map(next);
  const energies = vectors.map(() => ({ keptEnergy: next(), electedEnergy: next() }));
  const [all, ofTrimmed] = patterns;
  const signs = all === undefined ? readSigns(next, vectors.length, engine.size) : signsOf(all, vectors.length);
  const kept = ofTrimmed === undefined ? readTrimmed(next, vectors.length) : trimmedOf(ofTrimmed, vectors.length);
  const models = energies.map((energy, i): CountedModel => {
    return { nonZero: signs.nonZero[i] as number, largest: largest[i] as number, ...energy, ...(kept.models[i] as Kept) };
  });
  const pairs = signs.pairs.map((pair, i): PairSums => ({ ...pair, ...(kept.pairs[i] as KeptPair) }));
  return { gram, models, pairs, agreement: signs.agreement, signCounts: signs.signCounts };
}

interface Signs {
  readonly nonZero: number[];
  readonly pairs: Pick<PairSums, "both" | "opposite">[];
  readonly agreement: number;
  readonly signCounts: number[];
}

/** What the patterns of signs say. */
function signsOf(counts: Float64Array, vectors: number): Signs {
  const patterns = patternsIn(counts, vectors);
  const total = (of: (signs: readonly number[]) => number) => patterns.reduce((sum, { signs, count }) => sum + count * of(signs), 0);
  const sumOf = (signs: readonly number[]) => signs.reduce((sum, sign) => sum + sign, 0);
  const present = (signs: readonly number[]) => signs.filter((sign) => sign !== 0).length;
  return {
    nonZero: Array.from({ length: vectors }, (_, i) => total((signs) => Math.abs(signs[i] as number))),
    pairs: pairsOf(vectors).map(([i, j]) => ({
      both: total((signs) => Math.abs((signs[i] as number) * (signs[j] as number))),
      opposite: total((signs) => Number((signs[i] as number) * (signs[j] as number) < 0)),
    })),
    agreement: total((signs) => (present(signs) === 0 ? 1 : Math.abs(sumOf(signs)) / present(signs))),
    signCounts: Array.from({ length: 2 * vectors + 1 }, (_, at) => total((signs) => Number(sumOf(signs) === at - vectors))),
  };
}

/** The same questions one by one, for more vectors than patterns have room for. */
function signReductions(vectors: readonly Expr[]): Reduction[] {
  const signs = vectors.map(signOf);
  const balance = linear(signs.map((x) => ({ weight: 1, x })));
  return [
    ...vectors.map((x): Reduction => ({ op: "countNonZero", x })),
    ...pairsOf(vectors.length).flatMap(([i, j]) => pairCounts(signs[i] as Expr, signs[j] as Expr)),
    { op: "sum", x: agreementOf(signs) },
    ...signSums(signs.length).map((sum): Reduction => ({ op: "countNonZero", x: compare("eq", balance, constant(sum)) })),
  ];
}

function readSigns(next: () => number, vectors: number, size: number): Signs {
  const nonZero = Array.from({ length: vectors }, next);
  const pairs = pairsOf(vectors).map(() => ({ both: next(), opposite: next() }));
  return { nonZero, pairs, agreement: next(), signCounts: completeCounts(signSums(vectors).map(next), size) };
}

type Kept = Pick<ModelSums, "kept" | "elected">;
type KeptPair = Pick<PairSums, "keptBoth" | "keptOpposite">;

interface Trimmed {
  readonly models: Kept[];
  readonly pairs: KeptPair[];
}

/** What the patterns of signs after the trim say, and the counts after them of what has the elected sign. */
function trimmedOf(counts: Float64Array, vectors: number): Trimmed {
  const { nonZero, pairs } = signsOf(counts, vectors);
  const models = nonZero.map((kept, i): Kept => ({ kept, elected: counts[3 ** vectors + i] as number }));
  return { models, pairs: pairs.map(({ both, opposite }) => ({ keptBoth: both, keptOpposite: opposite })) };
}

/** The same one by one. */
function trimmedReductions(trimmed: readonly Expr[], agreeing: readonly Expr[]): Reduction[] {
  const signs = trimmed.map(signOf);
  return [
    ...trimmed.flatMap((x, i) => [x, agreeing[i] as Expr].map((y): Reduction => ({ op: "countNonZero", x: y }))),
    ...pairsOf(trimmed.length).flatMap(([i, j]) => pairCounts(signs[i] as Expr, signs[j] as Expr)),
  ];
}

function readTrimmed(next: () => number, vectors: number): Trimmed {
  const models = Array.from({ length: vectors }, (): Kept => ({ kept: next(), elected: next() }));
  return { models, pairs: pairsOf(vectors).map(() => ({ keptBoth: next(), keptOpposite: next() })) };
}

const positivePart = (x: Expr): Expr => select(compare("gt", x, ZERO), x, ZERO);

function pairCounts(a: Expr, b: Expr): Reduction[] {
  const product = mul(a, b);
  return [
    { op: "countNonZero", x: product },
    { op: "countNonZero", x: compare("lt", product, ZERO) },
  ];
}

/** Sums that the signs of `count` vectors can have, but for 0, which is what remains. */
const signSums = (count: number): number[] => Array.from({ length: 2 * count + 1 }, (_, i) => i - count).filter((sum) => sum !== 0);

const completeCounts = (counts: readonly number[], size: number): number[] =>
  counts.toSpliced(
    counts.length / 2,
    0,
    counts.reduce((rest, count) => rest - count, size),
  );

/** |positive - negative| / (positive + negative), 1 where there is neither. */
function agreementOf(signs: readonly Expr[]): Expr {
  const present = signs.map(absolute).reduce(add);
  return select(present, div(absolute(signs.reduce(add)), present), ONE);
}

/** Hands out results in the order in which they were asked for. */
function reader(values: readonly number[]): () => number {
  let at = 0;
  return () => values[at++] ?? Number.NaN;
}
