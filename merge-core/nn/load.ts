// Tensor bytes -> a decoder that runs. The bytes come from a checkpoint on disk or from memory, so that a merge can be measured without files.
import * as tf from "@tensorflow/tfjs-core";
import { inputError, nearestName } from "../diagnostics.ts";
import { widenToFloat32 } from "../formats/dtype-codecs.ts";
import { type DType, elementCount, isFloat } from "../formats/dtypes.ts";
import type { DecoderConfig } from "./config.ts";
import { GPT2_MASK, gpt2Name, isTransposed } from "./gpt2.ts";
import { type Decoder, weightShapes } from "./llama.ts";
import { withExperts } from "./weight-ensemble.ts";

/** One tensor in memory, little-endian as on disk. */
export interface TensorData {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** Tensors that carry nothing the forward pass needs: tied copies and cached rotary frequencies of old checkpoints. */
const REDUNDANT = /^lm_head\.weight$|rotary_emb\.inv_freq$/;

/**
 * Builds a decoder in float32. The caller disposes it with `disposeDecoder`.
 * @param file what diagnostics call the source of the tensors
 * @throws WeightsmithError `tensor-missing`, `tensor-unexpected`, `tensor-shape-mismatch`, `tensor-not-float`
 */
export function createDecoder(config: DecoderConfig, stored: ReadonlyMap<string, TensorData>, file: string): Decoder {
  const tensors = config.modelType === "gpt2" ? new Map([...stored].map(([name, tensor]) => [gpt2Name(name), tensor])) : stored;
  const shapes = weightShapes(config);
  for (const name of tensors.keys()) {
    if (shapes.has(name) || REDUNDANT.test(name) || (config.modelType === "gpt2" && GPT2_MASK.test(name))) continue;
    const near = nearestName(name, shapes.keys());
    throw inputError("tensor-unexpected", `tensor ${name} has no place in a ${config.modelType} model of this config.json`, {
      file,
      ...(near === undefined ? {} : { remedy: `did you mean ${near}?` }),
    });
  }
  for (const [name, shape] of shapes) checkTensor(name, isTransposed(config, name) ? shape.toReversed() : shape, tensors.get(name), file);
  const weights = new Map(
    [...shapes].map(([name, shape]) => [
      name,
      isTransposed(config, name) ? transposed(toTensor(tensors.get(name), shape.toReversed())) : toTensor(tensors.get(name), shape),
    ]),
  );
  const decoder = { config, weights };
  return config.experts === undefined ? decoder : withExperts(decoder);
}

function transposed(tensor: tf.Tensor): tf.Tensor {
  const turned = tf.transpose(tensor);
  tensor.dispose();
  return turned;
}

export function disposeDecoder(model: Decoder): void {
  tf.dispose([...model.weights.values()]);
  for (const { a, b } of model.lora?.values() ?? []) tf.dispose([a, b]);
}

function checkTensor(name: string, shape: readonly number[], found: TensorData | undefined, file: string): void {
  if (found === undefined) throw inputError("tensor-missing", `the model has no tensor ${name}`, { file, expected: `shape [${shape.join(", ")}]` });
  if (found.shape.join() !== shape.join()) {
    throw inputError("tensor-shape-mismatch", `tensor ${name} does not have the shape that config.json implies`, {
      file,
      found: `[${found.shape.join(", ")}]`,
      expected: `[${shape.join(", ")}]`,
    });
  }
  if (!isFloat(found.dtype))
    throw inputError("tensor-not-float", `tensor ${name} cannot be computed with`, { file, found: found.dtype, expected: "a float dtype" });
}

function toTensor(tensor: TensorData | undefined, shape: readonly number[]): tf.Tensor {
  if (tensor === undefined || !isFloat(tensor.dtype)) throw new TypeError("tensor was not checked");
  const values = widenToFloat32(tensor.dtype, tensor.data);
  if (values.length !== elementCount(shape)) throw new RangeError("tensor data does not fill its shape");
  return tf.tensor(values, [...shape], "float32");
}
