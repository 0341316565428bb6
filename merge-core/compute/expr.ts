// Element-wise formulas as data. A method describes out[i] = f(in_0[i], ..., in_n[i]) once; the engine runs it with the
// WASM kernels, the oracle with plain TypeScript, and a GPU can be given the same description.
// Every operation is one IEEE float32 operation, rounded to nearest even, in the order written: that is what makes
// bits independent of threads, tiles and machines.

/** Exactly the k elements of largest magnitude: all with |x| > threshold, and those equal to it whose index < tieLimit. */
export interface MagnitudeSelection {
  readonly threshold: number;
  /** Flat element index; ties at or beyond it are dropped. Infinity keeps all ties. */
  readonly tieLimit: number;
}

/** Which stream of random numbers an element draws from: (seed, tensor name) come from the task, this is the rest of the key. */
export interface RandomStream {
  /** Position of the model among the recipe's models, so that a changed model list does not disturb the others. */
  readonly model: number;
  /** Separates independent draws for one model. */
  readonly purpose: number;
}

export type Expr =
  | { readonly op: "input"; readonly index: number }
  | { readonly op: "const"; readonly value: number }
  /** (((w0*x0) + w1*x1) + ...), each product and each sum rounded to f32; weights are rounded to f32 first. */
  | { readonly op: "linear"; readonly terms: readonly { readonly weight: number; readonly x: Expr }[] }
  | { readonly op: "add" | "sub" | "mul" | "div" | "min" | "max"; readonly a: Expr; readonly b: Expr }
  | { readonly op: "neg" | "abs" | "sqrt"; readonly a: Expr }
  /** 1 where true, else 0. */
  | { readonly op: "lt" | "le" | "gt" | "ge" | "eq"; readonly a: Expr; readonly b: Expr }
  /** b where a is non-zero, else c. */
  | { readonly op: "select"; readonly a: Expr; readonly b: Expr; readonly c: Expr }
  /** The same as a, worked out once for all passes where memory allows. */
  | { readonly op: "kept"; readonly a: Expr }
  /** x where selected by magnitude, else +0. */
  | { readonly op: "trim"; readonly a: Expr; readonly selection: MagnitudeSelection }
  /** 1 with probability `keep`, else 0; Philox 4x32-10 keyed by seed, tensor name, stream and element index. */
  | { readonly op: "bernoulli"; readonly keep: Expr; readonly stream: RandomStream }
  /** One value for all elements of a row (which is as long as the last dimension), or of a column. */
  | { readonly op: "perRow" | "perColumn"; readonly values: Float32Array }
  /** Place of |a| in its row by ascending magnitude, 0 for the smallest and 1 for the largest; ties in index order; 0.5 in rows of one. */
  | { readonly op: "rowRank"; readonly a: Expr }
  /** Values computed elsewhere, one per element. */
  | { readonly op: "given"; readonly values: Float32Array }
  /**
   * Elements taken in turns, in blocks of `block` in storage order: each of `vectors` takes its `count` largest by magnitude among those that
   * none before it took, and where too few are left, its largest of the others. 1 where number `at` takes, else 0. A shorter
   * last block gives its share, rounded up; ties go to the lowest index.
   */
  | { readonly op: "turns"; readonly vectors: readonly Expr[]; readonly at: number; readonly block: number; readonly count: number };

/** Whole-tensor reductions, accumulated in float64 over fixed blocks in index order. */
export type Reduction =
  | { readonly op: "sum" | "sumAbs" | "sumSquares" | "maxAbs" | "countNonZero"; readonly x: Expr }
  | { readonly op: "dot"; readonly x: Expr; readonly y: Expr };

export const input = (index: number): Expr => ({ op: "input", index });
export const constant = (value: number): Expr => ({ op: "const", value });
export const linear = (terms: readonly { weight: number; x: Expr }[]): Expr => ({ op: "linear", terms });
export const add = (a: Expr, b: Expr): Expr => ({ op: "add", a, b });
export const sub = (a: Expr, b: Expr): Expr => ({ op: "sub", a, b });
export const mul = (a: Expr, b: Expr): Expr => ({ op: "mul", a, b });
export const div = (a: Expr, b: Expr): Expr => ({ op: "div", a, b });
export const scale = (a: Expr, factor: number): Expr => ({ op: "linear", terms: [{ weight: factor, x: a }] });
export const abs = (a: Expr): Expr => ({ op: "abs", a });
export const compare = (op: "lt" | "le" | "gt" | "ge" | "eq", a: Expr, b: Expr): Expr => ({ op, a, b });
export const select = (a: Expr, b: Expr, c: Expr): Expr => ({ op: "select", a, b, c });
export const trim = (a: Expr, selection: MagnitudeSelection): Expr => ({ op: "trim", a, selection });
export const kept = (a: Expr): Expr => ({ op: "kept", a });
export const perRow = (values: Float32Array): Expr => ({ op: "perRow", values });
export const perColumn = (values: Float32Array): Expr => ({ op: "perColumn", values });
export const rowRank = (a: Expr): Expr => ({ op: "rowRank", a });
export const given = (values: Float32Array): Expr => ({ op: "given", values });
export const bernoulli = (keep: Expr, stream: RandomStream): Expr => ({ op: "bernoulli", keep, stream });
