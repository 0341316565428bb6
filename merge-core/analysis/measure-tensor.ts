// One tensor of all models -> its sums. One pass for inner products, counts and signs; the thresholds of the trim; one pass
// over what the trim keeps. Inputs that fit the budget are read from disk once.
import type { TensorEngine } from "../compute/engine.ts";
import { abs as absolute, add, compare, constant, div, type Expr, input, linear, mul, type Reduction, select, sub } from "../compute/expr.ts";
import { compactCounts } from "./magnitude-counts.ts";
import { type ModelSums, type PairSums, pairsOf, type Sums } from "./sums.ts";

const ZERO = constant(0);
const ONE = constant(1);

/** @param hasBase whether input 0 is the base @param density share of elements that the trim keeps, at least one per tensor */
export async function measureTensor(engine: TensorEngine, hasBase: boolean, density: number): Promise<Sums> {
  const weights = Array.from({ length: engine.inputCount }, (_, i) => input(i));
  const [base, ...others] = weights;
  const vectors = hasBase ? others.map((x) => sub(x, base as Expr)) : weights;
  const dense = await denseSums(engine, hasBase ? [base as Expr, ...vectors] : vectors, vectors);
  const histograms = await engine.magnitudeCounts(vectors);
  const keep = Math.max(1, Math.floor(density * engine.size));
  const selections = await engine.selectLargest(vectors.map((x) => ({ x, keep })));
  const trimmed = vectors.map((a, i): Expr => ({ op: "trim", a, selection: selections[i] as (typeof selections)[number] }));
  const sparse = await sparseSums(engine, trimmed);
  return {
    elements: engine.size,
    gram: dense.gram,
    agreement: dense.agreement,
    signCounts: completeCounts(dense.signCounts, engine.size),
    models: vectors.map((_, i) => ({
      ...(dense.models[i] as Dense),
      magnitudes: compactCounts(histograms[i] as Float64Array),
      ...(sparse.models[i] as Sparse),
    })),
    pairs: dense.pairs.map((pair, i) => ({ ...pair, ...(sparse.pairs[i] as SparsePair) })),
  };
}

type Dense = Pick<ModelSums, "nonZero" | "largest">;
type Sparse = Pick<ModelSums, "kept" | "keptEnergy" | "elected" | "electedEnergy">;
type SparsePair = Pick<PairSums, "keptBoth" | "keptOpposite">;

async function denseSums(engine: TensorEngine, spanning: readonly Expr[], vectors: readonly Expr[]) {
  const products = spanning.flatMap((_, i) => spanning.slice(i).map((_, k): [number, number] => [i, i + k]));
  const signs = vectors.map(signOf);
  const balance = linear(signs.map((x) => ({ weight: 1, x })));
  const results = reader(
    await engine.reduce([
      ...products.map(([i, j]): Reduction => ({ op: "dot", x: spanning[i] as Expr, y: spanning[j] as Expr })),
      ...vectors.flatMap((x): Reduction[] => [
        { op: "countNonZero", x },
        { op: "maxAbs", x },
      ]),
      ...pairsOf(vectors.length).flatMap(([i, j]) => pairCounts(signs[i] as Expr, signs[j] as Expr)),
      { op: "sum", x: agreementOf(signs) },
      ...signSums(signs.length).map((sum): Reduction => ({ op: "countNonZero", x: compare("eq", balance, constant(sum)) })),
    ]),
  );
  const gram = spanning.map(() => new Array<number>(spanning.length).fill(0));
  for (const [i, j] of products) {
    const product = results();
    for (const [row, column] of [
      [i, j],
      [j, i],
    ] as const)
      (gram[row] as number[])[column] = product;
  }
  const models = vectors.map((): Dense => ({ nonZero: results(), largest: results() }));
  const pairs = pairsOf(vectors.length).map(() => ({ both: results(), opposite: results() }));
  return { gram, models, pairs, agreement: results(), signCounts: signSums(vectors.length).map(results) };
}

async function sparseSums(engine: TensorEngine, trimmed: readonly Expr[]) {
  const positive = compare("ge", linear(trimmed.map((x) => ({ weight: 1, x }))), ZERO);
  const agreeing = trimmed.map((x) => select(select(positive, compare("gt", x, ZERO), compare("lt", x, ZERO)), x, ZERO));
  const signs = trimmed.map(signOf);
  const results = reader(
    await engine.reduce([
      ...trimmed.flatMap((x, i) =>
        [x, agreeing[i] as Expr].flatMap((y): Reduction[] => [
          { op: "countNonZero", x: y },
          { op: "sumSquares", x: y },
        ]),
      ),
      ...pairsOf(trimmed.length).flatMap(([i, j]) => pairCounts(signs[i] as Expr, signs[j] as Expr)),
    ]),
  );
  const models = trimmed.map((): Sparse => ({ kept: results(), keptEnergy: results(), elected: results(), electedEnergy: results() }));
  const pairs = pairsOf(trimmed.length).map((): SparsePair => ({ keptBoth: results(), keptOpposite: results() }));
  return { models, pairs };
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
