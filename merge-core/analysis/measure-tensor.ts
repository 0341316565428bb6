// One tensor of all models -> its sums. One pass for inner products, counts and signs, in which the thresholds of the trim are searched
// too; one pass over what the trim keeps. Inputs that fit the budget are read from disk once.
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
import { compactCounts } from "./magnitude-counts.ts";
import { MOST_PATTERN_VECTORS, patternOf, patternsIn, type SignPattern } from "./sign-patterns.ts";
import { type ModelSums, type PairSums, pairsOf, type Sums } from "./sums.ts";

const ZERO = constant(0);
const ONE = constant(1);

/** @param hasBase whether input 0 is the base @param density share of elements that the trim keeps, at least one per tensor */
export async function measureTensor(engine: TensorEngine, hasBase: boolean, density: number): Promise<Sums> {
  const weights = Array.from({ length: engine.inputCount }, (_, i) => input(i));
  const [base, ...others] = weights;
  const vectors = hasBase ? others.map((x) => sub(x, base as Expr)) : weights;
  const keep = Math.max(1, Math.floor(density * engine.size));
  const dense = await denseSums(engine, hasBase ? [base as Expr, ...vectors] : vectors, vectors, keep);
  const trimmed = vectors.map((a, i): Expr => ({ op: "trim", a, selection: dense.selections[i] as MagnitudeSelection }));
  const sparse = await sparseSums(engine, trimmed);
  return {
    elements: engine.size,
    gram: dense.gram,
    agreement: dense.agreement,
    signCounts: dense.signCounts,
    models: vectors.map((_, i) => ({
      ...(dense.models[i] as Dense),
      magnitudes: compactCounts(dense.histograms[i] as Float64Array),
      ...(sparse.models[i] as Sparse),
    })),
    pairs: dense.pairs.map((pair, i) => ({ ...pair, ...(sparse.pairs[i] as SparsePair) })),
  };
}

type Dense = Pick<ModelSums, "nonZero" | "largest">;
type Sparse = Pick<ModelSums, "kept" | "keptEnergy" | "elected" | "electedEnergy">;
type SparsePair = Pick<PairSums, "keptBoth" | "keptOpposite">;

async function denseSums(engine: TensorEngine, spanning: readonly Expr[], vectors: readonly Expr[], keep: number) {
  const products = spanning.flatMap((_, i) => spanning.slice(i).map((_, k): [number, number] => [i, i + k]));
  const signs = vectors.map(signOf);
  const byPattern = vectors.length <= MOST_PATTERN_VECTORS;
  const { selections, results, counts } = await engine.selectAndSurvey(
    vectors.map((x) => ({ x, keep })),
    [
      ...products.map(([i, j]): Reduction => ({ op: "dot", x: spanning[i] as Expr, y: spanning[j] as Expr })),
      ...vectors.map((x): Reduction => ({ op: "maxAbs", x })),
      ...(byPattern ? [] : signReductions(vectors, signs)),
    ],
    [...vectors, ...(byPattern ? [patternOf(signs)] : [])],
  );
  const next = reader(results);
  const gram = spanning.map(() => new Array<number>(spanning.length).fill(0));
  for (const [i, j] of products) {
    const product = next();
    (gram[i] as number[])[j] = product;
    (gram[j] as number[])[i] = product;
  }
  const largest = vectors.map(next);
  const found = byPattern
    ? signsOf(patternsIn(counts[vectors.length] as Float64Array, vectors.length), vectors.length)
    : readSigns(next, vectors.length, engine.size);
  const models = found.nonZero.map((nonZero, i): Dense => ({ nonZero, largest: largest[i] as number }));
  return { selections, gram, models, pairs: found.pairs, agreement: found.agreement, signCounts: found.signCounts, histograms: counts };
}

interface Signs {
  readonly nonZero: number[];
  readonly pairs: Pick<PairSums, "both" | "opposite">[];
  readonly agreement: number;
  readonly signCounts: number[];
}

/** What the patterns of signs say. */
function signsOf(patterns: readonly SignPattern[], vectors: number): Signs {
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
function signReductions(vectors: readonly Expr[], signs: readonly Expr[]): Reduction[] {
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

async function sparseSums(engine: TensorEngine, trimmed: readonly Expr[]): Promise<{ models: Sparse[]; pairs: SparsePair[] }> {
  const positive = compare("ge", linear(trimmed.map((x) => ({ weight: 1, x }))), ZERO);
  const agreeing = trimmed.map((x) => select(select(positive, compare("gt", x, ZERO), compare("lt", x, ZERO)), x, ZERO));
  const signs = trimmed.map(signOf);
  const byPattern = trimmed.length <= MOST_PATTERN_VECTORS;
  const countsOf = (x: Expr, i: number): Reduction[] => [x, agreeing[i] as Expr].map((y) => ({ op: "countNonZero", x: y }));
  const { results, counts } = await engine.survey(
    [
      ...trimmed.flatMap((x, i) => [x, agreeing[i] as Expr].map((y): Reduction => ({ op: "sumSquares", x: y }))),
      ...(byPattern ? [] : [...trimmed.flatMap(countsOf), ...pairsOf(trimmed.length).flatMap(([i, j]) => pairCounts(signs[i] as Expr, signs[j] as Expr))]),
    ],
    byPattern ? [patternOf(signs, positive)] : [],
  );
  const next = reader(results);
  const energies = trimmed.map(() => ({ keptEnergy: next(), electedEnergy: next() }));
  if (!byPattern) {
    const models = energies.map((energy): Sparse => ({ ...energy, kept: next(), elected: next() }));
    return { models, pairs: pairsOf(trimmed.length).map(() => ({ keptBoth: next(), keptOpposite: next() })) };
  }
  const patterns = patternsIn(counts[0] as Float64Array, trimmed.length);
  const kept = signsOf(patterns, trimmed.length);
  const models = energies.map((energy, i): Sparse => {
    const elected = patterns.filter(({ signs: found, flag }) => found[i] === (flag ? 1 : -1));
    return { ...energy, kept: kept.nonZero[i] as number, elected: elected.reduce((sum, { count }) => sum + count, 0) };
  });
  return { models, pairs: kept.pairs.map(({ both, opposite }) => ({ keptBoth: both, keptOpposite: opposite })) };
}

/** -1, 0 or 1. Products of signs cannot underflow as products of small changes can. */
const signOf = (x: Expr): Expr => sub(compare("gt", x, ZERO), compare("lt", x, ZERO));

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
