// The words in which adapter families are described.

/** A key of adapter_config.json that bears on the weights. */
export interface FamilySetting {
  readonly name: string;
  /** PEFT's. Its type is the setting's type; null stands for "any". */
  readonly default: SettingValue;
  readonly doc: string;
  /** A whole number of at least one. */
  readonly count?: true;
  /** A list in the file, whose items stand here with commas between them. */
  readonly list?: true;
  /** What training checks that it divides: the inputs of every layer, the outputs, or both. */
  readonly divides?: "inputs" | "outputs" | "both";
  /** The key that gives single modules other values. */
  readonly pattern?: "rank_pattern" | "alpha_pattern" | "n_frequency_pattern";
}

export type SettingValue = number | boolean | string | null;
/** The settings of one module, patterns resolved. */
export type Settings = Readonly<Record<string, SettingValue>>;

export interface LayerShape {
  readonly inFeatures: number;
  readonly outFeatures: number;
}

export type Shapes = Readonly<Record<string, readonly number[]>>;

/** One tensor in memory, row-major; whole numbers are exact. */
export interface ModuleTensor {
  readonly shape: readonly number[];
  readonly values: ArrayLike<number>;
}

/** scale B A, with A [r, in] and B [out, r]. */
export interface LowRank extends LayerShape {
  readonly r: number;
  readonly a: Float32Array | Float64Array;
  readonly b: Float32Array | Float64Array;
  readonly scale: number;
}

/** Turns row `o` of W [out, in] into that of the adapted weight, in place. Rows are independent, so no matrix need be whole. */
export type RowChange = (row: Float64Array, o: number) => void;
