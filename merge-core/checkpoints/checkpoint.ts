// A model on disk as the rest of the library sees it: names, shapes and places of all tensors, and the files beside them.
import type { DType } from "../formats/dtypes.ts";

/** One tensor and where its bytes lie. `offset` is absolute in `file`. */
export interface TensorEntry {
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
}
