// The attention projections of a model, layer by layer.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { inputError } from "../diagnostics.ts";
import { isFloat } from "../formats/dtypes.ts";

export const PROJECTIONS = ["q", "k", "v", "o"] as const;
export type Projection = (typeof PROJECTIONS)[number];

export interface AttentionLayer {
  readonly prefix: string;
  readonly weights: Readonly<Record<Projection, TensorEntry>>;
  /** Of those projections that have one; that of the output is shared by all heads. */
  readonly biases: Readonly<Partial<Record<Projection, TensorEntry>>>;
}

export interface Attention {
  /** From the first layer to the last. */
  readonly layers: readonly AttentionLayer[];
  /** Query heads, and key-value heads that groups of them share. */
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

const NAME = /^(.*\.(\d+)\.[\w.]*att(?:n|ention))\.(?:(q|k|v|o)_proj|out_proj)\.(weight|bias)$/;

/** @throws WeightsmithError `share-unsupported` unless all layers have the four projections, each in one shape throughout */
export function findAttention(model: Checkpoint): Attention {
  const layers = new Map<
    string,
    { prefix: string; index: number; weight: Partial<Record<Projection, TensorEntry>>; bias: Partial<Record<Projection, TensorEntry>> }
  >();
  for (const entry of model.tensors.values()) {
    const [, prefix, index, letter, kind] = NAME.exec(entry.name) ?? [];
    if (prefix === undefined) continue;
    const layer = layers.get(prefix) ?? { prefix, index: Number(index), weight: {}, bias: {} };
    layer[kind === "bias" ? "bias" : "weight"][(letter ?? "o") as Projection] = entry;
    layers.set(prefix, layer);
  }
  const sorted = [...layers.values()].sort((a, b) => a.index - b.index);
  const found = sorted.map(({ prefix, weight, bias }): AttentionLayer => {
    const { q, k, v, o } = weight;
    if (q === undefined || k === undefined || v === undefined || o === undefined) throw unsupported(model, prefix);
    return { prefix, weights: { q, k, v, o }, biases: bias };
  });
  const [first] = found;
  const heads = model.config?.num_attention_heads;
  if (first === undefined || typeof heads !== "number")
    throw unsupported(model, first === undefined ? "no attention layers" : "no num_attention_heads in config.json");
  for (const { weights } of found)
    for (const letter of PROJECTIONS)
      if (weights[letter].shape.join() !== first.weights[letter].shape.join() || !isFloat(weights[letter].dtype))
        throw unsupported(model, weights[letter].name);
  const headDim = (first.weights.q.shape[0] ?? 0) / heads;
  const kvHeads = (first.weights.k.shape[0] ?? 0) / headDim;
  if (!Number.isInteger(headDim) || !Number.isInteger(kvHeads) || heads % kvHeads !== 0) throw unsupported(model, `${heads} heads of ${headDim} dimensions`);
  return { layers: found, heads, kvHeads, headDim };
}

const unsupported = (model: Checkpoint, found: string) =>
  inputError("share-unsupported", "the attention layers of this model cannot be shared", {
    file: model.path,
    found,
    expected: "floating-point q_proj, k_proj, v_proj and o_proj of the same shapes in every layer",
  });
