// Dense models + headers -> the plan of a mixture. Its jobs are copies, or conversions where dtype or scale change, so the same
// executor runs it as a merge: streaming, resumable, with one journal and one manifest.
import { resolve } from "node:path";
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { layerCount, placeOf } from "../checkpoints/tensor-roles.ts";
import { type Diagnostic, inputError } from "../diagnostics.ts";
import { DTYPE_BYTES, elementCount, type FloatDType, isFloat } from "../formats/dtypes.ts";
import type { UnplacedJob } from "../plan/build-jobs.ts";
import { estimate } from "../plan/estimate.ts";
import { placeJobs } from "../plan/output-shards.ts";
import type { ConfigChange, InputRef, MergePlan, TensorRef } from "../plan/plan.ts";
import { planHash, sha256 } from "../plan/plan-hash.ts";
import { travellingFiles } from "../plan/side-files.ts";
import { RECIPE_DTYPES } from "../recipe/parse-recipe.ts";
import { type ScratchTensors, scratchRef, scratchTensors, withoutPlace } from "../run/scratch-tensors.ts";
import type { Expert, MoeConfig } from "./config.ts";
import { EMBEDDING } from "./hidden-states.ts";
import { ASSUMED, chooseLayout, type Layout, type Projection } from "./layouts.ts";

export const MOE_METHOD = "moe";

export interface MoeModels {
  readonly base: Checkpoint;
  readonly experts: readonly Checkpoint[];
  readonly shared: Checkpoint | undefined;
}

export interface MoePlanOptions {
  readonly seed: number;
  readonly memoryBytes: number;
  readonly shardBytes: number;
  /** Where the gates will be. */
  readonly gates: string;
}

export interface MoePlan {
  readonly plan: MergePlan;
  readonly layout: Layout;
  readonly gates: ScratchTensors;
  readonly layers: number;
  readonly hidden: number;
}

const MLP = /^mlp\.(gate_proj|up_proj|down_proj)\.weight$/;
const USUAL = /^(self_attn\.[qkvo]_proj|input_layernorm|post_attention_layernorm)\.weight$/;
const TOP = new Set([EMBEDDING, "model.norm.weight", "lm_head.weight"]);
/** Rotary frequencies that old checkpoints carry; loaders compute them. */
const DROPPED = /rotary_emb\.inv_freq$/;

/** @throws WeightsmithError `moe-*` with what keeps these models from becoming a mixture */
export function planMoe(config: MoeConfig, models: MoeModels, warnings: readonly Diagnostic[], options: MoePlanOptions): MoePlan {
  const all = [models.base, ...models.experts, ...(models.shared === undefined ? [] : [models.shared])];
  for (const { config: json, path } of all)
    if (json === undefined) throw inputError("config-missing", "the model has no config.json", { file: path, remedy: "put the one of its family there" });
  const layout = chooseLayout(config, all);
  const context = planContext(config, models, layout, options);
  const unplaced = [...models.base.tensors.values()].flatMap((entry) => jobsOf(entry, context));
  const { shards, jobs } = placeJobs(unplaced, options.shardBytes);
  const decided = {
    version: 1,
    recipe: { file: config.file, text: config.text, sha256: sha256(config.text) },
    method: MOE_METHOD,
    seed: options.seed,
    models: describe(config, models),
    donor: {
      reference: config.base.text,
      folder: resolve(models.base.folder),
      files: travellingFiles(models.base.sideFiles).filter((name) => !name.endsWith(".py")),
      hasConfig: true,
    },
    config: configChanges(context),
    shards,
    jobs,
  } as const;
  const bytesToWrite = shards.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const findings = [...warnings, ...noteExpertCount(config, layout), ...noteDeeper(context)];
  const plan: MergePlan = {
    ...decided,
    bytesToWrite,
    ...estimate(jobs, bytesToWrite, options.memoryBytes),
    findings,
    planHash: planHash({ ...decided, jobs: jobs.map(withoutPlace(context.gates)) }),
  };
  return { plan, layout, gates: context.gates, layers: context.layers, hidden: context.hidden };
}

interface Context {
  readonly config: MoeConfig;
  readonly models: MoeModels;
  readonly layout: Layout;
  readonly dtype: FloatDType | undefined;
  readonly gates: ScratchTensors;
  readonly layers: number;
  readonly hidden: number;
  readonly width: number;
  readonly sharedWidth: number;
}

