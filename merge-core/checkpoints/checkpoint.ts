// A model on disk as the rest of the library sees it: names, shapes and places of all tensors, and the files beside them.
import type { Diagnostic } from "../diagnostics.ts";
import type { DType } from "../formats/dtypes.ts";

/** One tensor and where its bytes lie. `offset` is absolute in `file`. */
export interface TensorEntry extends TensorSpan {
  /** A change by an adapter that the tensor is read with. */
  readonly lora?: LoraPatch | FamilyPatch;
}

/**
 * Factors of a low-rank adapter (Hu et al. 2021, 2106.09685): the tensor stands for W + scale B A, or where `transposed`
 * (embeddings, Conv1D) for W + scale (B A)^T. With a magnitude (DoRA, Liu et al. 2024, 2402.09353) each output of the
 * sum is then brought to that norm.
 */
export interface LoraPatch {
  /** [r, in] */
  readonly a: TensorSpan;
  /** [out, r] */
  readonly b: TensorSpan;
  readonly scale: number;
  readonly transposed: boolean;
  /** [out] */
  readonly magnitude?: TensorSpan;
}

/** The change that an adapter of another family makes to a weight, or where the tensor has one dimension to a bias. */
export interface FamilyPatch {
  /** PEFT's `peft_type`. */
  readonly family: string;
  /** Of this module, patterns resolved. */
  readonly settings: Readonly<Record<string, number | boolean | string | null>>;
  /** By the last part of their name; those shared by all modules too. */
  readonly tensors: Readonly<Record<string, TensorSpan>>;
  /** The tensor is stored [in, out]. */
  readonly transposed: boolean;
}

/** A named stretch of a file that holds one tensor. */
export interface TensorSpan {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Absolute path of the shard. */
  readonly file: string;
  readonly offset: number;
  readonly byteLength: number;
}

export interface Shard {
  /** Absolute path. */
  readonly file: string;
  readonly sizeBytes: number;
  /** The safetensors `__metadata__` map. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Headers of every shard of one model, nothing of its data. Tensor order is file order: shard by shard, by offset. */
export interface Checkpoint {
  /** The path as the user gave it. */
  readonly path: string;
  /** Absolute folder that holds the side files; the file's folder when a single file was named. */
  readonly folder: string;
  readonly shards: readonly Shard[];
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** Parsed config.json, if there is one. */
  readonly config: Readonly<Record<string, unknown>> | undefined;
  /** Names of other files in the folder (tokenizer, generation config, ...), sorted. */
  readonly sideFiles: readonly string[];
  /** Warnings of what it was made of. */
  readonly findings?: readonly Diagnostic[];
}
