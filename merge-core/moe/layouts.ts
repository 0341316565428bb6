// How mixtures are stored: names of tensors and keys of config.json for each architecture, and which one a set of models can become.
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { inputError, nearestName } from "../diagnostics.ts";
import type { ConfigChange } from "../plan/plan.ts";
import type { MoeConfig } from "./config.ts";

/** The three matrices of a dense block that become an expert's. */
export type Projection = "gate_proj" | "up_proj" | "down_proj";

export interface MixtureSize {
  readonly experts: number;
  readonly perToken: number;
  readonly shared: boolean;
  /** Width of an expert, and of the shared one. */
  readonly width: number;
  readonly sharedWidth: number;
}

export interface Layout {
  /** mergekit's name for it; recipes give the start of it, in any case. */
  readonly name: string;
  /** `model_type` of the models it can be made from. */
  readonly inputs: readonly string[];
  readonly shared: "none" | "optional" | "required";
  /** The shared expert is weighted by a gate of its own. */
  readonly sharedGate: boolean;
  /** Names within a layer, after `model.layers.N.`. */
  readonly router: string;
  expert(index: number, projection: Projection): string;
  readonly sharedPrefix: string;
  /** Which tensors of the base, by what follows `model.layers.N.`, have a place besides the usual ones. */
  readonly more: RegExp;
  /** Biases of query, key and value must be there, if need be as zeros. */
  readonly needsBias: boolean;
  readonly config: (size: MixtureSize) => Readonly<Record<string, ConfigChange["value"]>>;
}

const perExpert = (index: number, projection: Projection): string => `mlp.experts.${index}.${projection}.weight`;
const MIXTRAL_NAMES = { gate_proj: "w1", down_proj: "w2", up_proj: "w3" } as const;
const DEEPSEEK = "deepseek-ai/deepseek-moe-16b-base--";
const NOTHING = /(?!)/;

/** In the order of preference. Experts are stored one by one, as the published checkpoints have them. */
export const LAYOUTS: readonly Layout[] = [
  {
    name: "Mixtral",
    inputs: ["llama", "mistral"],
    shared: "none",
    sharedGate: false,
    router: "block_sparse_moe.gate.weight",
    expert: (index, projection) => `block_sparse_moe.experts.${index}.${MIXTRAL_NAMES[projection]}.weight`,
    sharedPrefix: "",
    more: NOTHING,
    needsBias: false,
    config: ({ experts, perToken, width }) => ({
      architectures: ["MixtralForCausalLM"],
      model_type: "mixtral",
      num_local_experts: experts,
      num_experts_per_tok: perToken,
      intermediate_size: width,
    }),
  },
  {
    name: "DeepSeek MoE",
    inputs: ["llama", "mistral"],
    shared: "optional",
    sharedGate: false,
    router: "mlp.gate.weight",
    expert: perExpert,
    sharedPrefix: "mlp.shared_experts",
    more: /^self_attn\.[qkvo]_proj\.bias$/,
    needsBias: false,
    config: ({ experts, perToken, width, shared }) => ({
      architectures: ["DeepseekForCausalLM"],
      model_type: "deepseek",
      n_routed_experts: experts,
      ...(shared ? { n_shared_experts: 1 } : {}),
      num_experts_per_tok: perToken,
      first_k_dense_replace: 0,
      moe_layer_freq: 1,
      scoring_func: "softmax",
      norm_topk_prob: true,
      moe_intermediate_size: width,
      "auto_map.AutoConfig": `${DEEPSEEK}configuration_deepseek.DeepseekConfig`,
      "auto_map.AutoModel": `${DEEPSEEK}modeling_deepseek.DeepseekModel`,
      "auto_map.AutoModelForCausalLM": `${DEEPSEEK}modeling_deepseek.DeepseekForCausalLM`,
    }),
  },
  {
    name: "Qwen MoE",
    inputs: ["llama", "mistral", "qwen2"],
    shared: "required",
    sharedGate: true,
    router: "mlp.gate.weight",
    expert: perExpert,
    sharedPrefix: "mlp.shared_expert",
    more: /^self_attn\.[qkv]_proj\.bias$/,
    needsBias: true,
    config: ({ experts, perToken, width, sharedWidth }) => ({
      architectures: ["Qwen2MoeForCausalLM"],
      model_type: "qwen2_moe",
      num_experts: experts,
      num_experts_per_tok: perToken,
      decoder_sparse_step: 1,
      norm_topk_prob: true,
      moe_intermediate_size: width,
      shared_expert_intermediate_size: sharedWidth,
      use_sliding_window: false,
      mlp_only_layers: [],
    }),
  },
  {
    name: "Qwen3 MoE",
    inputs: ["qwen3"],
    shared: "none",
    sharedGate: false,
    router: "mlp.gate.weight",
    expert: perExpert,
    sharedPrefix: "",
    more: /^self_attn\.([qkvo]_proj\.bias|[qk]_norm\.weight)$/,
    needsBias: false,
    config: ({ experts, perToken, width }) => ({
      architectures: ["Qwen3MoeForCausalLM"],
      model_type: "qwen3_moe",
      num_experts: experts,
      num_experts_per_tok: perToken,
      decoder_sparse_step: 1,
      norm_topk_prob: true,
      moe_intermediate_size: width,
      mlp_only_layers: [],
    }),
  },
];

