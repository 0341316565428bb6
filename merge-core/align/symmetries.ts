// Which axes of which tensors may be permuted together without changing what a model computes. Found by names and shapes; what is not
// understood is refused, for a tensor that is left out of a permutation breaks the model (Git Re-Basin: Ainsworth et al. 2022, 2209.04836).
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { CONV1D_MODELS } from "../checkpoints/conv1d.ts";
import { inputError } from "../diagnostics.ts";

/** A stretch of an axis that follows an order; without a space it stays. */
export interface Segment {
  readonly space: string | undefined;
  readonly size: number;
}

/** Of each dimension its segments, which add up to its size. */
export type Axes = readonly (readonly Segment[])[];

/** The hidden units of a feed-forward layer, or the residual stream: any permutation. */
export interface UnitSpace {
  readonly kind: "units";
  readonly space: string;
  readonly size: number;
}

/**
 * An attention layer: key-value heads permute with their query heads as one, query heads within their group, and within a value head the
 * dimensions that only the output projection sees. Where positions are not rotated into queries and keys, their dimensions do so too.
 */
export interface HeadSpaces {
  readonly kind: "heads";
  readonly prefix: string;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rotary: boolean;
  readonly spaces: { readonly q: string; readonly k: string; readonly v: string; readonly o: string };
}

export type Group = UnitSpace | HeadSpaces;

export interface Symmetries {
  readonly axes: ReadonlyMap<string, Axes>;
  readonly groups: readonly Group[];
}

export const RESIDUAL = "residual";

/** Positions that are added to embeddings or to scores, not rotated into queries and keys. Others are taken for rotary: that is always safe. */
const NOT_ROTARY = new Set([...CONV1D_MODELS, "opt", "bert", "roberta", "vit", "clip_vision_model", "bloom", "gpt_bigcode", "mpt"]);

type Part = "up" | "up2" | "down" | "q" | "k" | "v" | "qkv" | "o" | "headNorm";

const PARTS: readonly (readonly [RegExp, Part])[] = [
  [/^(.*\bmlp|.*\bblock_sparse_moe\.experts\.\d+|.*\bmlp\.experts\.\d+|.*\bshared_expert)\.(gate_proj|up_proj|w1|w3|c_fc|fc1|dense_h_to_4h)$/, "up"],
  [/^(.*\bmlp|.*\bblock_sparse_moe\.experts\.\d+|.*\bmlp\.experts\.\d+|.*\bshared_expert)\.(down_proj|w2|c_proj|fc2|dense_4h_to_h)$/, "down"],
  [/^(.*\bmlp)\.gate_up_proj$/, "up2"],
  [/^(.*\.\d+)\.fc1$/, "up"],
  [/^(.*\.\d+)\.fc2$/, "down"],
  [/^(.*attn|.*attention)\.q_proj$/, "q"],
  [/^(.*attn|.*attention)\.k_proj$/, "k"],
  [/^(.*attn|.*attention)\.v_proj$/, "v"],
  [/^(.*attn|.*attention)\.(o_proj|out_proj|c_proj)$/, "o"],
  [/^(.*attn|.*attention)\.(qkv_proj|c_attn)$/, "qkv"],
  [/^(.*attn|.*attention)\.[qk]_norm$/, "headNorm"],
];
/** Constants that loaders compute. */
const CONSTANT = /(^|\.)(rotary_emb\.inv_freq|attn\.(bias|masked_bias))$/;
const EMBEDDING = /(embed_tokens|wte|wpe|embed_positions|lm_head)\.weight$/;
const NORM = /(norm|ln_\w+|layer_norm)\.(weight|bias)$/;

interface Module {
  readonly prefix: string;
  readonly part: Part;
  readonly kind: string;
  readonly entry: TensorEntry;
}

/** @throws WeightsmithError `align-tensor-unknown`, `align-shape`, `align-nothing` */
export function findSymmetries(model: Checkpoint, options: { readonly residual?: boolean } = {}): Symmetries {
  const modules = [...model.tensors.values()].flatMap((entry) => moduleOf(entry) ?? []);
  if (modules.length === 0) return chain(model);
  const hidden = options.residual ? hiddenSize(model) : undefined;
  const axes = new Map<string, Axes>();
  const groups = new Map<string, Group>();
  for (const module of modules) {
    const built =
      module.part === "up" || module.part === "up2" || module.part === "down" ? feedForward(module, modules, model) : attention(module, modules, model);
    if (built === undefined) continue;
    axes.set(module.entry.name, withResidual(built.axes, module, hidden));
    groups.set(built.group.kind === "units" ? built.group.space : built.group.prefix, built.group);
  }
  checkComplete(model, modules, axes);
  if (hidden !== undefined) addResidual(model, axes, groups, hidden);
  return { axes, groups: [...groups.values()] };
}

