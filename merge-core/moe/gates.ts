// Gates of a mixture: for each layer and expert a vector; the router's scores are its dot products with the layer's input.
// Node only.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { symmetricEigen } from "../compute/linalg/symmetric-eigen.ts";
import { type Diagnostic, inputError } from "../diagnostics.ts";
import { isRecord } from "../formats/json.ts";
import { normals, uniforms } from "../nn/random.ts";
import { readTextCodec } from "../nn/tokenizer.ts";
import type { Expert, GateMode, MoeConfig } from "./config.ts";
import { eachLayerInput, type HiddenStatesOptions, readEmbeddings } from "./hidden-states.ts";

/** [layer][expert][hidden]; a shared expert with a gate comes last. */
export type Gates = readonly (readonly Float32Array[])[];

export interface GateRequest extends HiddenStatesOptions {
  readonly base: Checkpoint;
  readonly config: MoeConfig;
  /** The shared expert has a gate too. */
  readonly sharedGate: boolean;
  readonly layers: number;
  readonly hidden: number;
  readonly seed: number;
}

/** @throws WeightsmithError `tokenizer-*`, `unsupported-*`, `moe-empty-prompt`, and what reading tensors throws */
export async function computeGates(request: GateRequest): Promise<Gates> {
  const { config, layers } = request;
  const experts = [...config.experts, ...(request.sharedGate && config.shared !== undefined ? [config.shared] : [])];
  const mode = config.gateMode;
  if (mode === "random" || mode === "uniform_random") return drawGates(request, experts.length);
  const prompts = await promptVectors(request, experts, mode);
  return Array.from({ length: layers }, (_, layer) => experts.map((_, e) => gateOf(prompts.positive[e]?.[layer], prompts.negative[e]?.[layer])));
}

function drawGates({ layers, hidden, seed, config }: GateRequest, count: number): Gates {
  const bound = Math.sqrt(1 / hidden);
  const draw = (stream: string) =>
    config.gateMode === "random" ? normals(seed, stream, hidden) : Float32Array.from(uniforms(seed, stream, hidden), (u) => (2 * u - 1) * bound);
  return Array.from({ length: layers }, (_, layer) => Array.from({ length: count }, (_, expert) => draw(`gate ${layer} ${expert}`)));
}

/** The positive prompts' vector less the negative ones', brought to length 1. */
function gateOf(positive: Float64Array | undefined, negative: Float64Array | undefined): Float32Array {
  const difference = Float64Array.from(positive ?? [], (x, i) => x - (negative?.[i] ?? 0));
  return Float32Array.from(unit(difference));
}

function unit(vector: Float64Array): Float64Array {
  const norm = Math.max(1e-8, Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0)));
  return vector.map((x) => x / norm);
}

type LayerVectors = readonly Float64Array[];

/** For each expert and layer one vector of its positive prompts, and where it has any, of its negative ones. */
async function promptVectors(
  request: GateRequest,
  experts: readonly Expert[],
  mode: GateMode,
): Promise<{ positive: readonly LayerVectors[]; negative: readonly (LayerVectors | undefined)[] }> {
  const encode = await promptEncoder(request.base);
  const groups = experts.flatMap(({ positive, negative }) => [positive, negative]).map((texts) => texts.map(encode));
  const vectors = mode === "cheap_embed" ? await embeddingSums(request, groups) : await meanStates(request, groups, mode === "hidden_avg");
  return {
    positive: vectors.filter((_, i) => i % 2 === 0),
    negative: vectors.filter((_, i) => i % 2 === 1).map((v, i) => (groups[2 * i + 1]?.length ? v : undefined)),
  };
}

/** Ids of a prompt behind the text that starts a sequence, as mergekit-moe writes it. */
async function promptEncoder({ folder, path }: Checkpoint): Promise<(text: string) => number[]> {
  const codec = await readTextCodec(folder);
  const start = await startText(folder);
  return (text) => {
    const ids = codec.encodeMore(start + text);
    if (ids.length === 0) throw inputError("moe-empty-prompt", "a prompt has no tokens", { file: path, found: JSON.stringify(text), expected: "text" });
    return ids;
  };
}

/** The beginning-of-sequence token as text; empty if the tokenizer has none. */
async function startText(folder: string): Promise<string> {
  for (const name of ["tokenizer_config.json", "special_tokens_map.json"]) {
    const text = await readFile(join(folder, name), "utf8").catch(() => "{}");
    const json: unknown = JSON.parse(text);
    const token = isRecord(json) ? json.bos_token : undefined;
    const content = isRecord(token) ? token.content : token;
    if (typeof content === "string") return content;
  }
  return "";
}

type Group = readonly (readonly number[])[];

/** Sums of the embeddings of all tokens of a group, of length 1; the same for every layer. */
async function embeddingSums({ base, layers, hidden }: GateRequest, groups: readonly Group[]): Promise<LayerVectors[]> {
  const result: LayerVectors[] = [];
  for (const group of groups) {
    const sum = new Float64Array(hidden);
    for (const ids of group) for (const [i, x] of (await readEmbeddings(base, ids)).entries()) sum[i % hidden]! += x;
    const vector = unit(sum);
    result.push(Array.from({ length: layers }, () => vector));
  }
  return result;
}

/** Means over a group's prompts of each layer's input at the last position, or of its mean over all positions. */
async function meanStates(request: GateRequest, groups: readonly Group[], allPositions: boolean): Promise<LayerVectors[]> {
  const { base, layers, hidden, ...options } = request;
  const sums = groups.map(() => Array.from({ length: layers }, () => new Float64Array(hidden)));
  const sequences = groups.flatMap((group, g) => group.map((ids) => ({ ids, g, weight: 1 / group.length })));
  const take = (layer: number, sequence: number, states: Float32Array) => {
    const { g = 0, weight = 0 } = sequences[sequence] ?? {};
    const sum = sums[g]?.[layer] ?? new Float64Array();
    const used = allPositions ? states : states.subarray(states.length - hidden);
    const share = (weight * hidden) / used.length;
    for (const [i, x] of used.entries()) sum[i % hidden]! += share * x;
  };
  await eachLayerInput(
    base,
    sequences.map(({ ids }) => ids),
    take,
    options,
  );
  return sums;
}

/** Ratio of the largest to the smallest singular value above which experts can hardly be told apart. */
const DEGENERATE = 5;

/** A warning that names the layers in which the gates are nearly the same, if there are any. */
export function noteDegenerate(gates: Gates, file: string): Diagnostic[] {
  const layers = [...gates.keys()].filter((layer) => conditionNumber(gates[layer] ?? []) > DEGENERATE);
  if (layers.length === 0) return [];
  const shown = layers.length === gates.length ? "all layers" : `layers ${layers.join(", ")}`;
  return [
    {
      code: "moe-degenerate-gates",
      severity: "warning",
      message: `in ${shown} the gates of the experts are nearly the same, so some experts will hardly be used`,
      file,
      expected: `singular values within a factor of ${DEGENERATE}`,
      remedy: "use prompts that differ more, or gate_mode random if the mixture is to be trained",
    },
  ];
}

function conditionNumber(rows: readonly Float32Array[]): number {
  const n = rows.length;
  const gram = new Float64Array(n * n);
  for (const [i, a] of rows.entries()) for (const [j, b] of rows.entries()) gram[i * n + j] = a.reduce((sum, x, k) => sum + x * (b[k] ?? 0), 0);
  const values = [...symmetricEigen(gram, n).values].sort((a, b) => a - b);
  return Math.sqrt((values.at(-1) ?? 0) / Math.max(Number.MIN_VALUE, values[0] ?? 0));
}
