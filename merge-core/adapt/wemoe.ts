// WEMoE (Tang et al., ICML 2024, 2402.00433): everything but the MLPs is merged by task arithmetic; the MLPs keep base and task vectors apart,
// and routers that choose among them learn from unlabelled data by minimising entropy. Routers start as task arithmetic. E-WEMoE (2410.21804) drops
// most of each task vector and has one router for all layers. Node only.
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { throwIfCancelled } from "../diagnostics.ts";
import { requireLlamaLayers, WEIGHT_ENSEMBLE_TYPE } from "../nn/config.ts";
import { padRows, type TokenRow } from "../nn/data.ts";
import { expertName, expertShapes } from "../nn/expert-names.ts";
import { causalAttend, type Decoder, hiddenStates } from "../nn/llama.ts";
import type { Model } from "../nn/model.ts";
import { normals } from "../nn/random.ts";
import { ropeTable } from "../nn/rope.ts";
import { liveValues } from "../nn/storage.ts";
import { withExperts } from "../nn/weight-ensemble.ts";
import { adamW, createAdamState, disposeAdamState } from "../train/optimizer.ts";
import type { StepJournal } from "../train/step-journal.ts";
import { checkLearned } from "./check-learned.ts";
import { batchEntropy, taskBatch } from "./entropy.ts";
import { combine, type TaskVectors } from "./task-vectors.ts";

export interface WeMoeOptions {
  /** Coefficient of task arithmetic, and first output of the routers. Default 0.3. */
  readonly init?: number;
  /** E-WEMoE (Shen et al. 2024, 2410.21804): one router for all layers. Default false. */
  readonly sharedRouter?: boolean;
  /** E-WEMoE: share of each MLP's task vector, the smallest elements, that is dropped; the authors' 0.9 is the default of `e_wemoe`. Default 0. */
  readonly prune?: number;
  /** Default 1000. */
  readonly steps?: number;
  /** Default 1e-4. */
  readonly lr?: number;
  readonly batchSize?: number;
  readonly seed?: number;
  readonly signal?: AbortSignal;
  readonly journal?: StepJournal;
  readonly onStep?: (step: number, steps: number, loss: number) => void;
}

const MLP_WEIGHT = /\.mlp\.(gate|up|down)_proj\.weight$/;
/** Standard deviation of the routers' first weights. */
const ROUTER_DEVIATION = 0.01;

/** The model before its routers learn. The caller disposes its decoder. */
export function buildWeMoe(vectors: TaskVectors, { init = 0.3, seed = 0, sharedRouter = false, prune = 0 }: WeMoeOptions = {}): Model {
  const { base, names, origin, tasks } = vectors;
  requireLlamaLayers(base.decoder.config, "no weight-ensembling mixtures are made");
  const even = tasks.map(() => names.map((name) => (MLP_WEIGHT.test(name) ? 0 : init)));
  const merged = combine(vectors, even);
  const config = { ...base.decoder.config, experts: tasks.length, ...(sharedRouter ? { sharedRouter } : {}) };
  const weights = new Map(
    names.map((name, i) => [name, tf.tensor((MLP_WEIGHT.test(name) ? origin : merged)[i] as Float32Array, base.decoder.weights.get(name)?.shape)]),
  );
  for (const [name, shape] of expertShapes(config)) weights.set(name, tf.tensor(firstValues(vectors, name, shape, { init, seed, prune }), [...shape]));
  const { architectures: _architectures, ...configJson } = base.configJson;
  // Under a type of its own: programs that do not know it must not load the base alone.
  const own = {
    ...configJson,
    model_type: WEIGHT_ENSEMBLE_TYPE,
    base_model_type: config.modelType,
    num_task_vectors: tasks.length,
    ...(sharedRouter ? { shared_router: true } : {}),
  };
  return { ...base, configJson: own, decoder: withExperts({ config, weights }) };
}

function firstValues(
  { names, vectors }: TaskVectors,
  name: string,
  shape: readonly number[],
  { init, seed, prune }: { readonly init: number; readonly seed: number; readonly prune: number },
): Float32Array {
  const size = shape.reduce((product, n) => product * n, 1);
  const expert = /^(.*\.mlp)\.experts\.(\d+)\.(.*)$/.exec(name);
  if (expert !== null) return pruned(vectors[Number(expert[2])]?.[names.indexOf(`${expert[1]}.${expert[3]}`)] ?? new Float32Array(size), prune);
  if (name.endsWith(".2.bias")) return new Float32Array(size).fill(init);
  return name.endsWith(".bias") ? new Float32Array(size) : normals(seed, name, size).map((x) => x * ROUTER_DEVIATION);
}

/** The largest elements of a matrix; of equals at the threshold all stay. */
function pruned(vector: Float32Array, share: number): Float32Array {
  const kept = Math.max(1, Math.round((1 - share) * vector.length));
  if (kept >= vector.length) return vector;
  const threshold = vector.map(Math.abs).sort()[vector.length - kept] ?? 0;
  return vector.map((value) => (Math.abs(value) >= threshold ? value : 0));
}

