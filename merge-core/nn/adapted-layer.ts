// Layers of a decoder that are computed by the mathematics of an adapter family.
import * as tf from "@tensorflow/tfjs-core";
import type { AdapterFamily } from "../adapters/family.ts";
import { adaptedOutput, type FamilyMath, hasFactors, type Part, type Pass } from "../adapters/family-math.ts";
import type { AdaptedLayer } from "./llama.ts";
import { loraLinear } from "./ops.ts";
import { tensorAlgebra } from "./tensor-algebra.ts";

/** The layers of modules, by path, for one pass over a batch. */
export function adaptedLayers({ math, type }: AdapterFamily, parts: ReadonlyMap<string, Part<tf.Tensor>>, pass: Pass): Map<string, AdaptedLayer> {
  if (math === undefined) throw new TypeError(`${type} cannot be computed with`);
  return new Map([...parts].map(([module, part]) => [module, (layer) => layerOutput(math, part, layer, pass)]));
}

/** Two factors that are added to the weight are one operation; everything else is as the family says it. */
function layerOutput(math: FamilyMath, part: Part<tf.Tensor>, layer: Parameters<AdaptedLayer>[0], pass: Pass): tf.Tensor2D {
  const { x, branch, weight, bias } = layer;
  const { forward, lowRank } = math;
  const isPlain = forward === undefined && lowRank !== undefined && hasFactors(math, part.settings) && branch === x;
  if (!isPlain) return adaptedOutput<tf.Tensor>(tensorAlgebra, math, part, layer, pass) as tf.Tensor2D;
  const { a, b, scale } = lowRank(tensorAlgebra, part, pass);
  const y = loraLinear(x, weight, a as tf.Tensor2D, b as tf.Tensor2D, scale);
  return bias === undefined ? y : tf.add(y, bias);
}

/** The mean over modules of what the family adds to the loss; undefined if it adds nothing. */
export function meanPenalty({ math }: AdapterFamily, parts: ReadonlyMap<string, Part<tf.Tensor>>): tf.Scalar | undefined {
  const penalty = math?.penalty;
  if (penalty === undefined || parts.size === 0) return undefined;
  const each = [...parts.values()].map((part) => tf.reshape(penalty(tensorAlgebra, part), []));
  return tf.mean(tf.stack(each)) as tf.Scalar;
}
