// How tokens that a model does not know get their rows.

export const METHODS = ["omp", "common_interpolation", "subword", "mean", "zero"] as const;
export const WEIGHTS = ["distance_proportional", "barycentric", "least_squares"] as const;
export const SUBWORDS = ["mean", "sum", "weighted_mean", "first_last"] as const;
/** Where a looser match than that of the whole token counts. */
export const MATCHES = ["no", "yes", "embed", "lm_head"] as const;

export interface TransplantSettings {
  readonly method: (typeof METHODS)[number];
  /** Shared tokens that a new one is put together from. */
  readonly k: number;
  /** Of common_interpolation: how the nearest are weighted, and whether near means a small angle. */
  readonly weights: (typeof WEIGHTS)[number];
  readonly cosine: boolean;
  readonly subword: (typeof SUBWORDS)[number];
  /** A token of one byte takes the row of the byte, and the other way round. */
  readonly byteMatch: (typeof MATCHES)[number];
  /** A token takes the row of the longest token that it begins with. */
  readonly prefixMatch: (typeof MATCHES)[number];
}

export const DEFAULTS: TransplantSettings = {
  method: "omp",
  k: 64,
  weights: "distance_proportional",
  cosine: false,
  subword: "mean",
  byteMatch: "no",
  prefixMatch: "no",
};