function moduleOf(entry: TensorEntry): Module | undefined {
  const [, path, kind] = /^(.*)\.(weight|bias)$/.exec(entry.name) ?? [];
  if (path === undefined || kind === undefined || CONSTANT.test(entry.name)) return undefined;
  for (const [pattern, part] of PARTS) {
    const prefix = pattern.exec(path)?.[1];
    if (prefix !== undefined) return { prefix, part, kind, entry };
  }
  return undefined;
}

const isConv = ({ config }: Checkpoint): boolean => CONV1D_MODELS.includes(String(config?.model_type));
const stays = (size: number): Segment[] => [{ space: undefined, size }];

/** Axes of a weight [out, in] or of a bias [out], turned where weights are stored [in, out]. */
function linear({ kind, entry }: Module, model: Checkpoint, out: readonly Segment[], input: readonly Segment[]): Axes {
  const axes = kind === "bias" ? [out] : isConv(model) ? [input, out] : [out, input];
  const sizes = axes.map((axis) => axis.reduce((sum, { size }) => sum + size, 0));
  if (sizes.join() === entry.shape.join()) return axes;
  throw inputError("align-shape", `tensor ${entry.name} does not have the shape that its layer implies`, {
    file: model.path,
    found: `[${entry.shape.join(", ")}]`,
    expected: `[${sizes.join(", ")}]`,
  });
}

/** Sides of a weight as [out, in]; of a bias only out. */
const sides = ({ kind, entry }: Module, model: Checkpoint): readonly [number, number] => {
  const [first = 0, second = 0] = entry.shape;
  return kind === "bias" ? [first, 0] : isConv(model) ? [second, first] : [first, second];
};

function feedForward(module: Module, all: readonly Module[], model: Checkpoint): { axes: Axes; group: UnitSpace } {
  const { prefix, part } = module;
  const down = all.find((other) => other.prefix === prefix && other.part === "down" && other.kind === "weight");
  if (down === undefined) throw incomplete(module, model);
  const [, size] = sides(down, model);
  const space = `${prefix}.units`;
  const [out, input] = sides(module, model);
  const units = [{ space, size }];
  const axes = part === "down" ? linear(module, model, stays(out), units) : linear(module, model, part === "up2" ? [...units, ...units] : units, stays(input));
  return { axes, group: { kind: "units", space, size } };
}

const incomplete = ({ entry }: Module, model: Checkpoint) =>
  inputError("align-tensor-unknown", `tensor ${entry.name} belongs to a layer that is not understood`, {
    file: model.path,
    found: entry.name,
    expected: "a feed-forward or attention layer with all of its projections",
  });

function attention(module: Module, all: readonly Module[], model: Checkpoint): { axes: Axes; group: HeadSpaces } | undefined {
  const { prefix, part } = module;
  const own = number(model, "n_head");
  const heads = own ?? number(model, "num_attention_heads");
  const output = all.find((other) => other.prefix === prefix && other.part === "o" && other.kind === "weight");
  if (heads === undefined || output === undefined) return undefined;
  const [, width] = sides(output, model);
  const [kvHeads, headDim] = [own ?? number(model, "num_key_value_heads") ?? heads, width / heads];
  if (!Number.isInteger(headDim) || heads % kvHeads !== 0) throw incomplete(module, model);
  const spaces = { q: `${prefix}.q`, k: `${prefix}.k`, v: `${prefix}.v`, o: `${prefix}.o` };
  const normed = all.some((other) => other.prefix === prefix && other.part === "headNorm");
  const rotary = normed || !NOT_ROTARY.has(String(model.config?.model_type));
  const group: HeadSpaces = { kind: "heads", prefix, heads, kvHeads, headDim, rotary, spaces };
  const q = { space: spaces.q, size: heads * headDim };
  const [k, v] = [spaces.k, spaces.v].map((space) => ({ space, size: kvHeads * headDim })) as [Segment, Segment];
  const [out, input] = sides(module, model);
  if (part === "headNorm") return { axes: [headNorm(module, q, k, headDim, model)], group };
  if (part === "o") return { axes: linear(module, model, stays(out), [{ space: spaces.o, size: width }]), group };
  return { axes: linear(module, model, { q: [q], k: [k], v: [v], qkv: [q, k, v] }[part as "q"], stays(input)), group };
}

/** A norm over each head is the same for all of them; one over all heads permutes with them. */
function headNorm(module: Module, q: Segment, k: Segment, headDim: number, model: Checkpoint): readonly Segment[] {
  const [size = 0] = module.entry.shape;
  const all = /q_norm\.\w+$/.test(module.entry.name) ? q : k;
  if (size === all.size) return [all];
  if (size === headDim) return stays(size);
  throw incomplete(module, model);
}

