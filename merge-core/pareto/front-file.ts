// pareto.json: every merge that a search for trade-offs made and measured, and the front among them. Plain data, so that pages can import it.

export type Direction = "maximize" | "minimize";

export interface FrontObjective {
  readonly name: string;
  readonly direction: Direction;
  /** What was measured, e.g. `exact_match` or `command`. */
  readonly metric: string;
  /** File names or the command line, for the reader. */
  readonly source?: string;
}

export interface FrontCoefficient {
  /** Name of the model, or path of the recipe's value that was searched. */
  readonly name: string;
  readonly range: readonly [min: number, max: number];
}

/**
 * How a point came to be: `sample` was measured to fit the surrogates, `front` was proposed by them and measured,
 * `prediction` was proposed and not measured, `baseline` is an input model or their uniform average.
 */
export type PointKind = "sample" | "front" | "baseline" | "prediction";

export interface FrontPoint {
  /** Unique in the file. */
  readonly id: string;
  readonly kind: PointKind;
  /** Of a baseline: which model it is. */
  readonly label?: string;
  /** In the order of `coefficients`; absent where the point is no setting of them. */
  readonly coefficients?: readonly number[];
  /** In the order of `objectives`, as measured; null where nothing was measured. */
  readonly values: readonly (number | null)[];
  /** What the surrogates said, before measuring. */
  readonly predicted?: readonly number[];
  /** All values are measurements. */
  readonly evaluated: boolean;
  /** `failed`: the merge or a measurement failed; `error` says why. */
  readonly status: "done" | "failed" | "predicted";
  readonly error?: string;
  /** No other measured setting of the coefficients is at least as good in all objectives and better in one. */
  readonly onFront: boolean;
}

/** The model of one objective over the coefficients c: link(e + b.c + sum of a_ij c_i c_j for i <= j). */
export interface FrontSurrogate {
  readonly objective: string;
  readonly link: "identity" | "sigmoid" | "softplus";
  /** e, then b by coefficient, then a_ij in the order 00, 01, ..., 11, 12, ... */
  readonly coefficients: readonly number[];
  /** Root mean square of prediction minus measurement over the points it was fitted to. */
  readonly fitError: number;
  /** The same over the measured points of kind `front`, which it was not fitted to; null without any. */
  readonly frontError: number | null;
  readonly points: number;
}

export interface FrontFile {
  readonly format: "weightsmith-pareto";
  readonly version: 1;
  readonly weightsmith: string;
  /** The configuration: where it was, as an absolute path, and what it said. */
  readonly config: { readonly file: string; readonly text: string };
  readonly method: "map" | "bmap" | "nested_map" | "simplex";
  readonly seed: number;
  readonly objectives: readonly FrontObjective[];
  readonly coefficients: readonly FrontCoefficient[];
  readonly points: readonly FrontPoint[];
  /** Of the points on the front, exactly; 0 if none is better than the reference in all objectives. */
  readonly hypervolume: number;
  /** The worst corner of the box that the hypervolume is measured in, in the objectives' own units. */
  readonly reference: readonly number[];
  /** Standard deviation of the distances to the nearest neighbour on the front, objectives scaled to 0..1; null with fewer than two points. */
  readonly spacing: number | null;
  /** Id of the point that bulges furthest from the plane through the front's ends; null without a front. */
  readonly knee: string | null;
  readonly surrogates: readonly FrontSurrogate[];
  /** The search goes on, or was stopped: what has been measured so far. */
  readonly unfinished?: true;
}

/** Name of the file in the output folder. */
export const FRONT_FILE = "pareto.json";