function planContext(config: MoeConfig, models: MoeModels, layout: Layout, { gates: file, seed }: MoePlanOptions): Context {
  const { base } = models;
  const layers = layerCount(base.tensors.keys());
  const hidden = base.tensors.get(EMBEDDING)?.shape[1];
  if (hidden === undefined || layers === 0)
    throw inputError("moe-tensors", "the base model has no embedding or no layers", { file: base.path, expected: EMBEDDING });
  const rows = config.experts.length + (layout.sharedGate ? 1 : 0);
  const query = base.tensors.get("model.layers.0.self_attn.q_proj.weight")?.shape[0] ?? 0;
  const key = sha256(JSON.stringify([config.text, seed, resolve(base.folder), base.shards.map(({ sizeBytes }) => sizeBytes)]));
  const name = config.dtype === undefined ? String(base.config?.dtype ?? base.config?.torch_dtype ?? "") : undefined;
  return {
    config,
    models,
    layout,
    dtype: config.dtype ?? RECIPE_DTYPES[name ?? ""],
    gates: gateTensors(file, key, layers, rows, hidden, query),
    layers,
    hidden,
    width: widthOf(models.experts[0] ?? base),
    sharedWidth: models.shared === undefined ? 0 : widthOf(models.shared),
  };
}

/** The gates of each layer, and a vector of zeros for biases that the models lack. */
function gateTensors(file: string, key: string, layers: number, rows: number, hidden: number, zeros: number): ScratchTensors {
  const gates = Array.from({ length: layers }, (_, layer) => ({ name: `gates.${layer}`, dtype: "F32" as const, shape: [rows, hidden] }));
  return scratchTensors(file, key, [...gates, { name: "zeros", dtype: "F32", shape: [zeros] }]);
}

const widthOf = (model: Checkpoint): number => model.tensors.get("model.layers.0.mlp.gate_proj.weight")?.shape[0] ?? 0;

/** The jobs that a tensor of the base stands for: itself, or one for each expert. */
function jobsOf(entry: TensorEntry, context: Context): UnplacedJob[] {
  const { layer, prefix, rest } = placeOf(entry.name);
  const { config, models, layout } = context;
  if (DROPPED.test(entry.name)) return [];
  if (TOP.has(entry.name)) return [tensorJob(entry.name, entry, config.base.text, 0, context)];
  const projection = prefix === "model.layers" ? (MLP.exec(rest)?.[1] as Projection | undefined) : undefined;
  if (projection !== undefined && layer !== undefined) return expertJobs(entry, layer, projection, context);
  if (prefix === "model.layers" && (USUAL.test(rest) || layout.more.test(rest))) {
    const own = tensorJob(entry.name, entry, config.base.text, 0, context);
    return [own, ...zeroBias(entry, context)];
  }
  throw inputError("moe-tensor-without-place", `tensor ${entry.name} of the base has no place in a ${layout.name} model`, {
    file: models.base.path,
    remedy: "leaving it out would change what the model computes; choose another architecture",
  });
}

function expertJobs(entry: TensorEntry, layer: number, projection: Projection, context: Context): UnplacedJob[] {
  const { config, models, layout, gates, width, hidden } = context;
  const name = (rest: string) => `model.layers.${layer}.${rest}`;
  const expertJob = (model: Checkpoint, expert: Expert, out: string, index: number, expected: number) => {
    const found = model.tensors.get(entry.name);
    const shape = projection === "down_proj" ? [hidden, expected] : [expected, hidden];
    if (found === undefined || found.shape.join() !== shape.join()) throw misfit(entry.name, expert, found, shape, config.file);
    return tensorJob(out, found, expert.source.text, index + 1, context, projection === "down_proj" ? expert.residualScale : undefined, expert.noiseScale);
  };
  const experts = config.experts.map((expert, i) => expertJob(models.experts[i] as Checkpoint, expert, name(layout.expert(i, projection)), i, width));
  const shared =
    models.shared === undefined || config.shared === undefined
      ? []
      : [expertJob(models.shared, config.shared, name(`${layout.sharedPrefix}.${projection}.weight`), config.experts.length, sharedWidthOf(context))];
  if (projection !== "gate_proj") return [...experts, ...shared];
  const rows = config.experts.length;
  const router = routerJob(name(layout.router), scratchRef(gates, `gates.${layer}`, 0, rows), context);
  const sharedGate = layout.sharedGate ? [routerJob(name("mlp.shared_expert_gate.weight"), scratchRef(gates, `gates.${layer}`, rows, 1), context)] : [];
  return [router, ...sharedGate, ...experts, ...shared];
}

/** DeepSeek's shared expert is as wide as the others. */
const sharedWidthOf = ({ layout, width, sharedWidth }: Context): number => (layout.sharedGate ? sharedWidth : width);

function misfit(name: string, { source }: Expert, found: TensorEntry | undefined, shape: readonly number[], file: string) {
  return inputError("moe-expert-shape", found === undefined ? `${source.text} has no tensor ${name}` : `tensor ${name} of ${source.text} does not fit`, {
    file,
    range: source.range,
    found: found === undefined ? "nothing" : `[${found.shape.join(", ")}]`,
    expected: `[${shape.join(", ")}], as the base and the first expert have it`,
    remedy: "experts must be of the same size",
  });
}

