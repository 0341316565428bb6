// The one interface behind which every adapter family stands: what its files hold, what of its settings bears on the
// weights, how many parameters it trains, and what it makes of a weight matrix. Matrices are seen as [out, in] here;
// layers that are stored the other way round (Conv1D, embeddings) are turned at the edges.
import type { FamilyMath } from "./family-math.ts";
import type { FamilyTraining } from "./family-training.ts";
import type { FamilySetting, LayerShape, LowRank, ModuleTensor, RowChange, Settings, Shapes } from "./family-types.ts";

export type { FamilySetting, LayerShape, LowRank, ModuleTensor, RowChange, Settings, SettingValue, Shapes } from "./family-types.ts";

/** A tensor that a module has in the adapter's file, by the last part of its name. */
export interface FamilyTensor {
  readonly name: string;
  /** Counted among the parameters. */
  readonly trained: boolean;
  /** Whole numbers that choose elements of other tensors. */
  readonly index?: boolean;
  /** The shared tensor whose rows these numbers are, of which each layer may have its own: pools can be put one below another. */
  readonly rowsOf?: string;
  /** What follows the name in PEFT's files. */
  readonly suffix?: ".weight";
  /** Whether a file may lack it: only the settings tell. */
  readonly optional?: boolean;
}

/** What an adapter holds for one layer, the tensors it shares with others included. */
export interface AdapterModule {
  readonly layer: LayerShape;
  readonly settings: Settings;
  readonly tensors: Readonly<Record<string, ModuleTensor>>;
}

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
  /** A second file of tensors in the folder, for what PEFT needs and does not store. */
  readonly beside?: { readonly file: string; readonly remedy: string };
  /** Whether the change depends on the weight it is made to. */
  readonly needsBase: boolean;
  /** Whether weights can take its effect: always, for one task or preference at a time, or not, as it depends on the input. */
  readonly foldable: "exact" | "per-task" | "no";
  /** Whether the shared tensors are those of all modules, or each kind of module (`q_proj`, ...) has its own. */
  readonly sharedBy?: "model" | "kind";
  /** The module's last part of a name whose tensors take the place of the base's. */
  readonly replaces?: string;
  /**
   * Shapes of a module's tensors. Where a format leaves a choice that no setting tells, what is held decides.
   * @param held shapes of what the file holds, shared tensors included
   */
  shapes(layer: LayerShape, settings: Settings, held: Shapes): Shapes;
  /** What the module does to the rows of its weight. @param weight W [out, in], for families that see more than a row at once */
  open(module: AdapterModule, weight?: () => ArrayLike<number>): RowChange;
  /** The change as a product of two factors, where it is one of low rank whatever the weight is. */
  factors?(module: AdapterModule): LowRank;
  /**
   * For families whose parameters have a mean that is an adapter between them: of each tensor the value of all elements that changes nothing,
   * around which it is taken.
   */
  readonly neutral?: Readonly<Record<string, number>>;
  /** What the layer's bias [out] is multiplied by, if it is. */
  biasFactor?(module: AdapterModule): ArrayLike<number> | undefined;
  /** What is added to the layer's bias [out]. */
  biasShift?(module: AdapterModule): ArrayLike<number>;
  /** Frozen tensors that follow from the base's weight [out, in] and are in no file. */
  derive?(weight: ArrayLike<number>, layer: LayerShape, settings: Settings): Readonly<Record<string, ModuleTensor>>;
  /** The same as differentiable expressions. */
  readonly math?: FamilyMath;
  /** How training starts; without it the family is only read. */
  readonly training?: FamilyTraining;
}

export const trained = (...names: readonly string[]): FamilyTensor[] => names.map((name) => ({ name, trained: true }));
export const frozen = (...names: readonly string[]): FamilyTensor[] => names.map((name) => ({ name, trained: false }));
export const indices = (...names: readonly string[]): FamilyTensor[] => names.map((name) => ({ name, trained: false, index: true }));
export const rowsOf = (pool: string, name: string): FamilyTensor => ({ name, trained: false, index: true, rowsOf: pool });
export const optional = (tensors: readonly FamilyTensor[]): FamilyTensor[] => tensors.map((tensor) => ({ ...tensor, optional: true }));
/** What families that PEFT does not have call themselves in its place for it. */
export const nativeType = (id: string): string => `x-weightsmith-${id}`;
/** The same tensors with the suffix that some of PEFT's names have. */
export const suffixed = (tensors: readonly FamilyTensor[]): FamilyTensor[] => tensors.map((tensor) => ({ ...tensor, suffix: ".weight" }));

export const ALPHA: FamilySetting = { name: "lora_alpha", default: 8, doc: "scale times r", pattern: "alpha_pattern" };
export const RANK: FamilySetting = { name: "r", default: 8, count: true, doc: "rank", pattern: "rank_pattern" };

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

/** As they are, where they are floats already: adapters are large. */
const numbersOf = (values: ArrayLike<number>): Float32Array | Float64Array =>
  values instanceof Float32Array || values instanceof Float64Array ? values : new Float64Array(values);

/** The factors [r, in] and [out, r] under these names. */
export function lowRankOf(module: AdapterModule, nameA: string, nameB: string, scale: number): LowRank {
  const a = tensorOf(module, nameA);
  return { ...module.layer, r: a.shape[0] ?? 0, a: numbersOf(a.values), b: numbersOf(valuesOf(module, nameB)), scale };
}

/** W' - W [out, in] of a module, for a whole matrix at once; W is zero where the family does not need it. */
export function deltaOf(family: AdapterFamily, module: AdapterModule, weight?: ArrayLike<number>): Float64Array {
  const { inFeatures, outFeatures } = module.layer;
  const change = family.open(module, weight === undefined ? undefined : () => weight);
  const delta = new Float64Array(outFeatures * inFeatures);
  for (let o = 0; o < outFeatures; o++) {
    const row = Float64Array.from({ length: inFeatures }, (_, i) => weight?.[o * inFeatures + i] ?? 0);
    change(row, o);
    for (let i = 0; i < inFeatures; i++) delta[o * inFeatures + i] = (row[i] as number) - (weight?.[o * inFeatures + i] ?? 0);
  }
  return delta;
}
