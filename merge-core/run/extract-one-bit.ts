// Packs what fine-tuning changed: of chosen layers the signs of the changes, one bit each, and a scale; everything else that changed
// whole. The result is an adapter: folded into the base, or named as base+adapter in a recipe, it is the model again. Node only.
import { type ExtractionPlan, type FactorModule, planExtraction, type TensorPair } from "../adapters/plan-extraction.ts";
import { openFile } from "../bytes/file-source.ts";
import type { ByteSource } from "../bytes/source.ts";
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { type Diagnostic, inputError, throwIfCancelled } from "../diagnostics.ts";
import { DTYPE_BYTES, elementCount, type FloatDType } from "../formats/dtypes.ts";
import { readNumbers } from "../formats/read-numbers.ts";
import { isCompressed } from "../methods/one-bit.ts";
import { type WriteTensor, writeAdapterFolder } from "./adapter-output.ts";

/** Classes of layers that can be packed, as `compress` of the method one_bit counts them. */
export const ONE_BIT_LAYERS = { attention: 1, mlp: 2, both: 3 } as const;

export interface OneBitRequest {
  readonly base: Checkpoint;
  readonly model: Checkpoint;
  readonly out: string;
  readonly layers: keyof typeof ONE_BIT_LAYERS;
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (doneBytes: number, totalBytes: number, tensor: string) => void;
}

export interface OneBitResult {
  readonly out: string;
  /** Norm of what is lost of each packed change, over the norm of the change. */
  readonly modules: readonly { readonly module: string; readonly scale: number; readonly relativeError: number }[];
  /** Tensors stored whole. */
  readonly whole: readonly string[];
  readonly tensorBytes: number;
  /** The same tensors as the model stores them. */
  readonly modelBytes: number;
  readonly seconds: number;
  readonly warnings: readonly Diagnostic[];
}

/** Elements looked at at a time. */
const CHUNK_ELEMENTS = 2 ** 20;

