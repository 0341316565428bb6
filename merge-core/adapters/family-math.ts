// What a family makes of a layer, said once and evaluated in any algebra: in float64 to fold, in differentiable tensors to train.
import { type Algebra, transposed } from "./algebra/algebra.ts";
import type { LayerShape, Settings } from "./family-types.ts";

/** One module: its own tensors, those it shares, and those that follow from the base. */
export interface Part<T> {
  readonly layer: LayerShape;
  readonly settings: Settings;
  /** Path, where it is known: names what is drawn for this module alone. */
  readonly module: string;
  readonly tensors: Readonly<Record<string, T>>;
  /** Whole numbers. */
  readonly indices: Readonly<Record<string, ArrayLike<number>>>;
}

/** scale B A of A [r, in] and B [out, r]. */
export interface Factors<T> {
  readonly a: T;
  readonly b: T;
  readonly scale: number;
}

/** One pass over a batch. */
export interface Pass {
  /** Task of each row of the input. Every row is of task 0 where nobody says otherwise. */
  readonly tasks?: ArrayLike<number>;
  /** While training: numbers in [0, 1) that are drawn anew for each pass; the same name gives the same numbers. */
  readonly draw?: (stream: string, count: number) => ArrayLike<number>;
  /** How far training is, from 0 to 1. */
  readonly progress?: number;
  /** While training: keeps a running mean of values under the name of one of the module's tensors that are not trained. */
  readonly observe?: (module: string, name: string, values: ArrayLike<number>) => void;
}

/** At least one of these; training takes the first that there is, in this order, folding the first of the others. */
export interface FamilyMath {
  /** y' [rows, out] of x [rows, in]. @param linear x W^T + b */
  forward?<T>(m: Algebra<T>, part: Part<T>, x: T, linear: (x: T) => T, pass: Pass): T;
  /** The change as a product of two factors. @throws TypeError for a variant of the family that has none */
  lowRank?<T>(m: Algebra<T>, part: Part<T>, pass: Pass): Factors<T>;
  /** W' [out, in] of W. */
  weight?<T>(m: Algebra<T>, part: Part<T>, weight: T, pass: Pass): T;
  /** Of the module, added to the loss as a mean over modules: one number. */
  penalty?<T>(m: Algebra<T>, part: Part<T>): T;
  /** The low-rank change for one task, preference or mixture of experts, which `choice` names in the family's words. */
  chosen?<T>(m: Algebra<T>, part: Part<T>, choice: string): Factors<T>;
  /** Whether `lowRank` holds for these settings; by default it does where it is there. */
  isLowRank?(settings: Settings): boolean;
}

export const hasFactors = ({ lowRank, isLowRank }: FamilyMath, settings: Settings): boolean => lowRank !== undefined && (isLowRank?.(settings) ?? true);

/** A tensor that the family says is there. */
export function part<T>({ tensors }: Part<T>, name: string): T {
  const tensor = tensors[name];
  if (tensor === undefined) throw new TypeError(`the module has no ${name}`);
  return tensor;
}

export function indexOf<T>({ indices }: Part<T>, name: string): ArrayLike<number> {
  const index = indices[name];
  if (index === undefined) throw new TypeError(`the module has no ${name}`);
  return index;
}

/** scale x A^T B^T. */
export const throughFactors = <T>(m: Algebra<T>, x: T, { a, b, scale }: Factors<T>): T =>
  m.scale(m.matMul(m.matMul(x, a, { transposeB: true }), b, { transposeB: true }), scale);

/** A layer as it is applied; the weight, and with it x W^T, only where nothing shorter is known. */
export interface LayerInput<T> {
  /** [rows, in] */
  readonly x: T;
  /** The input of a change that is added to the layer's output: x itself, or with dropout. */
  readonly branch: T;
  /** [out, in] */
  readonly weight: T;
  readonly bias: T | undefined;
}

export function adaptedOutput<T>(m: Algebra<T>, math: FamilyMath, whole: Part<T>, { x, branch, weight, bias }: LayerInput<T>, pass: Pass): T {
  const through = (input: T, matrix: T) => {
    const y = m.matMul(input, matrix, { transposeB: true });
    return bias === undefined ? y : m.add(y, bias);
  };
  if (math.forward !== undefined) return math.forward(m, whole, branch, (input) => through(input === branch ? x : input, weight), pass);
  if (math.lowRank !== undefined && hasFactors(math, whole.settings)) return m.add(through(x, weight), throughFactors(m, branch, math.lowRank(m, whole, pass)));
  if (math.weight === undefined) throw new TypeError("the family has no mathematics");
  return through(x, math.weight(m, whole, weight, pass));
}

/** The first `count` columns of x [r, n]. */
export function firstColumns<T>(m: Algebra<T>, x: T, count: number): T {
  if (m.shapeOf(x)[1] === count) return x;
  return transposed(m, firstRows(m, transposed(m, x), count));
}

/** The first `count` rows of x [n, c]. */
export function firstRows<T>(m: Algebra<T>, x: T, count: number): T {
  return m.shapeOf(x)[0] === count
    ? x
    : m.rows(
        x,
        Int32Array.from({ length: count }, (_, i) => i),
      );
}

/** Weights [rows, 1] that are one for the rows of a task. */
export const rowsOfTask = (tasks: ArrayLike<number> | undefined, task: number, count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, row) => ((tasks?.[row] ?? 0) === task ? 1 : 0));

/** The tasks that occur, in order. */
export const presentTasks = (tasks: ArrayLike<number> | undefined): number[] =>
  tasks === undefined || tasks.length === 0 ? [0] : [...new Set(Array.from(tasks))].sort((a, b) => a - b);

/** softmax of x W^T with all but the `count` largest of each row left out, which are not made to sum to one. */
export function largestOf<T>(m: Algebra<T>, probabilities: T, count: number): T {
  const shape = m.shapeOf(probabilities);
  const n = shape.at(-1) ?? 0;
  const values = m.valuesOf(probabilities);
  const mask = new Float32Array(values.length);
  for (let first = 0; first < values.length; first += n) {
    const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => (values[first + b] as number) - (values[first + a] as number) || a - b);
    for (const i of order.slice(0, count)) mask[first + i] = 1;
  }
  return m.mul(probabilities, m.constant(mask, shape));
}
