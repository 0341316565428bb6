// Tensor bytes -> a decoder that runs. The bytes come from a checkpoint on disk or from memory, so that a merge can be measured without files.
import * as tf from "@tensorflow/tfjs-core";
import { inputError, nearestName } from "../diagnostics.ts";
import { widenToFloat32 } from "../formats/dtype-codecs.ts";
import { type DType, elementCount, isFloat } from "../formats/dtypes.ts";
import type { DecoderConfig } from "./config.ts";
import { GPT2_MASK, gpt2Name, isTransposed } from "./gpt2.ts";
import { type Decoder, weightShapes } from "./llama.ts";
import type { HalfDType } from "./shared-data.ts";
import { activeBackend } from "./storage.ts";
import { withExperts } from "./weight-ensemble.ts";

/** One tensor in memory, little-endian as on disk. */
export interface TensorData {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** Tensors that carry nothing the forward pass needs: tied copies and cached rotary frequencies of old checkpoints. */
const REDUNDANT = /^lm_head\.weight$|rotary_emb\.inv_freq$/;

export interface DecoderOptions {
  /** Matrices that are stored in 16 bits stay so in memory and are widened while they are used: the same numbers in half the memory. For weights that nothing changes. */
  readonly frozen?: boolean;
}

/**
 * Builds a decoder in float32. The caller disposes it with `disposeDecoder`.
 * @param file what diagnostics call the source of the tensors
 * @throws WeightsmithError `tensor-missing`, `tensor-unexpected`, `tensor-shape-mismatch`, `tensor-not-float`
 */
export function createDecoder(config: DecoderConfig, stored: ReadonlyMap<string, TensorData>, file: string, { frozen = false }: DecoderOptions = {}): Decoder {
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
  // Stacked experts are made of tensors that lie in memory.
  const keep = frozen && config.experts === undefined ? activeBackend() : undefined;
  const weights = new Map(
    [...shapes].map(([name, shape]) => {
      const tensor = tensors.get(name);
      const turned = isTransposed(config, name);
      if (keep !== undefined && shape.length === 2 && tensor !== undefined && isHalf(tensor.dtype))
        return [name, keep.frozen(turned ? turnedCodes(tensor) : tensor.data, [...shape], tensor.dtype)];
      return [name, turned ? transposed(toTensor(tensor, shape.toReversed())) : toTensor(tensor, shape)];
    }),
  );
  const decoder = { config, weights };
  return config.experts === undefined ? decoder : withExperts(decoder);
}

const isHalf = (dtype: DType): dtype is HalfDType => dtype === "BF16" || dtype === "F16";

/** The codes of the transpose. */
function turnedCodes({ shape: [rows = 0, columns = 0], data }: TensorData): Uint8Array {
  const codes = new Uint16Array(data.slice().buffer);
  const turned = new Uint16Array(codes.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned[j * rows + i] = codes[i * columns + j] as number;
  return new Uint8Array(turned.buffer);
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
