// What a tensor's name says about its place in the network. Works by pattern, so that no architecture needs a file of its own.

export type TensorRole = "embedding" | "head" | "norm" | "attention" | "mlp" | "expert" | "router" | "bias" | "other";

export interface TensorPlace {
  readonly role: TensorRole;
  /** Index of the layer, if the tensor belongs to one. */
  readonly layer: number | undefined;
  /** What stands before the layer index, e.g. `model.layers`; the whole name if there is none. */
  readonly prefix: string;
  /** What stands after it, e.g. `mlp.up_proj.weight`; empty if there is no layer. */
  readonly rest: string;
}

/** The layer index is the first number between two dots; later ones count experts and the like. */
const LAYER = /^(.*?)\.(\d+)\.(.*)$/s;

/** First match wins: a norm inside attention is a norm, a gate that picks experts is a router. */
const ROLES: readonly (readonly [TensorRole, RegExp])[] = [
  ["router", /\brouter\b|\.gate\.(weight|bias|e_score_correction_bias)$|\.gate_inp\b/],
  ["expert", /experts?\b|\bexperts?_/],
  ["norm", /norm|(^|[._])ln(_|\d|\.|$)/i],
  ["embedding", /embed(?!_out)|\bwte\b|\bwpe\b|^(model\.)?shared\.weight$/i],
  ["head", /\blm_head\b|\bembed_out\b|^output\.weight$|\bscore\.|\bclassifier\b|^cls\./],
  ["bias", /(^|[._])bias$/],
  ["attention", /attn|attention|\b(q|k|v|o|qkv|out)_proj\b/i],
  ["mlp", /mlp|ffn|feed_forward|\b(gate|up|down|gate_up)_proj\b|\bfc_?\d|intermediate|\bdense\b|\bw[123]\b/i],
];

/** Place of a tensor by its name. */
export function placeOf(name: string): TensorPlace {
  const role = ROLES.find(([, pattern]) => pattern.test(name))?.[0] ?? "other";
  const match = LAYER.exec(name);
  if (match === null) return { role, layer: undefined, prefix: name, rest: "" };
  return { role, layer: Number(match[2]), prefix: match[1] ?? "", rest: match[3] ?? "" };
}

/** Layer index in a tensor's name, if it has one. */
export function layerOf(name: string): number | undefined {
  const match = LAYER.exec(name);
  return match === null ? undefined : Number(match[2]);
}

/** The same tensor of layer `layer`; a name without a layer is returned unchanged. */
export function renameLayer(name: string, layer: number): string {
  return name.replace(LAYER, (_, prefix: string, __, rest: string) => `${prefix}.${layer}.${rest}`);
}

/** Number of layers under each prefix (highest index + 1); multi-modal models have several stacks. */
export function layerStacks(names: Iterable<string>): Map<string, number> {
  const stacks = new Map<string, number>();
  for (const name of names) {
    const { layer, prefix } = placeOf(name);
    if (layer !== undefined) stacks.set(prefix, Math.max(stacks.get(prefix) ?? 0, layer + 1));
  }
  return stacks;
}

/** Layers of the deepest stack, 0 without any. */
export function layerCount(names: Iterable<string>): number {
  return Math.max(0, ...layerStacks(names).values());
}
