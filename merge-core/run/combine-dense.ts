// Merges the dense changes of one module by a formula over them, in tiles on the pool, and takes the nearest product of the rank that is wanted. Node only.
import { distanceFromDense, isProduct, nearestProduct, type ProductTerm, productOf, type Term } from "../adapters/changes.ts";
import type { Operator } from "../adapters/combine.ts";
import { type Reduced, relativeDistance, stack } from "../adapters/low-rank.ts";
import type { CombinedModule } from "../adapters/plan-combination.ts";
import type { TensorEngine } from "../compute/engine.ts";
import { bernoulli, constant, div, type Expr, input, linear, scale, select, trim } from "../compute/expr.ts";
import { loadMatrix } from "../compute/linalg/load-matrix.ts";
import type { MatrixSpace } from "../compute/linalg/matrix.ts";
import type { LoadRows } from "../compute/linalg/rows.ts";
import type { ComputePool } from "../compute/pool.ts";
import { type OpenTensor, openTensorEngine } from "../compute/tensor-engine.ts";
import type { TensorPlace } from "../compute/tensor-inputs.ts";
import { inputError } from "../diagnostics.ts";
import { agreement } from "../methods/task-vectors.ts";
import { buffersOf } from "./shared-buffers.ts";

export interface DenseContext {
  readonly pool: ComputePool;
  readonly space: MatrixSpace;
  readonly rows: LoadRows;
  readonly memoryBytes: number;
  /** Of these, what the changes and their decomposition take. */
  readonly heldBytes: number;
  readonly seed: number;
  readonly signal: AbortSignal | undefined;
}

/** The merged change in terms of `input(i)`, the change of the i-th adapter; a base of zeros is the input after them. */
export type ChangeFormula = (engine: TensorEngine) => Expr | Promise<Expr>;

/** What is left of the budget for tiles of the merge itself. */
const TILE_BYTES = 64 * 2 ** 20;
/** Of an element of the base of zeros. */
const ZERO_BYTES = 2;

/** Bytes of a module's dense changes, of their merge and of its decomposition. */
export function denseBytes({ layer: { inFeatures, outFeatures }, sources }: CombinedModule): number {
  // A change that is no product is there in float64, and that of the next module beside it.
  const whole = sources.filter(({ dense }) => dense !== undefined).length;
  return inFeatures * outFeatures * (ZERO_BYTES + 4 * sources.length + 16 * whole + 20);
}

/** @throws WeightsmithError `memory-budget` if the changes of a module do not fit, to be told before any of them is made */
export function checkFits({ path }: CombinedModule, heldBytes: number, memoryBytes: number): void {
  const needed = heldBytes + TILE_BYTES;
  if (needed <= memoryBytes) return;
  throw inputError("memory-budget", `the memory budget is too small for the changes of ${path}`, {
    found: `${Math.floor(memoryBytes / 2 ** 20)} MiB`,
    expected: `at least ${Math.ceil(needed / 2 ** 20)} MiB`,
    remedy: "raise --memory, or merge fewer adapters at a time",
  });
}

/** `relativeError` is the distance from the exact sum. */
export async function combineDense(module: CombinedModule, terms: readonly Term[], formula: ChangeFormula, context: DenseContext): Promise<Reduced> {
  const { pool, space, rows, seed, signal } = context;
  const { inFeatures, outFeatures } = module.layer;
  const buffers = buffersOf(pool);
  let engine: OpenTensor | undefined;
  try {
    const size = outFeatures * inFeatures;
    const changes = terms.map((term) => denseChange(term, new Float32Array(buffers.take(size * 4).buffer, 0, size), space));
    const zeros: TensorPlace = { dtype: "BF16", bytes: buffers.take(size * ZERO_BYTES).fill(0) };
    const inputs = [...changes.map((values): TensorPlace => ({ dtype: "F32", bytes: new Uint8Array(values.buffer, 0, size * 4) })), zeros];
    const memoryBytes = Math.max(TILE_BYTES, context.memoryBytes - context.heldBytes);
    const shape = [outFeatures, inFeatures];
    engine = openTensorEngine(pool, { name: module.path, shape, seed, inputs, output: { dtype: "F32" }, memoryBytes, signal });
    const merged = await loadMatrix(engine, space, await formula(engine));
    const result = await nearestProduct(merged, module.rank, space);
    const relativeError = terms.every(isProduct) ? relativeDistance(result, stack(terms), rows) : distanceFromDense(result, weightedSum(changes, terms));
    return { ...result, relativeError };
  } finally {
    engine?.close();
    buffers.release();
  }
}

function denseChange(term: Term, into: Float32Array, space: MatrixSpace): Float32Array {
  const product = isProduct(term) ? productOf(term.factors, space) : undefined;
  into.set(product?.data ?? (term as Exclude<Term, ProductTerm>).delta);
  if (product !== undefined) space.free(product);
  return into;
}

function weightedSum(changes: readonly Float32Array[], terms: readonly Term[]): Float64Array {
  const sum = new Float64Array(changes[0]?.length ?? 0);
  for (const [t, { weight }] of terms.entries()) for (let i = 0; i < sum.length; i++) sum[i]! += weight * (changes[t]?.[i] as number);
  return sum;
}

/** PEFT's operators. The election of signs is not weighted, and what agrees is divided by its number, not by its weights. */
export function peftFormula(
  operator: Operator,
  terms: readonly Term[],
  options: { readonly density: number; readonly majority: "total" | "frequency" },
): ChangeFormula {
  return async (engine) => {
    const values = await pruned(operator, terms, options.density, engine);
    const weighted = (x: readonly Expr[]): Expr => linear(x.map((value, i) => ({ weight: terms[i]?.weight ?? 1, x: value })));
    if (operator !== "ties" && operator !== "dare_ties") return weighted(values);
    const masks = agreement(values, options.majority === "frequency");
    const agreeing = weighted(values.map((value, i) => select(masks[i] as Expr, value, constant(0))));
    const count = linear(masks.map((x) => ({ weight: 1, x })));
    return div(agreeing, { op: "max", a: count, b: constant(1) });
  };
}

async function pruned(operator: Operator, terms: readonly Term[], density: number, engine: TensorEngine): Promise<Expr[]> {
  const inputs = terms.map((_, i) => input(i));
  if (operator === "linear" || density >= 1) return inputs;
  if (operator === "dare_linear" || operator === "dare_ties")
    return inputs.map((x, i) => select(bernoulli(constant(density), { model: terms[i]?.index ?? i, purpose: 0 }), scale(x, 1 / density), constant(0)));
  const selections = await engine.selectLargest(inputs.map((x) => ({ x, keep: Math.floor(density * engine.size) })));
  return inputs.map((x, i) => trim(x, selections[i] as NonNullable<(typeof selections)[number]>));
}
