import { elementCount } from "../formats/dtypes.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { packedTensor } from "./packed.ts";
import { layerCount, placeOf } from "./tensor-roles.ts";

export interface Tally {
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
}

/** A checkpoint as plain data, for printing and for JSON. */
export interface CheckpointSummary extends Omit<Tally, "tensors"> {
  readonly path: string;
  readonly shards: readonly { readonly file: string; readonly bytes: number; readonly metadata: Readonly<Record<string, string>> }[];
  readonly tensors: readonly {
    readonly name: string;
    readonly dtype: string;
    readonly shape: readonly number[];
    readonly bytes: number;
    readonly role: string;
    readonly layer?: number;
  }[];
  readonly byDtype: Readonly<Record<string, Tally>>;
  readonly byRole: Readonly<Record<string, Tally>>;
  readonly layers: number;
  /** Packed formats found, e.g. `gptq or awq`. */
  readonly packed: readonly string[];
  /** The entries of config.json that describe the model's kind and size. */
  readonly config: Readonly<Record<string, unknown>> | undefined;
  readonly sideFiles: readonly string[];
}

const CONFIG_FACTS = [
  "architectures",
  "model_type",
  "dtype",
  "torch_dtype",
  "hidden_size",
  "intermediate_size",
  "num_hidden_layers",
  "num_attention_heads",
  "num_key_value_heads",
  "vocab_size",
  "max_position_embeddings",
  "tie_word_embeddings",
];

/** What there is to say of a checkpoint from its headers. */
export function describeCheckpoint(checkpoint: Checkpoint): CheckpointSummary {
  const { path, shards, sideFiles, config } = checkpoint;
  const entries = [...checkpoint.tensors.values()];
  const tensors = entries.map(({ name, dtype, shape, byteLength }) => {
    const { role, layer } = placeOf(name);
    return { name, dtype, shape, bytes: byteLength, role, ...(layer === undefined ? {} : { layer }) };
  });
  return {
    path,
    shards: shards.map(({ file, sizeBytes, metadata }) => ({ file, bytes: sizeBytes, metadata })),
    tensors,
    parameters: tensors.reduce((sum, t) => sum + elementCount(t.shape), 0),
    bytes: tensors.reduce((sum, t) => sum + t.bytes, 0),
    byDtype: tally(tensors, (t) => t.dtype),
    byRole: tally(tensors, (t) => t.role),
    layers: layerCount(checkpoint.tensors.keys()),
    packed: [...new Set(entries.flatMap((t) => packedTensor(t.name) ?? []))],
    config: config && Object.fromEntries(CONFIG_FACTS.filter((key) => key in config).map((key) => [key, config[key]])),
    sideFiles,
  };
}

/** Counts per group, the largest group first. */
function tally<T extends { readonly shape: readonly number[]; readonly bytes: number }>(
  tensors: readonly T[],
  groupOf: (tensor: T) => string,
): Record<string, Tally> {
  const groups = new Map<string, { tensors: number; parameters: number; bytes: number }>();
  for (const tensor of tensors) {
    const group = groups.get(groupOf(tensor)) ?? { tensors: 0, parameters: 0, bytes: 0 };
    group.tensors += 1;
    group.parameters += elementCount(tensor.shape);
    group.bytes += tensor.bytes;
    groups.set(groupOf(tensor), group);
  }
  return Object.fromEntries([...groups].sort(([, a], [, b]) => b.bytes - a.bytes));
}
