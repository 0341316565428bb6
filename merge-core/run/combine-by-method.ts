// Merges the adapters of a module by a method of recipes: their changes are what models differ by from a base of zeros. Node only.
import { distanceFromDense, isProduct, nearestProduct, type ProductTerm, productOf, type Term } from "../adapters/changes.ts";
import type { RecipeCombination } from "../adapters/combine.ts";
import { type Reduced, reduceRankSteps, relativeDistance, stack } from "../adapters/low-rank.ts";
import type { CombinedModule } from "../adapters/plan-combination.ts";
import { loadMatrix } from "../compute/linalg/load-matrix.ts";
import type { MatrixSpace } from "../compute/linalg/matrix.ts";
import type { LoadRows } from "../compute/linalg/rows.ts";
import { inTurns } from "../compute/linalg/steps.ts";
import type { ComputePool } from "../compute/pool.ts";
import { type OpenTensor, openTensorEngine } from "../compute/tensor-engine.ts";
import type { TensorPlace } from "../compute/tensor-inputs.ts";
import { inputError, nearestName } from "../diagnostics.ts";
import { mergeAlong } from "../methods/knots.ts";
import type { MergeInput, MergeMethod, MergeTask } from "../methods/method.ts";
import { numberOf } from "../methods/parameters.ts";
import { findMethod } from "../methods/registry.ts";
import { isMatrix } from "../methods/whole-matrices.ts";
import { isLegal, legalValues } from "../recipe/resolve-parameters.ts";
import { buffersOf } from "./shared-buffers.ts";

/** A method and its parameters by the names that recipes have for them. */
export interface ChosenMethod {
  readonly method: MergeMethod;
  /** Those of single models among them, but for the weights, which each adapter has. */
  readonly parameters: Readonly<Record<string, number>>;
}

export interface ByMethodContext {
  readonly pool: ComputePool;
  readonly space: MatrixSpace;
  readonly rows: LoadRows;
  readonly memoryBytes: number;
  readonly seed: number;
  readonly signal: AbortSignal | undefined;
  /** Adapter folders. */
  readonly adapters: readonly string[];
  readonly warn: MergeTask["warn"];
}

/** What is left of the budget for tiles of the merge itself. */
const TILE_BYTES = 64 * 2 ** 20;
/** Of the base of zeros. */
const ZERO_BYTES = 2;

/** @throws WeightsmithError `unknown-parameter`, `parameter-range` */
export function chooseMethod(id: RecipeCombination, given: Readonly<Record<string, number>>): ChosenMethod {
  const method = findMethod(id);
  if (method === undefined) throw new TypeError(`no method ${id}`);
  const specs = method.parameters.filter(({ name }) => name !== "weight");
  for (const [name, value] of Object.entries(given)) {
    const spec = specs.find((known) => known.name === name);
    const names = specs.map((known) => known.name);
    const near = nearestName(name, names);
    if (spec === undefined)
      throw inputError("unknown-parameter", `${id} has no parameter of this name`, {
        found: name,
        expected: names.join(", "),
        ...(near === undefined ? {} : { remedy: `did you mean ${near}?` }),
      });
    if (!isLegal(spec, value)) throw inputError("parameter-range", `${name} is out of its range`, { found: String(value), expected: legalValues(spec) });
  }
  return { method, parameters: { ...Object.fromEntries(specs.map(({ name, default: value }) => [name, value ?? 0])), ...given } };
}

/** @throws WeightsmithError `memory-budget` if the changes of a module do not fit, before any of them is made */
export function checkMemory(modules: readonly CombinedModule[], { method }: ChosenMethod, memoryBytes: number): void {
  for (const module of modules) {
    const needed = heldBytes(module, method) + TILE_BYTES;
    if (needed > memoryBytes)
      throw inputError("memory-budget", `the memory budget is too small for the changes of ${module.path} by ${method.id}`, {
        found: `${Math.floor(memoryBytes / 2 ** 20)} MiB`,
        expected: `at least ${Math.ceil(needed / 2 ** 20)} MiB`,
        remedy: "raise --memory, or merge fewer adapters at a time",
      });
  }
}

/** Bytes of a module's changes while they are merged: as factors set side by side, or dense with their decomposition. */
function heldBytes({ layer: { inFeatures, outFeatures }, sources }: CombinedModule, method: MergeMethod): number {
  const shape = [outFeatures, inFeatures];
  const [size, count] = [outFeatures * inFeatures, sources.length];
  if (method.id === "knots" && isMatrix({ shape }) && sources.every(({ dense }) => dense === undefined))
    return 24 * sources.reduce((sum, { rank }) => sum + rank, 0) * (inFeatures * count + outFeatures);
  // A dense change that the next module has too is there twice, in float64.
  const whole = sources.filter(({ dense }) => dense !== undefined).length;
  return size * (ZERO_BYTES + 4 * count + 16 * whole + 20) + (method.workingBytes?.(shape, count, {}) ?? 0);
}

/** The merged change of the rank that the module is to have; `relativeError` is the distance from the exact sum. */
export function combineByMethod(module: CombinedModule, terms: readonly Term[], chosen: ChosenMethod, context: ByMethodContext): Promise<Reduced> {
  const task = taskOf(module, terms, chosen, context);
  if (chosen.method.id === "knots" && isMatrix(task) && terms.every(isProduct)) return alongFactors(task, terms, module.rank, context);
  return throughEngine(task, terms, module, chosen.method, context);
}

