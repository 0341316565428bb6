// Takes a LoRA out of a fine-tuned model: each matrix's difference from the base is decomposed, tensor by tensor. Node only.
import { type ExtractionPlan, type FactorModule, planExtraction, type TensorPair, type WholeModule } from "../adapters/plan-extraction.ts";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { readFully } from "../compute/files.ts";
import { dot, type Matrix } from "../compute/linalg/matrix.ts";
import { type PoolSpace, poolSpace } from "../compute/linalg/pool-space.ts";
import { type Svd, svd } from "../compute/linalg/svd.ts";
import { type ComputePool, createPool } from "../compute/pool.ts";
import { type Diagnostic, inputError, throwIfCancelled } from "../diagnostics.ts";
import { widenToFloat32 } from "../formats/dtype-codecs.ts";
import { DTYPE_BYTES, elementCount, type FloatDType, isFloat } from "../formats/dtypes.ts";
import { type AdapterTensor, type WriteTensor, writeAdapterFolder } from "./adapter-output.ts";
import { loraConfig } from "./lora-config.ts";
import { ARENA_SLACK_BYTES, defaultMemoryBytes } from "./memory.ts";

export interface ExtractRequest {
  readonly base: Checkpoint;
  readonly model: Checkpoint;
  readonly out: string;
  /** Of every module; with `energy` the most that a module may have. */
  readonly rank?: number | undefined;
  /** Share of the squared norm of each change that is kept. */
  readonly energy?: number | undefined;
  readonly dtype?: FloatDType;
  readonly overwrite?: boolean;
  readonly threads?: number;
  readonly memoryBytes?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (doneBytes: number, totalBytes: number, tensor: string) => void;
}

export interface ExtractedModule {
  readonly module: string;
  readonly rank: number;
  /** Norm of what is left out over the norm of the change. */
  readonly relativeError: number;
  /** Norm of the change over the norm of the base's weight. */
  readonly relativeChange: number;
}

export interface ExtractResult {
  readonly out: string;
  readonly modules: readonly ExtractedModule[];
  /** Modules stored whole. */
  readonly whole: readonly string[];
  /** Of all changes that became factors, taken together. */
  readonly relativeError: number;
  readonly parameters: number;
  readonly seconds: number;
  readonly warnings: readonly Diagnostic[];
}

const CHUNK_BYTES = 4 * 2 ** 20;

/** @throws WeightsmithError `extract-*`, `output-*`, `usage` */
export async function extractAdapter(request: ExtractRequest): Promise<ExtractResult> {
  const started = performance.now();
  const { base, model, out, signal } = request;
  if (request.rank === undefined && request.energy === undefined)
    throw inputError("usage", "neither a rank nor a share of energy is given", { expected: "--rank or --energy" });
  const plan = planExtraction(base, model);
  const pool = createPool({ threads: request.threads ?? 1, maxMemoryBytes: (request.memoryBytes ?? defaultMemoryBytes()) + ARENA_SLACK_BYTES });
  try {
    const inputs = [...base.shards, ...model.shards].map(({ file }) => file);
    const run = new Extraction(request, plan, pool);
    const replaced = await writeAdapterFolder(
      { out, overwrite: request.overwrite ?? false, inputs, maxBytes: mostBytes(plan, request), signal },
      async (write) => {
        await run.extract(write);
        return {
          config: run.config(),
          about: aboutOf(request),
          report: {
            command: "adapter extract",
            base: base.path,
            model: model.path,
            rank: request.rank ?? null,
            energy: request.energy ?? null,
            modules: run.modules,
            whole: run.whole,
          },
        };
      },
    );
    const { modules, whole, parameters } = run;
    return {
      out,
      modules,
      whole,
      relativeError: run.relativeError(),
      parameters,
      seconds: (performance.now() - started) / 1000,
      warnings: [...run.findings, ...replaced],
    };
  } finally {
    await pool.close();
  }
}

function mostBytes({ factors, whole }: ExtractionPlan, { rank }: ExtractRequest): number {
  const sides = factors.map(({ weight }) => weight.model.shape as [number, number]);
  const lowRank = sides.reduce((sum, [m, n]) => sum + Math.min(rank ?? Number.POSITIVE_INFINITY, m, n) * (m + n) * 4, 0);
  return lowRank + whole.flatMap(({ pairs }) => pairs).reduce((sum, { model }) => sum + model.byteLength, 0);
}

const aboutOf = ({ base, model, rank, energy }: ExtractRequest): string =>
  `LoRA extracted with \`weightsmith adapter extract\` from \`${model.path}\` against \`${base.path}\`, ${energy === undefined ? `rank ${rank}` : `${energy * 100} % of each change's energy${rank === undefined ? "" : `, rank at most ${rank}`}`}.`;

/** How many of the values, squared, add up to `goal`. */
function countFor(values: Float64Array, goal: number): number | undefined {
  let sum = 0;
  for (const [i, value] of values.entries()) {
    sum += value * value;
    if (sum >= goal) return i + 1;
  }
  return undefined;
}

