// Combines adapters into one LoRA, module by module. Node only.

import { type Combination, combine, type Term } from "../adapters/combine.ts";
import type { AdapterModule, ModuleTensor } from "../adapters/family.ts";
import { type CombinationPlan, type CombinedModule, type CombinedTensor, planCombination } from "../adapters/plan-combination.ts";
import { readAdapter } from "../adapters/read-adapter.ts";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { poolSpace } from "../compute/linalg/pool-space.ts";
import { type LoadRows, poolRows } from "../compute/linalg/rows.ts";
import { createPool } from "../compute/pool.ts";
import { type Diagnostic, inputError, throwIfCancelled } from "../diagnostics.ts";
import { DTYPE_BYTES, elementCount, type FloatDType, isFloat } from "../formats/dtypes.ts";
import { type AdapterTensor, type WriteTensor, writeAdapterFolder } from "./adapter-output.ts";
import { loraConfig } from "./lora-config.ts";
import { ARENA_SLACK_BYTES, defaultMemoryBytes } from "./memory.ts";

export interface CombineRequest {
  /** Adapter folders. */
  readonly adapters: readonly string[];
  /** One per adapter. */
  readonly weights: readonly number[];
  readonly method: Combination;
  readonly out: string;
  /** Of the result; without it exact keeps everything and svd takes the largest of the inputs. */
  readonly rank?: number | undefined;
  readonly density?: number;
  readonly majority?: "total" | "frequency";
  readonly seed?: number;
  readonly base?: Checkpoint | undefined;
  readonly dtype?: FloatDType;
  readonly overwrite?: boolean;
  readonly threads?: number;
  readonly memoryBytes?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (done: number, total: number, module: string) => void;
}

export interface CombineResult {
  readonly out: string;
  readonly method: Combination;
  /** Distance of each module's change from the exact sum, over the norm of the sum. */
  readonly modules: readonly { readonly module: string; readonly rank: number; readonly relativeError: number }[];
  readonly largestError: number;
  readonly parameters: number;
  readonly seconds: number;
  readonly warnings: readonly Diagnostic[];
}

/** @throws WeightsmithError `adapter-*`, `output-*`, `usage` */
export async function combineAdapters(request: CombineRequest): Promise<CombineResult> {
  const started = performance.now();
  const { adapters: folders, method, rank, base, signal, out, dtype = "F32" } = request;
  if (folders.length !== request.weights.length)
    throw inputError("usage", "there must be one weight for each adapter", { found: `${request.weights.length} weights`, expected: String(folders.length) });
  const adapters = [];
  for (const folder of folders) adapters.push(await readAdapter(folder, signal === undefined ? {} : { signal }));
  const plan = planCombination(adapters, { method, rank, base });
  const specs = outputTensors(plan, dtype);
  const files = new TensorReader();
  const pool = createPool({ threads: request.threads ?? 1, maxMemoryBytes: (request.memoryBytes ?? defaultMemoryBytes()) + ARENA_SLACK_BYTES });
  const modules: CombineResult["modules"][number][] = [];
  try {
    const maxBytes = specs.reduce((sum, { shape, dtype: stored }) => sum + elementCount(shape) * DTYPE_BYTES[stored], 0);
    const output = { out, overwrite: request.overwrite ?? false, inputs: adapters.map(({ file }) => file), maxBytes, signal };
    const replaced = await writeAdapterFolder(output, async (write) => {
      for (const module of plan.modules) {
        throwIfCancelled(signal);
        request.onProgress?.(modules.length, plan.modules.length, module.path);
        const [space, rows] = [poolSpace(pool), poolRows(pool)];
        try {
          modules.push(await combineModule(module, plan, request, { files, space, rows, write }));
        } finally {
          space.close();
        }
      }
      request.onProgress?.(plan.modules.length, plan.modules.length, "");
      for (const tensor of wholeTensors(plan)) await write(tensor, await meanOf(tensor, request.weights, files));
      const { density = 1, seed = 0, weights } = request;
      return {
        config: configOf(plan),
        about: aboutOf(request),
        report: { command: "adapter merge", method, weights, adapters: folders, rank: rank ?? null, density, seed, modules },
      };
    });
    return {
      out,
      method,
      modules,
      largestError: Math.max(0, ...modules.map(({ relativeError }) => relativeError)),
      parameters: specs.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0),
      seconds: (performance.now() - started) / 1000,
      warnings: [...plan.findings, ...replaced],
    };
  } finally {
    await files.close();
    await pool.close();
  }
}

const factorNames = ({ path, embedding }: CombinedModule): [string, string] => {
  const [infix, end] = embedding ? ["embedding_", ""] : ["", ".weight"];
  return [`base_model.model.${path}.lora_${infix}A${end}`, `base_model.model.${path}.lora_${infix}B${end}`];
};

