// The attention projections of a model, layer by layer, and where in their tensors the heads lie: along rows, along columns where weights are
// stored with a row per input. Where queries, keys and values are fused in one tensor they are three stretches of it, or take turns head by head.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { isConv1d } from "../checkpoints/conv1d.ts";
import { inputError } from "../diagnostics.ts";
import { isFloat } from "../formats/dtypes.ts";
import { joined, type Place, type Stretch, wholeTensor } from "./places.ts";

export const PROJECTIONS = ["q", "k", "v", "o"] as const;
export type Projection = (typeof PROJECTIONS)[number];

/** A tensor in which every head has stretches of rows or columns; the bias of the output is none, for all heads share it. */
export interface HeadTensor {
  readonly entry: TensorEntry;
  /** Name within the layer. */
  readonly name: string;
  /** One projection or several: at which row or column each begins, and how far it is from one of its heads to the next. With grouped queries a head is a group. */
  readonly parts: readonly { readonly projection: Projection; readonly first: number; readonly step: number }[];
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
  ["dense", ["o"]],
  ["qkv_proj", FUSED],
  ["c_attn", FUSED],
  ["Wqkv", FUSED],
  ["query_key_value", FUSED],
]);
/** Models whose fused tensor has the queries, the key and the value of one head, or group, after the other. */
const BY_HEAD: readonly unknown[] = ["gpt_neox", "gpt_neox_japanese", "bloom", "falcon", "persimmon"];
/** Those that fuse under the same name, but in stretches. */
const BY_STRETCH: readonly unknown[] = ["chatglm"];

interface Held {
  readonly entry: TensorEntry;
  readonly name: string;
  readonly projections: readonly Projection[];
  readonly bias: boolean;
  /** Stored with a row per input. */
  readonly turned: boolean;
  /** Fused head by head. */
  readonly byHead: boolean;
}

/** @throws WeightsmithError `share-unsupported` unless all layers have the four projections, each in one shape throughout */
export function findAttention(model: Checkpoint): Attention {
  const layers = new Map<string, { index: number; held: Held[] }>();
  for (const entry of model.tensors.values()) {
    const [, prefix, index, module, kind] = NAME.exec(entry.name) ?? [];
    const projections = HELD.get(module ?? "");
    if (prefix === undefined || projections === undefined) continue;
    const layer = layers.get(prefix) ?? { index: Number(index), held: [] };
    const byHead = projections.length > 1 && isByHead(model, module ?? "");
    layer.held.push({ entry, name: `${module}.${kind}`, projections, bias: kind === "bias", turned: isConv1d(entry.name, model), byHead });
    layers.set(prefix, layer);
  }
  const sorted = [...layers].sort(([, a], [, b]) => a.index - b.index);
  const [first] = sorted;
  const heads = model.config?.n_head ?? model.config?.n_heads ?? model.config?.num_attention_heads;
  if (first === undefined || typeof heads !== "number") throw unsupported(model, first === undefined ? "no attention layers" : "no num_attention_heads");
  for (const [prefix, { held }] of sorted) checkLayer(model, prefix, held, first[1].held);
  const sizes = headSizes(model, first[1].held, heads);
  return { ...sizes, layers: sorted.map(([prefix, { held }]) => ({ prefix, tensors: held.flatMap((one) => headTensor(one, sizes) ?? []) })) };
}

function isByHead(model: Checkpoint, module: string): boolean {
  const type = model.config?.model_type;
  const known = module === "query_key_value" ? [...BY_HEAD, ...BY_STRETCH].includes(type) : type !== "codegen";
  if (!known) throw unsupported(model, `${module} of ${type ?? "an unknown model_type"}, whose order is not known`);
  return BY_HEAD.includes(type) || (type === "gpt_bigcode" && model.config?.multi_query === false);
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

function headTensor({ entry, name, projections, bias, turned, byHead }: Held, sizes: Omit<Attention, "layers">): HeadTensor | undefined {
  const isOutput = projections.includes("o");
  if (isOutput && bias) return undefined;
  const own = projections.map((projection) => unitSize(sizes, projection));
  const all = own.reduce((sum, size) => sum + size, 0);
  let next = 0;
  const parts = projections.map((projection, i) => {
    const [first, size] = [next, own[i] as number];
    next += byHead ? size : sizes.kvHeads * size;
    return { projection, first, step: byHead ? all : size };
  });
  return { entry, name, parts, alongColumns: !bias && turned !== isOutput, columns: bias ? 1 : (entry.shape[1] ?? 1), bias };
}

/** Rows or columns of a key-value head, or of the query heads that share one. */
const unitSize = ({ heads, kvHeads, headDim }: Omit<Attention, "layers">, projection: Projection): number =>
  projection === "k" || projection === "v" ? headDim : (heads / kvHeads) * headDim;

/** Where in a tensor the weights of a unit lie: a stretch for each projection that it holds. */
export const stretches = (attention: Attention, { parts }: Pick<HeadTensor, "parts">, unit: number): Stretch[] =>
  parts.map(({ projection, first, step }) => [first + unit * step, unitSize(attention, projection)]);

/** Where a projection's weights lie in each layer. */
export function placesOf(attention: Attention, projection: Projection): Place[] {
  return attention.layers.map(({ tensors }) => {
    const tensor = tensors.find(({ parts, bias }) => !bias && parts.some((part) => part.projection === projection)) as HeadTensor;
    const { entry, alongColumns, parts } = tensor;
    if (parts.length === 1) return wholeTensor(entry);
    const own = { parts: parts.filter((part) => part.projection === projection) };
    return { entry, alongColumns, stretches: joined(Array.from({ length: attention.kvHeads }, (_, unit) => stretches(attention, own, unit)).flat()) };
  });
}

export const unsupported = (model: Checkpoint, found: string) =>
  inputError("share-unsupported", "the attention layers of this model cannot be shared", {
    file: model.path,
    found,
    expected: "floating-point projections of queries, keys, values and output, apart or fused, of the same shapes in every layer",
  });
