// What adapters that are to be merged have in common: how long their changes are, and where they point one way, the other way or neither. Node only.
import { isProduct, productOf, type Term } from "../adapters/changes.ts";
import { reduceRankSteps, stack } from "../adapters/low-rank.ts";
import { planCombination } from "../adapters/plan-combination.ts";
import { readAdapter } from "../adapters/read-adapter.ts";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import type { MatrixSpace } from "../compute/linalg/matrix.ts";
import { poolSpace } from "../compute/linalg/pool-space.ts";
import { type LoadRows, poolRows } from "../compute/linalg/rows.ts";
import { inTurns } from "../compute/linalg/steps.ts";
import { createPool } from "../compute/pool.ts";
import { type Diagnostic, throwIfCancelled } from "../diagnostics.ts";
import { ARENA_SLACK_BYTES, defaultMemoryBytes } from "./memory.ts";
import { readTerms } from "./read-terms.ts";

export interface CompareAdaptersRequest {
  /** Adapter folders. */
  readonly adapters: readonly string[];
  readonly base?: Checkpoint | undefined;
  readonly threads?: number;
  readonly memoryBytes?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (done: number, total: number, module: string) => void;
}

/** One adapter's change of a module. */
export interface ChangeMeasures {
  /** Position among the adapters. */
  readonly adapter: number;
  /** Frobenius norm. */
  readonly norm: number;
  /** exp of the entropy of the singular values' shares (Roy and Vetterli, 2007): how many directions it really has. Null where it is no product. */
  readonly effectiveRank: number | null;
}

/** Two adapters, in one module or in all that both change. */
export interface PairMeasures {
  readonly first: number;
  readonly second: number;
  /** Of the angle between the changes; null where one is zero. */
  readonly cosine: number | null;
  /** Share of the elements that both change in which they have one sign. */
  readonly signAgreement: number | null;
  /** |second| / |first| */
  readonly normRatio: number | null;
}

export interface AdapterComparison {
  readonly adapters: readonly string[];
  /** Over all modules that both have, taken together. */
  readonly pairs: readonly (PairMeasures & { readonly modules: number })[];
  readonly modules: readonly { readonly module: string; readonly changes: readonly ChangeMeasures[]; readonly pairs: readonly PairMeasures[] }[];
  readonly warnings: readonly Diagnostic[];
}

/** @throws WeightsmithError `adapter-*`, `cancelled` */
export async function compareAdapters(request: CompareAdaptersRequest): Promise<AdapterComparison> {
  const { adapters: folders, base, signal } = request;
  const adapters = [];
  for (const folder of folders) adapters.push(await readAdapter(folder, signal === undefined ? {} : { signal }));
  const plan = planCombination(adapters, { method: "exact", base });
  const files = new TensorReader();
  const pool = createPool({ threads: request.threads ?? 1, maxMemoryBytes: (request.memoryBytes ?? defaultMemoryBytes()) + ARENA_SLACK_BYTES });
  const totals = new Map<string, PairSums & { modules: number }>();
  const modules: AdapterComparison["modules"][number][] = [];
  try {
    for (const [i, module] of plan.modules.entries()) {
      throwIfCancelled(signal);
      request.onProgress?.(i, plan.modules.length, module.path);
      const space = poolSpace(pool, signal);
      try {
        const terms = await readTerms(module, plan, [], files);
        const { changes, pairs } = await measure(terms, space, poolRows(pool));
        modules.push({ module: module.path, changes, pairs: pairs.map(measuresOf) });
        for (const pair of pairs) addTo(totals, pair);
      } finally {
        space.close();
      }
    }
    request.onProgress?.(plan.modules.length, plan.modules.length, "");
    const pairs = [...totals.values()].map((sums) => ({ ...measuresOf(sums), modules: sums.modules }));
    return { adapters: folders, pairs, modules, warnings: plan.findings };
  } finally {
    await files.close();
    await pool.close();
  }
}

/** Sums over elements, which add up over modules. */
interface PairSums {
  readonly first: number;
  readonly second: number;
  readonly dot: number;
  readonly squares: readonly [number, number];
  /** Elements that both change, and those of them with one sign. */
  readonly both: number;
  readonly agreeing: number;
}

async function measure(terms: readonly Term[], space: MatrixSpace, rows: LoadRows): Promise<{ changes: ChangeMeasures[]; pairs: PairSums[] }> {
  const dense = terms.map((term) => (isProduct(term) ? productOf(term.factors, space).data : term.delta));
  const changes: ChangeMeasures[] = [];
  for (const [i, term] of terms.entries()) {
    const norm = Math.sqrt(sumOfSquares(dense[i] as ArrayLike<number>));
    changes.push({ adapter: term.index, norm, effectiveRank: isProduct(term) ? await effectiveRank(term, space, rows) : null });
  }
  const pairs = terms.flatMap((one, i) =>
    terms.slice(i + 1).map((other, k) => pairSums([one.index, other.index], dense[i] as ArrayLike<number>, dense[i + 1 + k] as ArrayLike<number>)),
  );
  return { changes, pairs };
}

async function effectiveRank(term: Extract<Term, { factors: unknown }>, space: MatrixSpace, rows: LoadRows): Promise<number> {
  const sum = stack([term]);
  const { bt, r, outFeatures } = await inTurns(reduceRankSteps(sum, sum.r, rows), space.pause);
  const values = Array.from({ length: r }, (_, k) => Math.sqrt(sumOfSquares(bt.subarray(k * outFeatures, (k + 1) * outFeatures))));
  const total = values.reduce((x, y) => x + y, 0);
  if (total === 0) return 0;
  const entropy = values.reduce((before, value) => before - (value > 0 ? (value / total) * Math.log(value / total) : 0), 0);
  return Math.exp(entropy);
}

function pairSums([first, second]: readonly [number, number], x: ArrayLike<number>, y: ArrayLike<number>): PairSums {
  let [dot, both, agreeing] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    const product = (x[i] as number) * (y[i] as number);
    dot += product;
    if (product !== 0) both++;
    if (product > 0) agreeing++;
  }
  return { first, second, dot, squares: [sumOfSquares(x), sumOfSquares(y)], both, agreeing };
}

function sumOfSquares(x: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] as number) ** 2;
  return sum;
}

function measuresOf({ first, second, dot, squares: [x, y], both, agreeing }: PairSums): PairMeasures {
  return {
    ...{ first, second },
    cosine: x > 0 && y > 0 ? dot / Math.sqrt(x * y) : null,
    signAgreement: both > 0 ? agreeing / both : null,
    normRatio: x > 0 ? Math.sqrt(y / x) : null,
  };
}

function addTo(totals: Map<string, PairSums & { modules: number }>, pair: PairSums): void {
  const key = `${pair.first} ${pair.second}`;
  const before = totals.get(key) ?? { ...pair, dot: 0, squares: [0, 0] as const, both: 0, agreeing: 0, modules: 0 };
  totals.set(key, {
    ...pair,
    dot: before.dot + pair.dot,
    squares: [before.squares[0] + pair.squares[0], before.squares[1] + pair.squares[1]],
    both: before.both + pair.both,
    agreeing: before.agreeing + pair.agreeing,
    modules: before.modules + 1,
  });
}
