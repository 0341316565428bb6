// The one interface behind which every adapter family stands: what its files hold, what of its settings bears on the
// weights, how many parameters it trains, and what it makes of a weight matrix. Matrices are seen as [out, in] here;
// layers that are stored the other way round (Conv1D, embeddings) are turned at the edges.

/** A key of adapter_config.json that bears on the weights. */
export interface FamilySetting {
  readonly name: string;
  /** PEFT's. Its type is the setting's type; null stands for "any". */
  readonly default: SettingValue;
  readonly doc: string;
  /** The key that gives single modules other values. */
  readonly pattern?: "rank_pattern" | "alpha_pattern";
}

export type SettingValue = number | boolean | string | null;
/** The settings of one module, patterns resolved. */
export type Settings = Readonly<Record<string, SettingValue>>;

/** A tensor that a module has in the adapter's file, by the last part of its name. */
export interface FamilyTensor {
  readonly name: string;
  /** Counted among the parameters. */
  readonly trained: boolean;
}

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

/** What an adapter holds for one layer, the tensors it shares with others included. */
export interface AdapterModule {
  readonly layer: LayerShape;
  readonly settings: Settings;
  readonly tensors: Readonly<Record<string, ModuleTensor>>;
}

/** scale B A, with A [r, in] and B [out, r]. */
export interface LowRank extends LayerShape {
  readonly r: number;
  readonly a: Float64Array;
  readonly b: Float64Array;
  readonly scale: number;
}

/** Turns row `o` of W [out, in] into that of the adapted weight, in place. Rows are independent, so no matrix need be whole. */
export type RowChange = (row: Float64Array, o: number) => void;

export interface AdapterFamily {
  /** PEFT's `peft_type`. */
  readonly type: string;
  readonly title: string;
  readonly paper: { readonly title: string; readonly year: number; readonly url: string };
  readonly formula: string;
  readonly settings: readonly FamilySetting[];
  /** Of one module. */
  readonly tensors: readonly FamilyTensor[];
  /** Of the whole adapter. */
  readonly shared: readonly FamilyTensor[];
  /** Whether the change depends on the weight it is made to. */
  readonly needsBase: boolean;
  /** The module's last part of a name whose tensors take the place of the base's. */
  readonly replaces?: string;
  /**
   * Shapes of a module's tensors. Where a format leaves a choice that no setting tells, what is held decides.
   * @param held shapes of what the file holds, shared tensors included
   */
  shapes(layer: LayerShape, settings: Settings, held: Shapes): Shapes;
  /** What the module does to the rows of its weight. */
  open(module: AdapterModule): RowChange;
  /** The change as a product of two factors, where it is one of low rank whatever the weight is. */
  factors?(module: AdapterModule): LowRank;
  /** What the layer's bias [out] is multiplied by, if it is. */
  biasFactor?(module: AdapterModule): ArrayLike<number> | undefined;
}

export const trained = (...names: readonly string[]): FamilyTensor[] => names.map((name) => ({ name, trained: true }));
export const frozen = (...names: readonly string[]): FamilyTensor[] => names.map((name) => ({ name, trained: false }));

export const RANK: FamilySetting = { name: "r", default: 8, doc: "rank", pattern: "rank_pattern" };

/** A numeric setting of a module. */
export function numberOf(settings: Settings, name: string): number {
  const value = settings[name];
  if (typeof value !== "number") throw new TypeError(`setting ${name} is not a number`);
  return value;
}

/** A tensor that the shapes say is there. */
export function tensorOf({ tensors }: AdapterModule, name: string): ModuleTensor {
  const tensor = tensors[name];
  if (tensor === undefined) throw new TypeError(`the module has no ${name}`);
  return tensor;
}

export const valuesOf = (module: AdapterModule, name: string): ArrayLike<number> => tensorOf(module, name).values;

/** Parameters that one module trains. */
export function trainedParameters(family: AdapterFamily, layer: LayerShape, settings: Settings, held: Shapes): number {
  const shapes = family.shapes(layer, settings, held);
  const names = new Set(family.tensors.filter((tensor) => tensor.trained).map(({ name }) => name));
  return Object.entries(shapes).reduce((sum, [name, shape]) => sum + (names.has(name) ? shape.reduce((product, n) => product * n, 1) : 0), 0);
}

/** Adds scale B A. */
export function addLowRank({ r, inFeatures, a, b, scale }: LowRank): RowChange {
  return (row, o) => {
    for (let k = 0; k < r; k++) {
      const factor = scale * (b[o * r + k] as number);
      for (let i = 0; i < inFeatures; i++) row[i] = (row[i] as number) + factor * (a[k * inFeatures + i] as number);
    }
  };
}

/** The factors [r, in] and [out, r] under these names. */
export function lowRankOf(module: AdapterModule, nameA: string, nameB: string, scale: number): LowRank {
  const a = tensorOf(module, nameA);
  return { ...module.layer, r: a.shape[0] ?? 0, a: new Float64Array(a.values), b: new Float64Array(valuesOf(module, nameB)), scale };
}

/** W' - W [out, in] of a module, for a whole matrix at once; W is zero where the family does not need it. */
export function deltaOf(family: AdapterFamily, module: AdapterModule, weight?: ArrayLike<number>): Float64Array {
  const { inFeatures, outFeatures } = module.layer;
  const change = family.open(module);
  const delta = new Float64Array(outFeatures * inFeatures);
  for (let o = 0; o < outFeatures; o++) {
    const row = Float64Array.from({ length: inFeatures }, (_, i) => weight?.[o * inFeatures + i] ?? 0);
    change(row, o);
    for (let i = 0; i < inFeatures; i++) delta[o * inFeatures + i] = (row[i] as number) - (weight?.[o * inFeatures + i] ?? 0);
  }
  return delta;
}