/** A layout that has biases gets zeros where the base has none. */
function zeroBias({ name, shape }: TensorEntry, context: Context): UnplacedJob[] {
  const bias = name.replace(/(self_attn\.[qkv]_proj)\.weight$/, "$1.bias");
  if (bias === name || !context.layout.needsBias || context.models.base.tensors.has(bias)) return [];
  return [routerJob(bias, scratchRef(context.gates, "zeros", 0, shape[0] ?? 0), context)];
}

const routerJob = (name: string, source: TensorRef, context: Context): UnplacedJob => tensorJob(name, source, context.config.base.text, 0, context);

/** A copy, unless its numbers change. */
function tensorJob(
  name: string,
  source: TensorEntry | TensorRef,
  model: string,
  modelIndex: number,
  { dtype: wanted, models }: Context,
  scale?: number,
  noise?: number,
): UnplacedJob {
  const { dtype: stored, shape } = source;
  if (!isFloat(stored)) throw inputError("moe-tensors", `tensor ${source.name} is not floating point`, { file: source.file, found: stored });
  const embedding = models.base.tensors.get(EMBEDDING)?.dtype;
  const dtype = wanted ?? (embedding !== undefined && isFloat(embedding) ? embedding : stored);
  const ref: TensorRef = { name: source.name, file: source.file, offset: source.offset, byteLength: source.byteLength, dtype: stored, shape };
  const place = { name, shape, dtype, byteLength: elementCount(shape) * DTYPE_BYTES[dtype] };
  const lora = "lora" in source && source.lora !== undefined ? { lora: source.lora } : {};
  if (dtype === stored && scale === undefined && !noise && !("lora" in lora)) return { kind: "copy", ...place, source: ref };
  const input: InputRef = { ...ref, ...lora, dtype: stored, model, modelIndex, isBase: modelIndex === 0, parameters: { scale: scale ?? null } };
  return { kind: "merge", ...place, method: "passthrough", inputs: [input], parameters: { noise: noise ?? 0 } };
}

function configChanges({ config, models, layout, dtype, width, sharedWidth }: Context): ConfigChange[] {
  const json = models.base.config ?? {};
  const size = { experts: config.experts.length, perToken: config.expertsPerToken, shared: models.shared !== undefined, width, sharedWidth };
  const type = String(json.model_type);
  const heads = typeof json.num_attention_heads === "number" ? { num_key_value_heads: json.num_attention_heads } : {};
  const assumed = Object.entries({ ...heads, ...ASSUMED[type] }).filter(([key]) => !(key in json) && !(key === "rope_theta" && "rope_parameters" in json));
  const dtypeName = Object.entries(RECIPE_DTYPES).find(([, value]) => value === dtype)?.[0];
  const dtypeKey = "dtype" in json ? "dtype" : "torch_dtype";
  const values = { ...Object.fromEntries(assumed), ...(dtypeName === undefined ? {} : { [dtypeKey]: dtypeName }), ...layout.config(size) };
  return Object.entries(values).map(([key, value]) => ({ path: key.split("."), value: value as ConfigChange["value"] }));
}

function describe(config: MoeConfig, models: MoeModels): MergePlan["models"] {
  const named: [string, Checkpoint][] = [[config.base.text, models.base]];
  for (const [i, expert] of config.experts.entries()) named.push([expert.source.text, models.experts[i] as Checkpoint]);
  if (config.shared !== undefined && models.shared !== undefined) named.push([config.shared.source.text, models.shared]);
  return [...new Map(named)].map(([reference, { folder, shards }]) => ({
    reference,
    folder: resolve(folder),
    files: shards.map(({ file, sizeBytes }) => ({ file, sizeBytes })),
  }));
}

/** Experts with layers that the base has not: the base's count is the mixture's. */
function noteDeeper({ config, models, layers }: Context): Diagnostic[] {
  return config.experts.flatMap(({ source: { text, range } }, i): Diagnostic[] => {
    const count = layerCount(models.experts[i]?.tensors.keys() ?? []);
    if (count <= layers) return [];
    const message = `${text} has more layers than the base: those beyond are left out`;
    return [{ code: "moe-expert-layers", severity: "warning", message, file: config.file, range, found: `${count} layers`, expected: `${layers}` }];
  });
}

function noteExpertCount({ experts, file }: MoeConfig, { name }: Layout): Diagnostic[] {
  const count = experts.length;
  if (name.startsWith("DeepSeek") || (count & (count - 1)) === 0) return [];
  const message = `${count} experts are not a power of two; llama.cpp will not run this model`;
  return [{ code: "moe-expert-count", severity: "warning", message, file }];
}