function taskOf({ path, layer }: CombinedModule, terms: readonly Term[], { parameters }: ChosenMethod, { adapters, seed, warn }: ByMethodContext): MergeTask {
  const base: MergeInput = { index: 0, model: "zeros", modelIndex: 0, isBase: true, parameters };
  const others = terms.map(({ index, weight }, i): MergeInput => {
    return { index: i + 1, model: adapters[index] ?? "", modelIndex: index + 1, isBase: false, parameters: { ...parameters, weight } };
  });
  return { name: path, shape: [layer.outFeatures, layer.inFeatures], inputs: [base, ...others], base, others, parameters, seed, warn };
}

/** KnOTS without a dense matrix: [D_1 ... D_n] is [B_1 ... B_n] times a diagonal of the A_i, and what comes of its directions is a product again. */
async function alongFactors(task: MergeTask, terms: readonly ProductTerm[], rank: number, { space, rows }: ByMethodContext): Promise<Reduced> {
  const sum = stack(terms);
  const { inFeatures, outFeatures } = sum;
  const ranks = terms.map(({ factors }) => factors.r);
  const whole = { ...sum, inFeatures: inFeatures * terms.length };
  const { a, bt, r } = await inTurns(reduceRankSteps(whole, sum.r, rows, alongDiagonal(rows, ranks, inFeatures)), space.pause);
  // Orthogonal rows, as long as the singular values.
  const values = Float64Array.from({ length: r }, (_, k) => lengthOf(bt.subarray(k * outFeatures, (k + 1) * outFeatures)));
  const right = space.zeros(r, a.length / r);
  right.data.set(a);
  const merged = await mergeAlong(task, { values, right }, Math.min(r, outFeatures), space);
  const alpha = numberOf(task, "alpha");
  const left = bt.slice(0, merged.rows * outFeatures).map((x, at) => (alpha * x) / (values[Math.floor(at / outFeatures)] as number));
  const product = { r: merged.rows, inFeatures, outFeatures, a: Float64Array.from(merged.data), bt: left };
  const reduced = await inTurns(reduceRankSteps(product, rank, rows), space.pause);
  return { ...reduced, relativeError: relativeDistance(reduced, sum, rows) };
}

/** Rows of a matrix of which only the blocks along the diagonal are stored: those of each adapter begin where its inputs do, and are zero elsewhere. */
function alongDiagonal(load: LoadRows, ranks: readonly number[], width: number): LoadRows {
  return (x, rows) => {
    const firsts = ranks.map((_, t) => ranks.slice(0, t).reduce((sum, r) => sum + r, 0));
    const blocks = ranks.map((r, t) => load(x.subarray((firsts[t] as number) * width, ((firsts[t] as number) + r) * width), r, width));
    return {
      gram() {
        const out = new Float64Array(rows * rows);
        for (const [t, block] of blocks.entries()) copyBlock(block.gram(), ranks[t] as number, out, rows, firsts[t] as number, firsts[t] as number);
        return out;
      },
      sums(coefficients, count) {
        const out = new Float64Array(count * width * ranks.length);
        for (const [t, block] of blocks.entries()) {
          const [first, r] = [firsts[t] as number, ranks[t] as number];
          const own = Float64Array.from({ length: count * r }, (_, at) => coefficients[Math.floor(at / r) * rows + first + (at % r)] as number);
          copyBlock(block.sums(own, count), width, out, width * ranks.length, 0, t * width);
        }
        return out;
      },
      free: () => {
        for (const block of blocks) block.free();
      },
    };
  };
}

/** Puts a matrix of `width` columns into one of `columns`. */
function copyBlock(block: Float64Array, width: number, into: Float64Array, columns: number, row: number, column: number): void {
  for (let i = 0; i < block.length / width; i++) into.set(block.subarray(i * width, (i + 1) * width), (row + i) * columns + column);
}

const lengthOf = (x: Float64Array): number => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));

/** Any method, on the dense changes of this module. */
async function throughEngine(task: MergeTask, terms: readonly Term[], module: CombinedModule, method: MergeMethod, context: ByMethodContext): Promise<Reduced> {
  const { pool, space, rows, seed, signal } = context;
  const buffers = buffersOf(pool);
  let engine: OpenTensor | undefined;
  try {
    const size = module.layer.outFeatures * module.layer.inFeatures;
    const changes = terms.map((term) => denseChange(term, new Float32Array(buffers.take(size * 4).buffer, 0, size), space));
    const zeros: TensorPlace = { dtype: "BF16", bytes: buffers.take(size * ZERO_BYTES).fill(0) };
    const inputs = [zeros, ...changes.map((values): TensorPlace => ({ dtype: "F32", bytes: new Uint8Array(values.buffer, 0, size * 4) }))];
    const memoryBytes = Math.max(TILE_BYTES, context.memoryBytes - heldBytes(module, method));
    engine = openTensorEngine(pool, { name: task.name, shape: task.shape, seed, inputs, output: { dtype: "F32" }, memoryBytes, signal });
    const merged = await loadMatrix(engine, space, await method.merge(task, engine));
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