/** @throws WeightsmithError `extract-*`, `non-finite`, `output-*` */
export async function extractOneBit(request: OneBitRequest): Promise<OneBitResult> {
  const started = performance.now();
  const { base, model, out, layers, signal } = request;
  const plan = planExtraction(base, model);
  const maxBytes = [...model.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  const inputs = [...base.shards, ...model.shards].map(({ file }) => file);
  const packing = new Packing(request, plan, maxBytes);
  try {
    const warnings = await writeAdapterFolder({ out, overwrite: request.overwrite ?? false, inputs, maxBytes, signal }, async (write) => {
      await packing.pack(write);
      const { modules, whole } = packing;
      return {
        config: {
          peft_type: "ONE_BIT",
          base_model_name_or_path: base.path,
          fan_in_fan_out: plan.fanInFanOut,
          inference_mode: true,
          target_modules: modules.map(({ module }) => module),
        },
        about: `One-bit task vector packed with \`weightsmith adapter extract --one-bit ${layers}\` from \`${model.path}\` against \`${base.path}\`.`,
        report: { command: "adapter extract", base: base.path, model: model.path, oneBit: layers, modules, whole },
      };
    });
    const { modules, whole, tensorBytes, modelBytes } = packing;
    return { out, modules, whole, tensorBytes, modelBytes, seconds: (performance.now() - started) / 1000, warnings };
  } finally {
    await packing.close();
  }
}

class Packing {
  readonly modules: OneBitResult["modules"][number][] = [];
  readonly whole: string[] = [];
  tensorBytes = 0;
  modelBytes = 0;
  readonly #request: OneBitRequest;
  readonly #plan: ExtractionPlan;
  readonly #totalBytes: number;
  readonly #open = new Map<string, Promise<ByteSource>>();
  #doneBytes = 0;

  constructor(request: OneBitRequest, plan: ExtractionPlan, totalBytes: number) {
    this.#request = request;
    this.#plan = plan;
    this.#totalBytes = totalBytes;
  }

  async close(): Promise<void> {
    for (const source of this.#open.values()) await (await source).close();
  }

  async pack(write: WriteTensor): Promise<void> {
    const { factors, whole, unchanging } = this.#plan;
    const counted: WriteTensor = async (tensor, values) => {
      this.tensorBytes += values.length * DTYPE_BYTES[tensor.dtype];
      await write(tensor, values);
    };
    for (const pair of unchanging) await this.#requireEqual(pair);
    for (const { path, pairs } of whole) for (const pair of pairs) await this.#storeWhole(path, pair, counted);
    for (const module of factors) {
      const { weight, bias, path } = module;
      if (isCompressed(weight.model.name, weight.model.shape, ONE_BIT_LAYERS[this.#request.layers])) await this.#storeSigns(module, counted);
      else await this.#storeWhole(path, weight, counted);
      if (bias !== undefined) await this.#storeWhole(`${path}.base_layer`, bias, counted);
    }
    if (this.modules.length === 0 && this.whole.length === 0)
      throw inputError("extract-nothing", "the model does not differ from its base", { file: this.#request.model.path, found: "equal tensors" });
  }

  async #storeSigns({ path, weight, transposed }: FactorModule, write: WriteTensor): Promise<void> {
    const { name, byteLength, shape } = weight.model;
    await this.#progress(name, byteLength);
    const size = elementCount(shape);
    const [rows = 0, columns = 0] = shape;
    const signs = new Uint8Array(Math.ceil(size / 8));
    let [sum, square] = [0, 0];
    for await (const { before, after, first } of this.#chunks(weight))
      for (let i = 0; i < after.length; i++) {
        const change = Math.fround((after[i] as number) - (before[i] as number));
        sum += Math.abs(change);
        square += change * change;
        if (!(change < 0)) continue;
        const stored = first + i;
        // Bits are in the order of [out, in].
        const at = transposed ? (stored % columns) * rows + Math.floor(stored / columns) : stored;
        signs[at >>> 3] = (signs[at >>> 3] as number) | (1 << (at & 7));
      }
    if (!Number.isFinite(square)) throw inputError("non-finite", `${name} holds NaN or infinite values`, { file: this.#request.model.path });
    if (square === 0) return;
    const scale = Math.fround(sum / size);
    await write({ name: `base_model.model.${path}.onebit_signs`, dtype: "U8", shape: [signs.length] }, signs);
    await write({ name: `base_model.model.${path}.onebit_scale`, dtype: "F32", shape: [1] }, [scale]);
    this.modelBytes += byteLength;
    // |d - a sign d|^2 = |d|^2 - 2 a |d|_1 + n a^2
    const lost = Math.max(0, square - 2 * scale * sum + size * scale * scale);
    this.modules.push({ module: path, scale, relativeError: Math.sqrt(lost / square) });
  }

  /** @param path of the module, with whatever stands before the parameter's name in the adapter */
  async #storeWhole(path: string, pair: TensorPair, write: WriteTensor): Promise<void> {
    const { model } = pair;
    await this.#progress(model.name, model.byteLength);
    if (!(await this.#changed(pair))) return;
    const values = await this.#read(model, 0, elementCount(model.shape));
    await write({ name: `base_model.model.${path}.${model.name.split(".").at(-1)}`, dtype: model.dtype as FloatDType, shape: model.shape }, values);
    this.modelBytes += model.byteLength;
    this.whole.push(model.name);
  }

  async #requireEqual(pair: TensorPair): Promise<void> {
    const { model } = pair;
    await this.#progress(model.name, model.byteLength);
    if (!(await this.#changed(pair))) return;
    throw inputError("extract-unsupported", `${model.name} has changed, and no adapter can hold that`, {
      file: this.#request.model.path,
      found: `${model.dtype} [${model.shape.join(", ")}]`,
      expected: "changes of floating-point weights and biases",
    });
  }

  async #changed(pair: TensorPair): Promise<boolean> {
    if (elementCount(pair.base.shape) !== elementCount(pair.model.shape)) return true;
    for await (const { before, after } of this.#chunks(pair)) if (after.some((x, i) => x !== before[i])) return true;
    return false;
  }

  async *#chunks({ base, model }: TensorPair): AsyncGenerator<{ before: Float32Array | Float64Array; after: Float32Array | Float64Array; first: number }> {
    const size = elementCount(model.shape);
    for (let first = 0; first < size; first += CHUNK_ELEMENTS) {
      throwIfCancelled(this.#request.signal);
      const count = Math.min(CHUNK_ELEMENTS, size - first);
      yield { before: await this.#read(base, first, count), after: await this.#read(model, first, count), first };
    }
  }

  async #read({ file, offset, dtype }: TensorEntry, first: number, count: number): Promise<Float32Array | Float64Array> {
    const source = this.#open.get(file) ?? openFile(file);
    this.#open.set(file, source);
    const width = DTYPE_BYTES[dtype];
    return readNumbers(dtype, await (await source).read(offset + first * width, count * width));
  }

  async #progress(tensor: string, bytes: number): Promise<void> {
    throwIfCancelled(this.#request.signal);
    this.#request.onProgress?.(this.#doneBytes, this.#totalBytes, tensor);
    this.#doneBytes += bytes;
  }
}
