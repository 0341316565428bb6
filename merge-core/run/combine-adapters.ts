// Combines adapters into one LoRA, module by module. Node only.

import { isProduct, type Term } from "../adapters/changes.ts";
import { type Combination, combine, isOfRecipes, isOnProducts, isStacked, isSum, type Operator } from "../adapters/combine.ts";
import { type Reduced, stackedFactors } from "../adapters/low-rank.ts";
import { type AveragePlan, isOneFamily, planAverage } from "../adapters/plan-average.ts";
import { type CombinationPlan, type CombinedModule, planCombination } from "../adapters/plan-combination.ts";
import { type CompositionPlan, planComposition } from "../adapters/plan-composition.ts";
import { type AdapterFile, readAdapter } from "../adapters/read-adapter.ts";
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { poolSpace } from "../compute/linalg/pool-space.ts";
import { type LoadRows, poolRows } from "../compute/linalg/rows.ts";
import { type ComputePool, createPool } from "../compute/pool.ts";
import { type Diagnostic, inputError, throwIfCancelled } from "../diagnostics.ts";
import { DTYPE_BYTES, elementCount, type FloatDType } from "../formats/dtypes.ts";
import { type AdapterTensor, type WriteTensor, writeAdapterFolder } from "./adapter-output.ts";
import { averagedOutput, writeAverage } from "./average-adapters.ts";
import { type ChosenMethod, chooseMethod, combineByMethod, methodBytes } from "./combine-by-method.ts";
import { checkFits, combineDense, denseBytes, peftFormula } from "./combine-dense.ts";
import { composedOutput, writeComposition } from "./compose-adapters.ts";
import { gatherWarnings } from "./gather-warnings.ts";
import { loraConfig } from "./lora-config.ts";
import { ARENA_SLACK_BYTES, defaultMemoryBytes } from "./memory.ts";
import { readTensors, readTerms } from "./read-terms.ts";
import { meanOf, wholeTensors } from "./whole-tensors.ts";

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
  /** Of methods of recipes, by the names that recipes have for them. */
  readonly parameters?: Readonly<Record<string, number>>;
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
  /** The result's `peft_type`. */
  readonly type: string;
  /** Distance of each module's change from the exact sum, over the norm of the sum. */
  readonly modules: readonly { readonly module: string; readonly rank: number; readonly relativeError: number }[];
  /** Modules of an adapter of the same family: beside those above where turns were composed, in place of them where parameters were averaged. */
  readonly averaged?: readonly string[];
  readonly largestError: number;
  readonly parameters: number;
  readonly seconds: number;
  readonly warnings: readonly Diagnostic[];
}

type Combined = Pick<CombineResult, "type" | "modules" | "averaged" | "warnings">;

/** @throws WeightsmithError `adapter-*`, `output-*`, `usage` */
export async function combineAdapters(request: CombineRequest): Promise<CombineResult> {
  const started = performance.now();
  const { adapters: folders, weights, method, signal, out, dtype = "F32" } = request;
  if (folders.length !== weights.length)
    throw inputError("usage", "there must be one weight for each adapter", { found: `${weights.length} weights`, expected: String(folders.length) });
  const adapters: AdapterFile[] = [];
  for (const folder of folders) adapters.push(await readAdapter(folder, signal === undefined ? {} : { signal }));
  const work = workOf(adapters, dtype, request);
  const { tensors } = work;
  const maxBytes = tensors.reduce((sum, { shape, dtype: stored }) => sum + elementCount(shape) * DTYPE_BYTES[stored], 0);
  const output = { out, overwrite: request.overwrite ?? false, inputs: adapters.map(({ file }) => file), maxBytes, tensors, signal };
  let combined: Combined | undefined;
  const replaced = await writeAdapterFolder(output, async (write) => {
    combined = await work.run(write);
    const { rank = null, seed = 0 } = request;
    const report = { command: "adapter merge", method, weights, ...request.weighed, adapters: folders, rank, ...work.told, seed, modules: combined.modules };
    return { config: work.config, about: aboutOf(request), report };
  });
  const { modules, warnings, ...rest } = combined as Combined;
  return {
    ...{ out, method, ...rest, modules },
    largestError: Math.max(0, ...modules.map(({ relativeError }) => relativeError)),
    parameters: tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0),
    seconds: (performance.now() - started) / 1000,
    warnings: [...warnings, ...replaced],
  };
}

/** What is to be written, and how. */
interface Work {
  /** In the order in which they are written. */
  readonly tensors: readonly AdapterTensor[];
  readonly config: Readonly<Record<string, unknown>>;
  /** For the report: what bears on the numbers beside method, weights, rank and seed. */
  readonly told: Readonly<Record<string, unknown>>;
  run(write: WriteTensor): Promise<Combined>;
}

