// How a family's training starts and what it asks of the trainer.
import { inputError } from "../diagnostics.ts";
import type { Pass } from "./family-math.ts";
import type { FamilySetting, LayerShape, ModuleTensor, Settings } from "./family-types.ts";

/** Random numbers of one module or pool; a number depends on the seed, the place, the stream's name and its index alone. */
export interface RandomSource {
  /** In [-bound, bound). */
  uniform(stream: string, count: number, bound: number): Float32Array;
  normal(stream: string, count: number, deviation: number): Float32Array;
  /** 0 to count - 1 in random order. */
  order(stream: string, count: number): number[];
}

/** A layer that an adapter will change. */
export interface Site {
  /** Path of the module, such as `model.layers.0.self_attn.q_proj`. */
  readonly module: string;
  /** Its last part. */
  readonly kind: string;
  /** Place among the modules of its kind, of which there are `count`. */
  readonly index: number;
  readonly count: number;
  readonly layer: LayerShape;
  readonly settings: Settings;
  /** W [out, in]. */
  readonly weight: ArrayLike<number>;
  readonly random: RandomSource;
  /** Tasks of the data. */
  readonly tasks: number;
  /** Place among all modules. */
  readonly place: number;
  /** All kinds of modules, in the order of their first. */
  readonly kinds: readonly string[];
  /** Mean squared gradient of each weight of all modules on the data, for families that ask for it. */
  readonly fisher?: readonly ArrayLike<number>[];
}

export type Start = Readonly<Record<string, ModuleTensor>>;

/** A module that is being trained; values are live and may be written. */
export interface LiveModule {
  readonly module: string;
  readonly kind: string;
  readonly settings: Settings;
  readonly tensors: Readonly<Record<string, Float32Array>>;
  /** Of one of its own tensors, clipped as the optimiser saw it; absent where training takes losses alone. */
  gradient?(name: string): Float32Array | undefined;
}

/** What a run knows when it is over. */
export interface Trained {
  readonly totalSteps: number;
  /** As they were trained. */
  readonly modules: ReadonlyMap<string, Start>;
}

export interface Packed {
  readonly modules: readonly Start[];
  readonly shared: Start;
}

export interface FamilyTraining {
  /** What only training asks, beside the settings that files hold. */
  readonly settings?: readonly FamilySetting[];
  /** Whether `start` needs the squared gradients of the data. */
  readonly needsFisher?: boolean;
  /** Module's tensors, shaped as the family's `shapes`. */
  start(site: Site): Start;
  /** Tensors that these modules share: all of them, or those of one kind. */
  startShared?(sites: readonly Site[]): Start;
  /** Learning rate of single tensors as a multiple of the run's. @param progress of the run, from 0 to 1 */
  rates?(settings: Settings, progress: number): Readonly<Record<string, number>>;
  /** How much the loss of each task counts in a pass. */
  taskWeights?(settings: Settings, pass: Pass): ArrayLike<number>;
  /** After each step, from 1: may write to the tensors. What it has to remember it keeps in tensors that are not trained. */
  afterStep?(modules: readonly LiveModule[], step: number, totalSteps: number): void;
  /** What PEFT's config has beside the settings. */
  fileConfig?(settings: Settings, targets: readonly string[], trained?: Trained): Readonly<Record<string, unknown>>;
  /** Modules and what those of one kind share, as they are stored, where that is not how they are trained. */
  pack?(modules: readonly Start[], shared: Start): Packed;
  /** Settings and tensors as they are stored, where that is not how they are trained. */
  stored?(
    settings: Settings,
    start: { readonly layer: LayerShape; readonly tensors: Readonly<Record<string, ModuleTensor>> },
  ): { settings: Settings; tensors: Start };
}

export const tensor = (values: ArrayLike<number>, ...shape: readonly number[]): ModuleTensor => ({ shape, values });
export const zeros = (...shape: readonly number[]): ModuleTensor => filled(0, ...shape);
export const filled = (value: number, ...shape: readonly number[]): ModuleTensor => ({
  shape,
  values: new Float32Array(shape.reduce((product, n) => product * n, 1)).fill(value),
});
/** Kaiming's uniform distribution with a = sqrt(5): +-1 / sqrt(fan in), the second side of the matrix. */
export const kaiming = ({ random }: Site, stream: string, rows: number, fanIn: number): ModuleTensor =>
  tensor(random.uniform(stream, rows * fanIn, 1 / Math.sqrt(fanIn)), rows, fanIn);

/** @throws WeightsmithError `adapter-setting-invalid` */
export function checkChoice(settings: Settings, name: string, choices: readonly string[]): void {
  if (choices.includes(String(settings[name]))) return;
  throw inputError("adapter-setting-invalid", `${name} is not usable`, { found: String(settings[name]), expected: choices.join(", ") });
}
