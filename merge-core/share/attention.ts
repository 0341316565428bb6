// The attention projections of a model, layer by layer, and where in their tensors the heads lie: along rows, along columns where weights are
// stored with a row per input, and in one tensor of three stretches where queries, keys and values are fused.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { isConv1d } from "../checkpoints/conv1d.ts";
import { inputError } from "../diagnostics.ts";
import { isFloat } from "../formats/dtypes.ts";

export const PROJECTIONS = ["q", "k", "v", "o"] as const;
export type Projection = (typeof PROJECTIONS)[number];

/** A tensor in which every head has stretches of rows or columns; the bias of the output is none, for all heads share it. */
export interface HeadTensor {
  readonly entry: TensorEntry;
  /** Name within the layer. */
  readonly name: string;
  /** One projection, or several of which each begins at row or column `first`. */
  readonly parts: readonly { readonly projection: Projection; readonly first: number }[];
  readonly alongColumns: boolean;
  /** 1 of a bias. */
  readonly columns: number;
  readonly bias: boolean;
}

export interface AttentionLayer {
  readonly prefix: string;
  readonly tensors: readonly HeadTensor[];
}

export interface Attention {
  /** From the first layer to the last. */
  readonly layers: readonly AttentionLayer[];
  /** Query heads, and key-value heads that groups of them share. */
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

const NAME = /^(.*\.(\d+)\.[\w.]*att(?:n|ention))\.(\w+)\.(weight|bias)$/;
const FUSED: readonly Projection[] = ["q", "k", "v"];
const HELD: ReadonlyMap<string, readonly Projection[]> = new Map([
  ...(["q", "k", "v", "o"] as const).map((letter) => [`${letter}_proj`, [letter]] as const),
  ["out_proj", ["o"]],
  ["c_proj", ["o"]],
  ["qkv_proj", FUSED],
  ["c_attn", FUSED],
]);

interface Held {
  readonly entry: TensorEntry;
  readonly name: string;
  readonly projections: readonly Projection[];
  readonly bias: boolean;
  /** Stored with a row per input. */
  readonly turned: boolean;
}

/** @throws WeightsmithError `share-unsupported` unless all layers have the four projections, each in one shape throughout */
export function findAttention(model: Checkpoint): Attention {
  const layers = new Map<string, { index: number; held: Held[] }>();
  for (const entry of model.tensors.values()) {
    const [, prefix, index, module, kind] = NAME.exec(entry.name) ?? [];
    const projections = HELD.get(module ?? "");
    if (prefix === undefined || projections === undefined) continue;
    const layer = layers.get(prefix) ?? { index: Number(index), held: [] };
    layer.held.push({ entry, name: `${module}.${kind}`, projections, bias: kind === "bias", turned: isConv1d(entry.name, model) });
    layers.set(prefix, layer);
  }
  const sorted = [...layers].sort(([, a], [, b]) => a.index - b.index);
  const [first] = sorted;
  const heads = model.config?.n_head ?? model.config?.num_attention_heads;
  if (first === undefined || typeof heads !== "number") throw unsupported(model, first === undefined ? "no attention layers" : "no num_attention_heads");
  for (const [prefix, { held }] of sorted) checkLayer(model, prefix, held, first[1].held);
  const sizes = headSizes(model, first[1].held, heads);
  return { ...sizes, layers: sorted.map(([prefix, { held }]) => ({ prefix, tensors: held.flatMap((one) => headTensor(one, sizes) ?? []) })) };
}

function checkLayer(model: Checkpoint, prefix: string, held: readonly Held[], first: readonly Held[]): void {
  const matrices = held.filter(({ bias }) => !bias);
  if (
    matrices
      .flatMap(({ projections }) => [...projections])
      .sort()
      .join() !== "k,o,q,v"
  )
    throw unsupported(model, prefix);
  for (const { entry, name } of matrices) {
    const same = first.find((other) => other.name === name)?.entry.shape.join() === entry.shape.join();
    if (!same || entry.shape.length !== 2 || !isFloat(entry.dtype)) throw unsupported(model, entry.name);
  }
}

const outputs = ({ entry: { shape }, turned }: Held): number => shape[turned ? 1 : 0] ?? 0;
const inputs = ({ entry: { shape }, turned }: Held): number => shape[turned ? 0 : 1] ?? 0;

function headSizes(model: Checkpoint, held: readonly Held[], heads: number): Omit<Attention, "layers"> {
  const matrix = (letter: Projection) => held.find(({ projections, bias }) => !bias && projections.includes(letter)) as Held;
  const headDim = inputs(matrix("o")) / heads;
  const keys = matrix("k");
  const kvHeads = (keys.projections.length > 1 ? (outputs(keys) - heads * headDim) / 2 : outputs(keys)) / headDim;
  const fits = held.every(
    (one) => one.bias || one.projections.includes("o") || outputs(one) === one.projections.reduce((sum, p) => sum + (p === "q" ? heads : kvHeads) * headDim, 0),
  );
  if (Number.isInteger(headDim) && Number.isInteger(kvHeads) && kvHeads > 0 && heads % kvHeads === 0 && fits) return { heads, kvHeads, headDim };
  throw unsupported(model, `${heads} heads of ${headDim} dimensions`);
}

function headTensor({ entry, name, projections, bias, turned }: Held, { heads, kvHeads, headDim }: Omit<Attention, "layers">): HeadTensor | undefined {
  const isOutput = projections.includes("o");
  if (isOutput && bias) return undefined;
  let next = 0;
  const parts = projections.map((projection) => {
    const first = next;
    next += (projection === "q" ? heads : kvHeads) * headDim;
    return { projection, first };
  });
  return { entry, name, parts, alongColumns: !bias && turned !== isOutput, columns: bias ? 1 : (entry.shape[1] ?? 1), bias };
}

export const unsupported = (model: Checkpoint, found: string) =>
  inputError("share-unsupported", "the attention layers of this model cannot be shared", {
    file: model.path,
    found,
    expected: "floating-point projections of queries, keys, values and output, apart or fused, of the same shapes in every layer",
  });