function number({ config }: Checkpoint, key: string): number | undefined {
  const value = config?.[key];
  return typeof value === "number" && Number.isInteger(value) && value > 0 ? value : undefined;
}

/** Every tensor inside of a permuted module must have been understood. */
function checkComplete(model: Checkpoint, modules: readonly Module[], axes: ReadonlyMap<string, Axes>): void {
  const permuted = modules.filter(({ entry }) => axes.has(entry.name)).map(({ prefix }) => `${prefix}.`);
  const prefixes = [...new Set(permuted)].filter((prefix) => /(mlp|attn|attention|expert|experts\.\d+)\.$/.test(prefix));
  for (const { name, dtype } of model.tensors.values()) {
    if (axes.has(name) || CONSTANT.test(name) || !prefixes.some((prefix) => name.startsWith(prefix))) continue;
    throw inputError("align-tensor-unknown", `tensor ${name} is part of a layer that would be permuted, and what it does is not known`, {
      file: model.path,
      found: `${dtype} ${name}`,
      expected: "projections, their biases and norms of heads",
    });
  }
}

function hiddenSize(model: Checkpoint): number {
  const size = number(model, "n_embd") ?? number(model, "hidden_size");
  if (size === undefined)
    throw inputError("config-missing", "the width of the residual stream is not known", { file: model.path, expected: "hidden_size in config.json" });
  return size;
}

/** The side of a layer that reads from or writes to the residual stream follows it. */
function withResidual(axes: Axes, { kind, part }: Module, hidden: number | undefined): Axes {
  if (hidden === undefined || part === "headNorm" || (kind === "bias" && part !== "o" && part !== "down")) return axes;
  return axes.map((axis) => (axis.every(({ space }) => space === undefined) ? [{ space: RESIDUAL, size: hidden }] : axis));
}

function addResidual(model: Checkpoint, axes: Map<string, Axes>, groups: Map<string, Group>, hidden: number): void {
  const stream = [{ space: RESIDUAL, size: hidden }];
  for (const { name, shape } of model.tensors.values()) {
    if (axes.has(name) || CONSTANT.test(name)) continue;
    const [first = 0, second = 0] = shape;
    if (EMBEDDING.test(name) && second === hidden) axes.set(name, [stays(first), stream]);
    else if (NORM.test(name) && shape.length === 1 && first === hidden) axes.set(name, [stream]);
    else
      throw inputError("align-tensor-unknown", `how tensor ${name} meets the residual stream is not known`, {
        file: model.path,
        found: `[${shape.join(", ")}]`,
        remedy: "align without --residual",
      });
  }
  groups.set(RESIDUAL, { kind: "units", space: RESIDUAL, size: hidden });
}

/** A plain MLP: layers in the order of their numbers, each one's outputs the next one's inputs. */
function chain(model: Checkpoint): Symmetries {
  const layers = [...model.tensors.values()]
    .filter(({ name, shape }) => /\d+\.weight$/.test(name) && shape.length === 2)
    .sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  const biases = new Set(layers.map(({ name }) => name.replace(/weight$/, "bias")));
  const strange = [...model.tensors.values()].find((entry) => !layers.includes(entry) && !biases.has(entry.name));
  const broken = layers.find(({ shape }, i) => i > 0 && layers[i - 1]?.shape[0] !== shape[1]);
  if (layers.length < 2 || strange !== undefined || broken !== undefined)
    throw inputError("align-nothing", "no layers that can be permuted were found", {
      file: model.path,
      found: strange?.name ?? broken?.name ?? `${layers.length} numbered layers`,
      expected: "a transformer with attention and mlp layers, or an MLP of layers such as fc1, fc2 that fit on each other",
    });
  const axes = new Map<string, Axes>();
  const groups: UnitSpace[] = [];
  const space = (i: number): Segment => ({
    space: i < 0 || i === layers.length - 1 ? undefined : `${layers[i]?.name.replace(/\.weight$/, "")}.units`,
    size: 0,
  });
  for (const [i, { name, shape }] of layers.entries()) {
    const [rows = 0, columns = 0] = shape;
    const out = [{ ...space(i), size: rows }];
    axes.set(name, [out, [{ ...space(i - 1), size: columns }]]);
    const bias = name.replace(/weight$/, "bias");
    if (model.tensors.has(bias)) axes.set(bias, [out]);
    const unit = space(i).space;
    if (unit !== undefined) groups.push({ kind: "units", space: unit, size: rows });
  }
  return { axes, groups };
}
