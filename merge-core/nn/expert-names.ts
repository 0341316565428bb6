// Names and shapes of the tensors of a mixture of task vectors (WEMoE) beside those of its base.
import type { DecoderConfig } from "./config.ts";

const MLP = ["gate_proj", "up_proj", "down_proj"] as const;

export const expertName = (layer: number, task: number, projection: string): string => `model.layers.${layer}.mlp.experts.${task}.${projection}.weight`;
export const routerName = (layer: number, part: "0.weight" | "0.bias" | "2.weight" | "2.bias"): string => `model.layers.${layer}.mlp.router.${part}`;

/** Name and shape of the tensors that such a model has besides those of its base. */
export function expertShapes({ experts = 0, sharedRouter, layers, hiddenSize: d, intermediateSize: m }: DecoderConfig): [string, readonly number[]][] {
  const shapes: [string, readonly number[]][] = [];
  for (let layer = 0; experts > 0 && layer < layers; layer++) {
    for (let task = 0; task < experts; task++)
      for (const projection of MLP) shapes.push([expertName(layer, task, projection), projection === "down_proj" ? [d, m] : [m, d]]);
    if (sharedRouter === true && layer > 0) continue;
    shapes.push([routerName(layer, "0.weight"), [d, d]], [routerName(layer, "0.bias"), [d]]);
    shapes.push([routerName(layer, "2.weight"), [experts, d]], [routerName(layer, "2.bias"), [experts]]);
  }
  return shapes;
}
