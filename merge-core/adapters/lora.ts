// LoRA (Hu et al. 2021, 2106.09685): y = W x + s B (A x), with A [r, in], B [out, r] and s = alpha / r.
import { inputError } from "../diagnostics.ts";
import { narrowFromFloat32, widenToFloat32 } from "../formats/dtype-codecs.ts";
import { type DType, isFloat } from "../formats/dtypes.ts";

/** The factors of one linear layer, row-major. */
export interface LoraFactors {
  readonly r: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** [r, in] */
  readonly a: Float32Array;
  /** [out, r] */
  readonly b: Float32Array;
  /** What B A is multiplied by. */
  readonly scale: number;
}

export interface LoraAdapter {
  /** Rank and alpha of the config; single modules may differ by pattern, their factors tell. */
  readonly r: number;
  readonly alpha: number;
  readonly dropout: number;
  /** Names of adapted layers, or one regular expression on module paths, as PEFT has it. */
  readonly targetModules: string | readonly string[];
  /** Where the base model was found when the adapter was made. */
  readonly baseModel: string | undefined;
  /** By module path in the base model, such as `model.layers.0.self_attn.q_proj`. */
  readonly modules: ReadonlyMap<string, LoraFactors>;
}

/** s B A [out, in] in float64. */
export function loraDelta({ r, inFeatures, outFeatures, a, b, scale }: LoraFactors): Float64Array {
  const delta = new Float64Array(outFeatures * inFeatures);
  for (let o = 0; o < outFeatures; o++) {
    for (let k = 0; k < r; k++) {
      const factor = scale * (b[o * r + k] ?? 0);
      for (let i = 0; i < inFeatures; i++) delta[o * inFeatures + i]! += factor * (a[k * inFeatures + i] ?? 0);
    }
  }
  return delta;
}

interface StoredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/**
 * The base with W + s B A in place of each adapted W, computed in float64 and stored in W's own dtype by way of float32;
 * other tensors are passed on as they are.
 * @throws WeightsmithError `adapter-target-missing`, `adapter-shape-mismatch`
 */
export function foldLora<T extends StoredTensor>(base: ReadonlyMap<string, T>, adapter: LoraAdapter, file: string): Map<string, T> {
  const folded = new Map(base);
  for (const [module, factors] of adapter.modules) {
    const name = `${module}.weight`;
    const weight = base.get(name);
    if (weight === undefined || !isFloat(weight.dtype)) {
      throw inputError("adapter-target-missing", `the base model has no weight ${name} that the adapter could change`, {
        file,
        remedy: "is this the base model that the adapter was trained on?",
      });
    }
    const expected = [factors.outFeatures, factors.inFeatures];
    if (weight.shape.join() !== expected.join())
      throw inputError("adapter-shape-mismatch", `the adapter does not fit ${name}`, {
        file,
        found: `[${weight.shape.join(", ")}]`,
        expected: `[${expected.join(", ")}]`,
      });
    const delta = loraDelta(factors);
    const values = widenToFloat32(weight.dtype, weight.data).map((w, i) => w + (delta[i] ?? 0));
    folded.set(name, { ...weight, data: narrowFromFloat32(weight.dtype, values) });
  }
  return folded;
}