class Extraction {
  readonly modules: ExtractedModule[] = [];
  readonly whole: string[] = [];
  readonly findings: Diagnostic[] = [];
  parameters = 0;
  readonly #request: ExtractRequest;
  readonly #plan: ExtractionPlan;
  readonly #pool: ComputePool;
  #biases = false;
  #tied = false;
  #squares = { change: 0, error: 0 };
  #doneBytes = 0;

  constructor(request: ExtractRequest, plan: ExtractionPlan, pool: ComputePool) {
    this.#request = request;
    this.#plan = plan;
    this.#pool = pool;
  }

  relativeError(): number {
    return this.#squares.change === 0 ? 0 : Math.sqrt(this.#squares.error / this.#squares.change);
  }

  async extract(write: WriteTensor): Promise<void> {
    const counted: WriteTensor = async (tensor, values) => {
      this.parameters += values.length;
      await write(tensor, values);
    };
    for (const pair of this.#plan.unchanging) await this.#requireEqual(pair);
    for (const module of this.#plan.whole) await this.#storeWhole(module, counted);
    for (const module of this.#plan.factors) await this.#storeFactors(module, counted);
    if (this.modules.length === 0 && this.whole.length === 0)
      throw inputError("extract-nothing", "the model does not differ from its base", { file: this.#request.model.path, found: "equal tensors" });
    // PEFT loads no adapter without factors, so one module gets factors of zeros.
    const [first] = this.#plan.factors;
    if (this.modules.length > 0 || first === undefined) return;
    const [rows = 0, columns = 0] = first.weight.model.shape;
    await this.#writeFactors(first, { rows, columns }, undefined, 0, counted);
    this.modules.push({ module: first.path, rank: 1, relativeError: 0, relativeChange: 0 });
  }

  config(): Record<string, unknown> {
    const { base, model } = this.#request;
    const config = loraConfig({
      modules: this.modules.map(({ module, rank }) => ({ path: module, rank })),
      base: base.path,
      task: /CausalLM|LMHead/.test(String(model.config?.architectures)) ? "CAUSAL_LM" : null,
      modulesToSave: this.whole.length === 0 ? null : this.whole,
      bias: this.#biases ? "lora_only" : "none",
      fanInFanOut: this.#plan.fanInFanOut,
    });
    return this.#tied ? { ...config, ensure_weight_tying: true } : config;
  }

  async #progress(bytes: number, tensor: string): Promise<void> {
    throwIfCancelled(this.#request.signal);
    this.#doneBytes += bytes;
    const total = [...this.#request.model.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.#request.onProgress?.(Math.min(this.#doneBytes, total), total, tensor);
    await new Promise((resume) => setImmediate(resume));
  }

  async #requireEqual(pair: TensorPair): Promise<void> {
    await this.#progress(pair.model.byteLength, pair.model.name);
    if (!this.#changed(pair)) return;
    throw inputError("extract-unsupported", `${pair.model.name} has changed, and no adapter can hold that`, {
      file: this.#request.model.path,
      found: `${pair.model.dtype} [${pair.model.shape.join(", ")}]`,
      expected: "changes of floating-point weights and biases",
    });
  }

  async #storeWhole({ path, pairs, tied, note }: WholeModule, write: WriteTensor): Promise<void> {
    await this.#progress(
      pairs.reduce((sum, { model }) => sum + model.byteLength, 0),
      path,
    );
    if (!pairs.some((pair) => this.#changed(pair))) return;
    this.whole.push(path);
    this.#tied ||= tied;
    if (note !== undefined) this.findings.push(note);
    for (const { model } of pairs) {
      if (!isFloat(model.dtype)) continue;
      const tensor = { name: `base_model.model.${path}.${model.name.split(".").at(-1)}`, dtype: model.dtype, shape: model.shape };
      const values = this.#read(model, 0, model.shape[0] ?? 0);
      await write(tensor, values);
      // PEFT wants the head too where it is to be tied to an embedding that is stored.
      if (tied) await write({ ...tensor, name: "base_model.model.lm_head.weight" }, values);
    }
  }

  async #storeFactors(module: FactorModule, write: WriteTensor): Promise<void> {
    const { weight, bias, path } = module;
    await this.#progress(weight.model.byteLength + (bias?.model.byteLength ?? 0), weight.model.name);
    const biasChanged = bias !== undefined && this.#changed(bias);
    const space = poolSpace(this.#pool, this.#request.signal);
    try {
      const { change, square, baseSquare } = this.#difference(weight, space);
      if (square === 0 && !biasChanged) return;
      if (!Number.isFinite(square)) throw inputError("non-finite", `${weight.model.name} holds NaN or infinite values`, { file: this.#request.model.path });
      const found = square === 0 ? { values: new Float64Array(), kept: 0 } : { ...(await this.#decompose(change, square, space)) };
      const kept = found.values.subarray(0, found.kept).reduce((sum, s) => sum + s * s, 0);
      const error = Math.max(0, square - kept);
      this.#squares = { change: this.#squares.change + square, error: this.#squares.error + error };
      await this.#writeFactors(module, change, "left" in found ? found : undefined, found.kept, write);
      this.modules.push({
        module: path,
        rank: Math.max(1, found.kept),
        relativeError: square === 0 ? 0 : Math.sqrt(error / square),
        relativeChange: Math.sqrt(square / baseSquare),
      });
    } finally {
      space.close();
    }
    if (!biasChanged) return;
    this.#biases = true;
    await write(
      { name: `base_model.model.${path}.base_layer.bias`, dtype: bias.model.dtype as FloatDType, shape: bias.model.shape },
      this.#read(bias.model, 0, bias.model.shape[0] ?? 0),
    );
  }

  /** Enough triplets: as many as were asked for, or looking for more until they hold the energy. */
  async #decompose(change: Matrix, square: number, space: PoolSpace): Promise<Svd & { kept: number }> {
    const { rank, energy } = this.#request;
    const most = Math.min(rank ?? Number.POSITIVE_INFINITY, change.rows, change.columns);
    if (energy === undefined) {
      const found = await svd(space, change, most);
      return { ...found, kept: found.values.length };
    }
    for (let count = Math.min(most, 32); ; count = Math.min(most, count * 4)) {
      const found = await svd(space, change, count);
      const enough = countFor(found.values, energy * square);
      if (enough !== undefined || count >= most) return { ...found, kept: enough ?? found.values.length };
      space.free(found.left, found.right);
    }
  }

  /** The root of each singular value goes to either side, which keeps both in the range of half precision. */
  async #writeFactors(
    { path, embedding, transposed }: FactorModule,
    change: Pick<Matrix, "rows" | "columns">,
    found: Svd | undefined,
    kept: number,
    write: WriteTensor,
  ): Promise<void> {
    const rank = Math.max(1, kept);
    // Stored [in, out] the change is (B A)^T, so what lies left in it is A's.
    const [inputs, outputs] = transposed ? [change.rows, change.columns] : [change.columns, change.rows];
    const [right, left] = transposed ? [found?.left, found?.right] : [found?.right, found?.left];
    const a = new Float32Array(rank * inputs);
    const b = new Float32Array(outputs * rank);
    for (let k = 0; k < kept; k++) {
      const root = Math.sqrt(found?.values[k] as number);
      for (let i = 0; i < inputs; i++) a[k * inputs + i] = root * (right?.data[k * inputs + i] as number);
      for (let o = 0; o < outputs; o++) b[o * rank + k] = root * (left?.data[k * outputs + o] as number);
    }
    const dtype = this.#request.dtype ?? "F32";
    const [infix, end] = embedding ? ["embedding_", ""] : ["", ".weight"];
    const tensor = (side: string, shape: number[]): AdapterTensor => ({ name: `base_model.model.${path}.lora_${infix}${side}${end}`, dtype, shape });
    await write(tensor("A", [rank, inputs]), a);
    await write(tensor("B", [outputs, rank]), b);
  }

  /** Model minus base, with the squared norms of it and of the base. */
  #difference({ base, model }: TensorPair, space: PoolSpace): { change: Matrix; square: number; baseSquare: number } {
    const [rows = 0, columns = 0] = model.shape;
    const change = space.zeros(rows, columns);
    const step = Math.max(1, Math.floor(CHUNK_BYTES / 4 / Math.max(1, columns)));
    let baseSquare = 0;
    for (let first = 0; first < rows; first += step) {
      const count = Math.min(step, rows - first);
      const [before, after] = [this.#read(base, first, count), this.#read(model, first, count)];
      baseSquare += dot(before, before);
      for (let i = 0; i < after.length; i++) change.data[first * columns + i] = (after[i] as number) - (before[i] as number);
    }
    return { change, square: dot(change.data, change.data), baseSquare };
  }

  #changed({ base, model }: TensorPair): boolean {
    if (base.dtype === model.dtype)
      return base.byteLength !== model.byteLength || Buffer.compare(this.#bytes(base, 0, base.byteLength), this.#bytes(model, 0, model.byteLength)) !== 0;
    if (!isFloat(base.dtype) || !isFloat(model.dtype) || elementCount(base.shape) !== elementCount(model.shape)) return true;
    const [before, after] = [this.#read(base, 0, base.shape[0] ?? 1), this.#read(model, 0, model.shape[0] ?? 1)];
    return before.some((x, i) => x !== after[i]);
  }

  /** Rows as float32. */
  #read(entry: TensorPair["model"], first: number, count: number): Float32Array {
    if (!isFloat(entry.dtype)) throw new TypeError(`${entry.name} is not floating point`);
    const rowBytes = elementCount(entry.shape.slice(1)) * DTYPE_BYTES[entry.dtype];
    return widenToFloat32(entry.dtype, this.#bytes(entry, first * rowBytes, count * rowBytes));
  }

  #bytes({ file, offset }: TensorPair["model"], from: number, byteLength: number): Uint8Array {
    const bytes = new Uint8Array(byteLength);
    const { files } = this.#pool;
    try {
      readFully(files.acquire(file, false), bytes, offset + from, file);
    } finally {
      files.release(file, false);
    }
    return bytes;
  }
}