function workOf(adapters: readonly AdapterFile[], dtype: FloatDType, request: CombineRequest): Work {
  const { method } = request;
  if (method === "compose") return composition(planComposition(adapters), dtype, request);
  return isOneFamily(adapters, method) ? average(planAverage(adapters, method), dtype, request) : combination(adapters, { ...request, method }, dtype);
}

/** @throws WeightsmithError `usage` for weights, of which turns one after another know none */
function composition(plan: CompositionPlan, dtype: FloatDType, request: CombineRequest): Work {
  if (request.weights.some((weight) => weight !== 1) || request.rank !== undefined)
    throw inputError("usage", "compose applies each adapter as it is: it takes neither weights nor a rank", { remedy: "leave --weights and --rank out" });
  const tensors = composedOutput(plan, dtype);
  return {
    ...{ tensors, config: plan.config, told: {} },
    async run(write) {
      const modules = await writeComposition(plan, tensors, request, write);
      return { type: plan.adapters[0]?.family.type ?? "", modules, averaged: modules.map(({ module }) => module), warnings: plan.findings };
    },
  };
}

/** Adapters of one family stay in it. */
function average(plan: AveragePlan, dtype: FloatDType, request: CombineRequest): Work {
  const tensors = averagedOutput(plan, dtype);
  const averaged = [...new Set(plan.adapters.flatMap(({ modules }) => [...modules.keys()]))].sort();
  return {
    ...{ tensors, config: plan.config, told: {} },
    async run(write) {
      await writeAverage(plan, tensors, request, write);
      return { type: plan.family.type, modules: [], averaged, warnings: plan.findings };
    },
  };
}

/** All methods but the one that makes no LoRA. */
type LoraRequest = Omit<CombineRequest, "method"> & { readonly method: Exclude<Combination, "compose"> };

/** Adapters of any families become one LoRA. */
function combination(adapters: readonly AdapterFile[], request: LoraRequest, dtype: FloatDType): Work {
  const { method, rank, base, density = 1, memoryBytes = defaultMemoryBytes() } = request;
  const chosen = isOfRecipes(method) ? chooseMethod(method, request.parameters ?? {}) : undefined;
  const plan = planCombination(adapters, { method, rank, base });
  for (const module of plan.modules) {
    if (chosen !== undefined) checkFits(module, methodBytes(module, chosen), memoryBytes);
    else if (isOnProducts(method) || module.sources.some(({ dense }) => dense !== undefined)) checkFits(module, denseBytes(module), memoryBytes);
  }
  return {
    tensors: outputTensors(plan, dtype),
    config: configOf(plan),
    told: chosen === undefined ? { density } : { parameters: chosen.parameters },
    run: (write) => combineModules(plan, chosen, request, memoryBytes, write),
  };
}