/** Teaches the routers in place; returns the entropy summed over tasks, step by step. */
export async function trainRouters(model: Decoder, data: readonly (readonly TokenRow[])[], options: WeMoeOptions = {}): Promise<number[]> {
  const { steps = 1000, lr = 1e-4, batchSize = 16, seed = 0, journal, signal } = options;
  const parameters = new Map([...model.weights].filter(([name]) => name.includes(".mlp.router.")));
  const state = createAdamState(parameters);
  const all = () => [parameters, state.m, state.v].flatMap((tensors) => [...tensors.values()].map(liveValues));
  try {
    const before = await journal?.resume("routers", all());
    const losses = [...(before?.losses ?? [])];
    for (let step = losses.length + 1; step <= steps; step++) {
      await setImmediate();
      throwIfCancelled(signal);
      const batches = data.map((rows, task) => taskBatch(rows, batchSize, seed, task, step - 1));
      const { loss, gradients } = routerGradients(model, parameters, batches);
      adamW(parameters, gradients, state, { lr, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0, step, gradientScale: 1 });
      tf.dispose([...gradients.values()]);
      checkLearned(step, loss, [...parameters.values()].map(liveValues));
      losses.push(loss);
      options.onStep?.(step, steps, loss);
      await journal?.save("routers", { step, losses }, all, step === steps || signal?.aborted === true);
    }
    return losses;
  } finally {
    disposeAdamState(state);
  }
}

/** Sum over tasks of the batch's entropy, and its gradient; one task after the other, which needs less memory. The caller disposes the gradients. */
export function routerGradients(
  model: Decoder,
  parameters: ReadonlyMap<string, tf.Tensor>,
  batches: readonly (readonly TokenRow[])[],
): { loss: number; gradients: Map<string, tf.Tensor> } {
  let loss = 0;
  let sums: tf.Tensor[] | undefined;
  for (const rows of batches) {
    const { value, grads } = tf.valueAndGrads(() => batchEntropy(model, rows))([...parameters.values()]);
    loss += value.dataSync()[0] ?? Number.NaN;
    value.dispose();
    const before: tf.Tensor[] | undefined = sums;
    sums = before === undefined ? grads : tf.tidy(() => grads.map((grad, i) => tf.add(grad, before[i] as tf.Tensor)));
    if (before !== undefined) tf.dispose([...before, ...grads]);
  }
  return { loss, gradients: new Map([...parameters.keys()].map((name, i) => [name, sums?.[i] as tf.Tensor])) };
}

/** Mean coefficients of a domain, by layer and task: over all tokens of the rows that are put in. */
export function meanCoefficients(model: Decoder, rows: readonly TokenRow[]): number[][] {
  const { experts = 0, layers } = model.config;
  const sums = Array.from({ length: layers }, () => new Array<number>(experts).fill(0));
  let tokens = 0;
  for (const row of rows) {
    const { tokens: ids, seq } = padRows([row], 1);
    tokens += seq;
    const seen = withExperts(model, (layer, coefficients) => {
      for (const [k, value] of liveValues(coefficients).entries()) {
        const own = sums[layer] as number[];
        own[k % experts] = (own[k % experts] ?? 0) + value;
      }
    });
    tf.tidy(() => void hiddenStates(seen, ids, causalAttend(model.config, ropeTable(model.config, seq), 1, seq)));
  }
  return sums.map((own) => own.map((sum) => sum / tokens));
}

/** An ordinary model for one domain: each MLP merged by its mean coefficients there. The caller disposes its decoder. */
export function freezeWeMoe(model: Model, rows: readonly TokenRow[]): Model {
  const { decoder, configJson } = model;
  const coefficients = meanCoefficients(decoder, rows);
  const { experts: _experts, sharedRouter: _shared, ...config } = decoder.config;
  const kept = [...decoder.weights].filter(([name]) => !/\.mlp\.(experts|router)\./.test(name));
  const weights = kept.map(([name, tensor]) => [name, frozen(decoder, name, tensor, coefficients)] as const);
  const { model_type: _type, base_model_type, num_task_vectors: _count, shared_router: _one, ...json } = configJson;
  return {
    ...model,
    configJson: { ...json, architectures: [ARCHITECTURES[config.modelType]], model_type: base_model_type },
    decoder: { config, weights: new Map(weights) },
  };
}

const ARCHITECTURES = { llama: "LlamaForCausalLM", mistral: "MistralForCausalLM", qwen2: "Qwen2ForCausalLM", gpt2: "GPT2LMHeadModel" } as const;

function frozen(model: Decoder, name: string, tensor: tf.Tensor, coefficients: readonly (readonly number[])[]): tf.Tensor {
  const mlp = /^model\.layers\.(\d+)\.mlp\.(\w+)\.weight$/.exec(name);
  if (mlp === null) return tf.clone(tensor);
  const layer = Number(mlp[1]);
  const parts = (coefficients[layer] ?? []).map((c, task) => ({ c, expert: model.weights.get(expertName(layer, task, mlp[2] ?? "")) as tf.Tensor }));
  return tf.tidy(() => parts.reduce<tf.Tensor>((sum, { c, expert }) => tf.add(sum, tf.mul(expert, c)), tensor));
}