/** Values that transformers assumes where a config.json is silent; the mixtures' own assumptions are others. */
export const ASSUMED: Readonly<Record<string, Readonly<Record<string, number | boolean>>>> = {
  llama: { rms_norm_eps: 1e-6, max_position_embeddings: 2048, rope_theta: 10000, tie_word_embeddings: false },
  mistral: { rms_norm_eps: 1e-6, max_position_embeddings: 131072, num_key_value_heads: 8, rope_theta: 10000, tie_word_embeddings: false },
  qwen2: { rms_norm_eps: 1e-6, max_position_embeddings: 32768, num_key_value_heads: 32, rope_theta: 10000, tie_word_embeddings: false },
  qwen3: { rms_norm_eps: 1e-6, max_position_embeddings: 32768, num_key_value_heads: 32, head_dim: 128, rope_theta: 10000, tie_word_embeddings: false },
};

/** The layout that is asked for, or the first that the models fit. @throws WeightsmithError `moe-layout` with each layout's reason against it */
export function chooseLayout(config: MoeConfig, models: readonly Checkpoint[]): Layout {
  const asked = config.architecture?.toLowerCase();
  const named = LAYOUTS.filter(({ name }) => asked === undefined || name.toLowerCase().startsWith(asked));
  const names = LAYOUTS.map(({ name }) => name);
  if (named.length === 0) {
    const near = nearestName(config.architecture ?? "", names);
    const remedy = near === undefined ? {} : { remedy: `did you mean ${near}?` };
    throw inputError("moe-layout", "no mixture has this name", { file: config.file, found: config.architecture ?? "", expected: names.join(", "), ...remedy });
  }
  const reasons = named.map((layout) => reasonAgainst(layout, config, models));
  const chosen = named[reasons.indexOf(undefined)];
  if (chosen !== undefined) return chosen;
  throw inputError("moe-layout", "these models and settings fit no kind of mixture", {
    file: config.file,
    expected: named.map(({ name }) => name).join(", "),
    notes: named.map(({ name }, i) => `${name}: ${reasons[i]}`),
  });
}

function reasonAgainst(layout: Layout, { shared, gateMode }: MoeConfig, models: readonly Checkpoint[]): string | undefined {
  const types = [...new Set(models.map(({ config }) => String(config?.model_type ?? "unknown")))];
  if (types.length > 1) return `the models are of different architectures: ${types.join(", ")}`;
  if (!layout.inputs.includes(types[0] ?? "")) return `the models are ${types[0]}; it is made from ${layout.inputs.join(" or ")}`;
  if (layout.shared === "none" && shared !== undefined) return "it has no shared expert";
  if (layout.shared === "required" && shared === undefined) return "it needs one shared expert";
  const prompts = shared !== undefined && shared.positive.length + shared.negative.length > 0;
  if (prompts && !layout.sharedGate) return "its shared expert has no gate, so it takes no prompts";
  const needsPrompts = gateMode !== "random" && gateMode !== "uniform_random";
  if (layout.sharedGate && needsPrompts && shared?.positive.length === 0) return "its shared expert needs positive_prompts";
  return undefined;
}
