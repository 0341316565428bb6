// A merge plan: everything a merge will do, decided from the recipe and the headers alone, before a byte of tensor data
// is read. Plain serialisable data, so that it can be printed, hashed, journalled, resumed and shown in an editor.
import type { FamilyPatch, LoraPatch } from "../checkpoints/checkpoint.ts";
import type { AddedToken } from "../checkpoints/tokenizer-file.ts";
import type { Diagnostic } from "../diagnostics.ts";
import type { DType, FloatDType } from "../formats/dtypes.ts";

/** One tensor of one input model, read from `offset`. A cropped embedding has fewer rows here than on disk, so fewer bytes. */
export interface TensorRef {
  /** Name in the input model; differs from the output name when layers are renumbered. */
  readonly name: string;
  /** Absolute path of the shard. */
  readonly file: string;
  /** Absolute byte offset in `file`. */
  readonly offset: number;
  readonly byteLength: number;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

export type StoredFloats = TensorRef & { readonly dtype: FloatDType };

/** One input of a merge with its parameters resolved for this tensor. */
export interface InputRef extends TensorRef {
  /** Model reference as the recipe wrote it. */
  readonly model: string;
  /** Position in the recipe's list of models (of the slice), base included; the key of its random stream. */
  readonly modelIndex: number;
  readonly isBase: boolean;
  readonly dtype: FloatDType;
  readonly parameters: Readonly<Record<string, number | null>>;
  /** An adapter's change to the tensor, made in float32 before it is merged. */
  readonly lora?: LoraPatch | FamilyPatch;
  /** The model's Fisher information of this tensor, in its shape. */
  readonly fisher?: StoredFloats;
  /** The Gram matrix of the layer's inputs, and the dimension of the weights that they go along. */
  readonly gram?: StoredFloats & { readonly side: "rows" | "columns" };
  /** The rows in the order of the output's vocabulary; `shape` and `byteLength` are then those of the tensor as it is stored. */
  readonly rows?: RowMap;
}

/** A tensor put together from rows of this model's tensor and, where the model lacks a token, of other models' tensors. */
export interface RowMap {
  readonly sources: readonly (Pick<InputRef, "dtype" | "lora"> & TensorRef)[];
  /**
   * From top to bottom, `count` rows of a source from `first` on. Sources below zero are ROW_ZERO, ROW_PADDING (the mean
   * of all rows above the first such row) and ROW_MEAN (of the rows in `means[first]`, and so on).
   */
  readonly runs: readonly (readonly [source: number, first: number, count: number])[];
  readonly means: readonly (readonly (readonly [source: number, row: number])[])[];
}

interface JobPlace {
  /** Output tensor name. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Index into `MergePlan.shards`. */
  readonly shard: number;
  /** Absolute byte offset in the output shard. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A float tensor that the method computes; all inputs have the output's shape. */
export interface MergeJob extends JobPlace {
  readonly kind: "merge";
  readonly dtype: FloatDType;
  /** Method id, for `findMethod`. */
  readonly method: string;
  /** In recipe order; `expr.input(i)` is `inputs[i]`. */
  readonly inputs: readonly InputRef[];
  readonly parameters: Readonly<Record<string, number | null>>;
  /** For methods on whole matrices: the layer's inputs go along the rows, as in Conv1D, not along the columns. */
  readonly inputsAlongRows?: true;
}

/** A tensor taken over byte for byte: not floating point, or passed through in its own dtype. */
export interface CopyJob extends JobPlace {
  readonly kind: "copy";
  readonly dtype: DType;
  readonly source: TensorRef;
}

export type TensorJob = MergeJob | CopyJob;

/** One safetensors file to write. */
export interface OutputShard {
  /** Plain file name. */
  readonly file: string;
  /** Bytes before the first tensor: the 8-byte length and the padded JSON header. */
  readonly headerBytes: number;
  readonly sizeBytes: number;
  /** The `__metadata__` map of the header. */
  readonly metadata: Readonly<Record<string, string>>;
  /** In file order, offsets absolute and gapless from `headerBytes`. */
  readonly tensors: readonly {
    readonly name: string;
    readonly dtype: DType;
    readonly shape: readonly number[];
    readonly offset: number;
    readonly byteLength: number;
  }[];
}

/** One input model, listed once however often the recipe names it. */
export interface PlannedModel {
  readonly reference: string;
  /** Absolute folder. */
  readonly folder: string;
  readonly files: readonly { readonly file: string; readonly sizeBytes: number }[];
  /** These are statistics of a model on its data, no weights. */
  readonly statistics?: true;
}

/** A value to set in the donor's config.json, so that the config is true to the tensors. */
export interface ConfigChange {
  readonly path: readonly string[];
  readonly value: string | number | boolean | null | readonly (string | number)[];
}

/** The tokenizer files of the output: those of one model, with tokens added and perhaps another template. */
export interface TokenizerPlan {
  readonly reference: string;
  readonly folder: string;
  /** Taken over from `folder`; the donor's files of the same names are not. */
  readonly files: readonly string[];
  readonly added: readonly AddedToken[];
  readonly chatTemplate?: string;
}

export interface MergePlan {
  readonly version: 1;
  readonly recipe: { readonly file: string; readonly text: string; readonly sha256: string };
  readonly method: string;
  readonly seed: number;
  readonly models: readonly PlannedModel[];
  /** The model that config.json, tokenizer and other side files are taken from; `files` are plain names in `folder`. */
  readonly donor: { readonly reference: string; readonly folder: string; readonly files: readonly string[]; readonly hasConfig: boolean };
  /** The vocabulary and the template that the recipe asks for; absent if the donor's tokenizer files are taken as they are. */
  readonly tokenizer?: TokenizerPlan;
  readonly config: readonly ConfigChange[];
  /** One shard is `model.safetensors` without an index; several are `model-0000k-of-0000n.safetensors` with one. */
  readonly shards: readonly OutputShard[];
  /** By shard and offset: the order in which the output, and nearly always the inputs, lie on disk. */
  readonly jobs: readonly TensorJob[];
  /** Input bytes of all passes; what fits the memory budget is read once. */
  readonly bytesToRead: number;
  /** Sum of the shard sizes. */
  readonly bytesToWrite: number;
  readonly peakMemoryBytes: number;
  /** Free space the output folder's disk must have. */
  readonly diskBytes: number;
  /** Warnings and notes found while planning; errors prevent a plan. */
  readonly findings: readonly Diagnostic[];
  /** sha256 (hex) of all of the above that decides the output bytes; not of memory, thread count or findings. */
  readonly planHash: string;
}