async function combineModules(
  plan: CombinationPlan,
  chosen: ChosenMethod | undefined,
  request: LoraRequest,
  memoryBytes: number,
  write: WriteTensor,
): Promise<Combined> {
  const { signal, weights } = request;
  const files = new TensorReader();
  const pool = createPool({ threads: request.threads ?? 1, maxMemoryBytes: memoryBytes + ARENA_SLACK_BYTES });
  const modules: CombineResult["modules"][number][] = [];
  const noted: { tensor: string; warnings: Diagnostic[] }[] = [];
  try {
    let next = readTerms(plan.modules[0], plan, weights, files);
    for (const [i, module] of plan.modules.entries()) {
      throwIfCancelled(signal);
      request.onProgress?.(modules.length, plan.modules.length, module.path);
      const terms = await next;
      // Read while this module is combined; a failure is told when its turn comes.
      next = readTerms(plan.modules[i + 1], plan, weights, files);
      next.catch(() => {});
      const [space, rows] = [poolSpace(pool, signal), poolRows(pool)];
      const warnings: Diagnostic[] = [];
      noted.push({ tensor: module.path, warnings });
      try {
        modules.push(await combineModule(module, terms, request, { pool, space, rows, memoryBytes, chosen, warnings, write }));
      } finally {
        space.close();
      }
    }
    request.onProgress?.(plan.modules.length, plan.modules.length, "");
    for (const module of plan.modules)
      if (module.bias !== undefined) await write(biasTensor(module, request.dtype), await biasOf(module, plan, weights, files));
    for (const tensor of wholeTensors(plan.replacements)) await write(tensor, await meanOf(tensor, weights, files));
    return { type: "LORA", modules, warnings: [...plan.findings, ...gatherWarnings(noted)] };
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
  const biases = plan.modules.filter(({ bias }) => bias !== undefined).map((module) => biasTensor(module, dtype));
  return [...plan.modules.flatMap((module) => factorTensors(module, dtype)), ...biases, ...wholeTensors(plan.replacements)];
}

const biasTensor = ({ path, bias }: CombinedModule, dtype: FloatDType = "F32"): AdapterTensor => ({
  ...{ name: `base_model.model.${path}.base_layer.bias`, dtype },
  shape: bias?.shape ?? [],
});

function factorTensors(module: CombinedModule, dtype: FloatDType): [AdapterTensor, AdapterTensor] {
  const [a, b] = factorNames(module);
  const { rank, layer, kernel } = module;
  return [
    { name: a, dtype, shape: [rank, layer.inFeatures / elementCount(kernel), ...kernel] },
    { name: b, dtype, shape: [layer.outFeatures, rank, ...kernel.map(() => 1)] },
  ];
}

function configOf({ adapters, modules, replacements, fanInFanOut }: CombinationPlan): Record<string, unknown> {
  const configs = adapters.map(({ config }) => config);
  const listed = (key: string) => [...new Set(configs.flatMap((config) => (Array.isArray(config[key]) ? config[key].map(String) : [])))].sort();
  const saved = listed("modules_to_save");
  const biased = modules.some(({ bias }) => bias !== undefined) || replacements.some(({ name }) => name.endsWith(".base_layer.bias"));
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

/** b + sum of w (f b - b): a bias has the changes of the weights beside it. */
async function biasOf({ bias, layer, sources }: CombinedModule, plan: CombinationPlan, weights: readonly number[], files: TensorReader): Promise<Float64Array> {
  const before = await files.read(bias as TensorEntry);
  const sum = Float64Array.from(before);
  for (const { index, settings, entries } of sources) {
    const factors = plan.adapters[index]?.family.biasFactor?.({ layer, settings, tensors: await readTensors(entries, files) });
    if (factors === undefined) continue;
    for (let o = 0; o < sum.length; o++) sum[o]! += (weights[index] ?? 1) * ((factors[o] as number) - 1) * (before[o] as number);
  }
  return sum;
}

/** No decomposition comes to an end with them, and no choice of the largest makes sense. @throws WeightsmithError `adapter-not-finite` */
function checkFinite(term: Term, module: string, file: string): void {
  const parts = isProduct(term) ? [term.factors.a, term.factors.b, [term.factors.scale]] : [term.delta];
  const found = parts.flatMap((values) => values.find((x) => !Number.isFinite(x)) ?? []);
  if (found.length > 0)
    throw inputError("adapter-not-finite", `the adapter holds NaN or infinite values for ${module}`, {
      file,
      found: String(found[0]),
      remedy: "leave it out, or add the adapters up as they are with --method cat",
    });
}

interface ModuleContext {
  readonly pool: ComputePool;
  readonly space: ReturnType<typeof poolSpace>;
  readonly rows: LoadRows;
  readonly memoryBytes: number;
  readonly chosen: ChosenMethod | undefined;
  /** Of this module; added to. */
  readonly warnings: Diagnostic[];
  readonly write: WriteTensor;
}

async function combineModule(
  module: CombinedModule,
  terms: readonly Term[],
  request: LoraRequest,
  context: ModuleContext,
): Promise<CombineResult["modules"][number]> {
  const { write } = context;
  const [tensorA, tensorB] = factorTensors(module, request.dtype ?? "F32");
  if (isStacked(request.method, terms, module.rank)) {
    const { a, b } = stackedFactors(terms);
    await write(tensorA, a);
    await write(tensorB, b);
    return { module: module.path, rank: module.rank, relativeError: 0 };
  }
  const { r, a, bt, relativeError, outFeatures } = await combineTerms(module, terms, request, context);
  await write(tensorA, a);
  const b = new Float32Array(bt.length);
  for (let k = 0; k < r; k++) for (let o = 0; o < outFeatures; o++) b[o * r + k] = bt[k * outFeatures + o] as number;
  await write(tensorB, b);
  return { module: module.path, rank: r, relativeError };
}

function combineTerms(module: CombinedModule, terms: readonly Term[], request: LoraRequest, context: ModuleContext): Promise<Reduced> {
  const { method, density = 1, majority = "total", seed = 0, adapters, signal } = request;
  const { chosen, warnings, space, rows } = context;
  for (const term of terms) checkFinite(term, module.path, adapters[term.index] ?? "");
  const warn = (found: Omit<Diagnostic, "severity">) => void warnings.push({ ...found, severity: "warning" });
  if (chosen !== undefined) return combineByMethod(module, terms, chosen, { ...context, adapters, seed, signal, warn });
  if (isOfRecipes(method)) throw new TypeError(`no parameters of ${method}`);
  if (!isOnProducts(method) && terms.every(isProduct))
    return combine(terms, { method, rank: module.rank, density, majority, seed, module: module.path, space, rows });
  const operator = isSum(method) ? "linear" : (method.replace(/_svd$/, "") as Operator);
  return combineDense(module, terms, peftFormula(operator, terms, { density, majority }), { ...context, heldBytes: denseBytes(module), seed, signal });
}
