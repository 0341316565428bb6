// Sides of a layer as its adapter's own tensors tell them, where they do.
import { elementCount } from "../formats/dtypes.ts";
import type { LayerShape, Settings, Shapes } from "./family.ts";
import { numberOf } from "./family.ts";

/** For families with factors: the tensors whose second side is the inputs', and whose first is the outputs'. */
const SIDES: Readonly<Record<string, readonly [inputs: string, outputs: string]>> = {
  LORA: ["lora_A", "lora_B"],
  ADALORA: ["lora_A", "lora_B"],
  DELORA: ["delora_A", "delora_B"],
  LOHA: ["hada_w1_b", "hada_w1_a"],
  PSOFT: ["psoft_A", "psoft_B"],
};

/** Undefined if only the base model knows. */
export function layerOf(type: string, held: Shapes, settings: Settings): LayerShape | undefined {
  if (type === "VBLORA") return vectorsOf(held, numberOf(settings, "vector_length"));
  const [inputs, outputs] = type === "LORA" && "lora_embedding_A" in held ? ["lora_embedding_A", "lora_embedding_B"] : (SIDES[type] ?? []);
  const [a, b] = [held[inputs ?? ""], held[outputs ?? ""]];
  if (a?.[1] === undefined || b?.[0] === undefined) return undefined;
  // Of a convolution all places of its kernel count.
  return { inFeatures: elementCount(a.slice(1)), outFeatures: b[0] };
}

function vectorsOf(held: Shapes, length: number): LayerShape | undefined {
  const find = (side: string) => held[`vblora_logits_${side}`] ?? held[`vblora_logits_${side}_topk_indices`];
  const [inputs, outputs] = [find("A")?.[1], find("B")?.[0]];
  return inputs === undefined || outputs === undefined ? undefined : { inFeatures: inputs * length, outFeatures: outputs * length };
}