function outputTensors(plan: CombinationPlan, dtype: FloatDType): AdapterTensor[] {
  return [...plan.modules.flatMap((module) => factorTensors(module, dtype)), ...wholeTensors(plan)];
}

function factorTensors(module: CombinedModule, dtype: FloatDType): [AdapterTensor, AdapterTensor] {
  const [a, b] = factorNames(module);
  const { rank, layer } = module;
  return [
    { name: a, dtype, shape: [rank, layer.inFeatures] },
    { name: b, dtype, shape: [layer.outFeatures, rank] },
  ];
}

function wholeTensors({ replacements }: CombinationPlan): (AdapterTensor & CombinedTensor)[] {
  return replacements.flatMap((tensor) => {
    const entry = tensor.sources[0]?.entry;
    return entry !== undefined && isFloat(entry.dtype) ? [{ ...tensor, dtype: entry.dtype, shape: entry.shape }] : [];
  });
}

function configOf({ adapters, modules, replacements, fanInFanOut }: CombinationPlan): Record<string, unknown> {
  const configs = adapters.map(({ config }) => config);
  const listed = (key: string) => [...new Set(configs.flatMap((config) => (Array.isArray(config[key]) ? config[key].map(String) : [])))].sort();
  const saved = listed("modules_to_save");
  const biased = replacements.some(({ name }) => name.endsWith(".base_layer.bias"));
  return loraConfig({
    modules: modules.map(({ path, rank }) => ({ path, rank })),
    base: configs.map((config) => config.base_model_name_or_path).find((name) => typeof name === "string"),
    task: configs.map((config) => config.task_type).find((task) => typeof task === "string"),
    modulesToSave: saved.length === 0 ? null : saved,
    bias: biased ? "lora_only" : "none",
    fanInFanOut,
  });
}

const aboutOf = ({ adapters, weights, method }: CombineRequest): string =>
  `Adapters merged with \`weightsmith adapter merge --method ${method}\`:\n\n${adapters.map((adapter, i) => `- \`${adapter}\`, weight ${weights[i]}`).join("\n")}`;

interface ModuleContext {
  readonly files: TensorReader;
  readonly space: ReturnType<typeof poolSpace>;
  readonly rows: LoadRows;
  readonly write: WriteTensor;
}

async function combineModule(
  module: CombinedModule,
  plan: CombinationPlan,
  request: CombineRequest,
  { files, space, rows, write }: ModuleContext,
): Promise<CombineResult["modules"][number]> {
  const terms: Term[] = [];
  for (const { index, settings, entries } of module.sources) {
    const tensors: [string, ModuleTensor][] = [];
    for (const [name, entry] of Object.entries(entries)) tensors.push([name, { shape: entry.shape, values: await files.read(entry) }]);
    const opened: AdapterModule = { layer: module.layer, settings, tensors: Object.fromEntries(tensors) };
    const factors = plan.adapters[index]?.family.factors?.(opened);
    if (factors === undefined) throw new Error(`adapter ${index} has no factors`);
    terms.push({ factors, weight: request.weights[index] ?? 1, index });
  }
  const { method, density = 1, majority = "total", seed = 0 } = request;
  const combined = await combine(terms, { method, rank: module.rank, density, majority, seed, module: module.path, space, rows });
  const { r, a, bt, relativeError, outFeatures } = combined;
  const [tensorA, tensorB] = factorTensors(module, request.dtype ?? "F32");
  await write(tensorA, a);
  const b = new Float32Array(bt.length);
  for (let k = 0; k < r; k++) for (let o = 0; o < outFeatures; o++) b[o * r + k] = bt[k * outFeatures + o] as number;
  await write(tensorB, b);
  return { module: module.path, rank: r, relativeError };
}

/** One adapter's tensor as it is; of several the mean by weight. @throws WeightsmithError `adapter-weights-cancel` */
async function meanOf({ name, sources }: CombinedTensor, weights: readonly number[], files: TensorReader): Promise<ArrayLike<number>> {
  const [first] = sources;
  if (first !== undefined && sources.length === 1) return files.read(first.entry);
  const total = sources.reduce((sum, { index }) => sum + (weights[index] ?? 0), 0);
  if (total === 0)
    throw inputError("adapter-weights-cancel", `the weights add up to zero, so ${name}, which several adapters bring whole, has no mean`, {
      found: weights.join(", "),
      remedy: "change the weights, or fold the adapters one by one",
    });
  let mean = new Float64Array(0);
  for (const { index, entry } of sources) {
    const values = await files.read(entry);
    if (mean.length === 0) mean = new Float64Array(values.length);
    for (let i = 0; i < values.length; i++) mean[i] = (mean[i] as number) + ((weights[index] ?? 0) / total) * (values[i] as number);
  }
  return mean;
}
