// Combines adapters into one LoRA, module by module. Node only.

import { type Combination, combine, isStacked, type Term } from "../adapters/combine.ts";
import { type AdapterFamily, deltaOf, type LayerShape, type LowRank, type ModuleTensor } from "../adapters/family.ts";
import { stackedFactors } from "../adapters/low-rank.ts";
import { type CombinationPlan, type CombinedModule, type CombinedTensor, type ModuleSource, planCombination } from "../adapters/plan-combination.ts";
import { readAdapter } from "../adapters/read-adapter.ts";
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { poolSpace } from "../compute/linalg/pool-space.ts";
import { type LoadRows, poolRows } from "../compute/linalg/rows.ts";
import { createPool } from "../compute/pool.ts";
import { type Diagnostic, inputError, throwIfCancelled } from "../diagnostics.ts";
import { DTYPE_BYTES, elementCount, type FloatDType, isFloat } from "../formats/dtypes.ts";
import { type AdapterTensor, type WriteTensor, writeAdapterFolder } from "./adapter-output.ts";
import { loraConfig } from "./lora-config.ts";
import { ARENA_SLACK_BYTES, defaultMemoryBytes } from "./memory.ts";

/** One kind of metrics, a value for each adapter, and how they became weights. */
export interface WeighedBy {
  readonly loss?: readonly number[];
  readonly step?: readonly number[];
  readonly penalty: number;
  readonly softmax: boolean;
}

export interface CombineRequest {
  /** Adapter folders. */
  readonly adapters: readonly string[];
  /** One per adapter. */
  readonly weights: readonly number[];
  readonly method: Combination;
  /** What the weights come from, for the report. */
  readonly weighed?: WeighedBy | undefined;
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
    const output = { out, overwrite: request.overwrite ?? false, inputs: adapters.map(({ file }) => file), maxBytes, tensors: specs, signal };
    const replaced = await writeAdapterFolder(output, async (write) => {
      let next = readTerms(plan.modules[0], plan, request, files);
      for (const [i, module] of plan.modules.entries()) {
        throwIfCancelled(signal);
        request.onProgress?.(modules.length, plan.modules.length, module.path);
        const terms = await next;
        // Read while this module is combined; a failure is told when its turn comes.
        next = readTerms(plan.modules[i + 1], plan, request, files);
        next.catch(() => {});
        const [space, rows] = [poolSpace(pool, signal), poolRows(pool)];
        try {
          modules.push(await combineModule(module, terms, request, { space, rows, write }));
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
        report: { command: "adapter merge", method, weights, ...request.weighed, adapters: folders, rank: rank ?? null, density, seed, modules },
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

/** What each adapter has for a module; nothing behind the last one. */
async function readTerms(module: CombinedModule | undefined, plan: CombinationPlan, { weights }: CombineRequest, files: TensorReader): Promise<Term[]> {
  const terms: Term[] = [];
  const read = async ([name, entry]: [string, TensorEntry]): Promise<[string, ModuleTensor]> => [name, { shape: entry.shape, values: await files.read(entry) }];
  for (const { index, settings, entries, weight } of module?.sources ?? []) {
    const tensors = Object.fromEntries(await Promise.all(Object.entries(entries).map(read)));
    const { layer } = module as CombinedModule;
    const family = plan.adapters[index]?.family as AdapterFamily;
    const [held, at] = [
      { layer, settings, tensors },
      { weight: weights[index] ?? 1, index },
    ];
    if (weight !== undefined) terms.push({ ...at, layer, delta: deltaOf(family, held, await weightOf(weight, layer, files)) });
    else terms.push({ ...at, factors: family.factors?.(held) as LowRank });
  }
  return terms;
}

/** W [out, in] of the base. */
async function weightOf({ entry, turned }: NonNullable<ModuleSource["weight"]>, layer: LayerShape, files: TensorReader): Promise<ArrayLike<number>> {
  const values = await files.read(entry);
  if (!turned) return values;
  const { inFeatures, outFeatures } = layer;
  return Float64Array.from({ length: values.length }, (_, at) => values[(at % inFeatures) * outFeatures + Math.floor(at / inFeatures)] as number);
}

interface ModuleContext {
  readonly space: ReturnType<typeof poolSpace>;
  readonly rows: LoadRows;
  readonly write: WriteTensor;
}

async function combineModule(
  module: CombinedModule,
  terms: readonly Term[],
  request: CombineRequest,
  { space, rows, write }: ModuleContext,
): Promise<CombineResult["modules"][number]> {
  const { method, density = 1, majority = "total", seed = 0 } = request;
  const [tensorA, tensorB] = factorTensors(module, request.dtype ?? "F32");
  if (isStacked(method, terms, module.rank)) {
    const { a, b } = stackedFactors(terms);
    await write(tensorA, a);
    await write(tensorB, b);
    return { module: module.path, rank: module.rank, relativeError: 0 };
  }
  const combined = await combine(terms, { method, rank: module.rank, density, majority, seed, module: module.path, space, rows });
  const { r, a, bt, relativeError, outFeatures } = combined;
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
