// The pairs of factors among the parameters of a LoRA.
import type * as tf from "@tensorflow/tfjs-core";
import { liveValues } from "../nn/storage.ts";
import type { FactorPair } from "./optimisers/lora-pro.ts";

export interface NamedPair {
  readonly nameA: string;
  readonly nameB: string;
  /** The factors are the live ones. */
  readonly pair: FactorPair;
}

/** @param scale what B A is multiplied by */
export function factorPairs(parameters: ReadonlyMap<string, tf.Tensor>, scale: number): NamedPair[] {
  return [...parameters].flatMap(([nameA, a]) => {
    const nameB = nameA.replace(/lora_A(?=\.weight$)/, "lora_B");
    const b = parameters.get(nameB);
    if (nameB === nameA || b === undefined) return [];
    const [r = 0, inputs = 0] = a.shape;
    return [{ nameA, nameB, pair: { r, inputs, outputs: b.shape[0] ?? 0, a: liveValues(a), b: liveValues(b), scale } }];
  });
}
