// LoRA files by the naming of PEFT, kohya's sd-scripts and diffusers: what is the same in all of them.
import { inputError } from "../../diagnostics.ts";
import type { DType } from "../../formats/dtypes.ts";

export const DIALECTS = ["peft", "kohya", "diffusers"] as const;
export type Dialect = (typeof DIALECTS)[number];

/** Bytes are passed on as they are: a change of names changes no number. */
export interface Stored {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

export interface LoraModule {
  /** A [r, in] or [r, in, k, k] */
  readonly down: Stored;
  /** B [out, r] or [out, r, 1, 1] */
  readonly up: Stored;
  /** DoRA's magnitudes [out]. */
  readonly magnitude?: Stored;
  /** The change of the weight is alpha / r * B A. */
  readonly alpha: number;
}

/** One part of a pipeline, such as `unet` or `text_encoder`; under the empty name a model by itself. */
export type Component = ReadonlyMap<string, LoraModule>;

export interface NamedLora {
  readonly components: ReadonlyMap<string, Component>;
  readonly baseModel?: string;
  readonly task?: string;
}

export const rankOf = ({ down }: LoraModule): number => down.shape[0] ?? 0;

/** Tensors of one module, by the part that they play. */
export interface Parts {
  readonly down?: Stored | undefined;
  readonly up?: Stored | undefined;
  readonly magnitude?: Stored | undefined;
}

/** @param alpha undefined where the file says nothing: then it is the rank. @throws WeightsmithError `adapter-incomplete`, `adapter-tensor-unexpected` */
export function joinParts(module: string, { down, up, magnitude }: Parts, alpha: number | undefined, file: string): LoraModule {
  const [r, rank] = [down?.shape[0], up?.shape[1]];
  if (down === undefined || up === undefined || r === undefined || r !== rank || r === 0) {
    const shown = (tensor: Stored | undefined) => (tensor === undefined ? "missing" : `[${tensor.shape.join(", ")}]`);
    const found = `down ${shown(down)}, up ${shown(up)}`;
    throw inputError("adapter-incomplete", `the factors of ${module} do not belong together`, { file, found, expected: "down [r, in] and up [out, r]" });
  }
  const outputs = up.shape[0] ?? 0;
  const size = magnitude?.shape.reduce((product, n) => product * n, 1);
  // A magnitude for each input is another method, which PEFT and diffusers do not have.
  if (magnitude !== undefined && (size !== outputs || (magnitude.shape.length > 1 && magnitude.shape[0] !== outputs)))
    throw inputError("adapter-tensor-unexpected", `the magnitudes of ${module} are not one for each output`, {
      file,
      found: `[${magnitude.shape.join(", ")}]`,
      expected: `[${outputs}]`,
    });
  const own = magnitude === undefined ? {} : { magnitude: { ...magnitude, shape: [outputs] } };
  return { down, up, ...own, alpha: alpha === undefined || alpha === 0 ? r : alpha };
}
