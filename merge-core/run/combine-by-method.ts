// Merges the adapters of a module by a method of recipes: their changes are what models differ by from a base of zeros. Node only.
import { isProduct, type ProductTerm, type Term } from "../adapters/changes.ts";
import type { RecipeCombination } from "../adapters/combine.ts";
import { type Reduced, reduceRankSteps, relativeDistance, stack } from "../adapters/low-rank.ts";
import type { CombinedModule } from "../adapters/plan-combination.ts";
import type { LoadRows } from "../compute/linalg/rows.ts";
import { inTurns } from "../compute/linalg/steps.ts";
import { inputError, nearestName } from "../diagnostics.ts";
import { mergeAlong } from "../methods/knots.ts";
import type { MergeInput, MergeMethod, MergeTask } from "../methods/method.ts";
import { numberOf } from "../methods/parameters.ts";
import { findMethod } from "../methods/registry.ts";
import { isMatrix } from "../methods/whole-matrices.ts";
import { isLegal, legalValues } from "../recipe/resolve-parameters.ts";
import { combineDense, type DenseContext, denseBytes } from "./combine-dense.ts";

/** A method and its parameters by the names that recipes have for them. */
export interface ChosenMethod {
  readonly method: MergeMethod;
  /** Those of single models among them, but for the weights, which each adapter has. */
  readonly parameters: Readonly<Record<string, number>>;
}

export interface ByMethodContext extends Omit<DenseContext, "heldBytes"> {
  /** Adapter folders. */
  readonly adapters: readonly string[];
  readonly warn: MergeTask["warn"];
}

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

/** Bytes of a module's changes while the method merges them: factors set side by side, or what dense ones need and the method besides. */
export function methodBytes(module: CombinedModule, { method }: ChosenMethod): number {
  const { inFeatures, outFeatures } = module.layer;
  const [shape, count] = [[outFeatures, inFeatures], module.sources.length];
  if (method.id === "knots" && isMatrix({ shape }) && module.sources.every(({ dense }) => dense === undefined))
    return 24 * module.sources.reduce((sum, { rank }) => sum + rank, 0) * (inFeatures * count + outFeatures);
  return denseBytes(module) + (method.workingBytes?.(shape, count, {}) ?? 0);
}

/** The merged change of the rank that the module is to have; `relativeError` is the distance from the exact sum. */
export function combineByMethod(module: CombinedModule, terms: readonly Term[], chosen: ChosenMethod, context: ByMethodContext): Promise<Reduced> {
  const task = taskOf(module, terms, chosen, context);
  if (chosen.method.id === "knots" && isMatrix(task) && terms.every(isProduct)) return alongFactors(task, terms, module.rank, context);
  return combineDense(module, terms, (engine) => chosen.method.merge(task, engine), { ...context, heldBytes: methodBytes(module, chosen) });
}

function taskOf({ path, layer }: CombinedModule, terms: readonly Term[], { parameters }: ChosenMethod, { adapters, seed, warn }: ByMethodContext): MergeTask {
  const base: MergeInput = { index: terms.length, model: "zeros", modelIndex: 0, isBase: true, parameters };
  const others = terms.map(({ index, weight }, i): MergeInput => {
    return { index: i, model: adapters[index] ?? "", modelIndex: index + 1, isBase: false, parameters: { ...parameters, weight } };
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
