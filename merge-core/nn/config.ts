// Hugging Face config.json -> what the forward pass needs to know, or a diagnostic that names what is not supported.
import { inputError, nearestName, type WeightsmithError } from "../diagnostics.ts";

/** Frequency correction of rotary embeddings for long contexts. */
export type RopeScaling =
  | { readonly type: "linear"; readonly factor: number }
  | { readonly type: "llama3"; readonly factor: number; readonly lowFreqFactor: number; readonly highFreqFactor: number; readonly originalContext: number };

/** Feed-forward layers that send each position to a few of many experts. */
export interface MixtureConfig {
  readonly names: "mixtral" | "qwen2_moe";
  readonly experts: number;
  readonly perToken: number;
  readonly width: number;
  /** Width of the expert for all positions; 0 without one. */
  readonly sharedWidth: number;
  /** The chosen experts' weights are scaled to add up to one. */
  readonly renormalise: boolean;
}

/** A decoder-only transformer: of the Llama family (RMSNorm, rotary positions, grouped-query attention, SwiGLU), or GPT-2. */
export interface DecoderConfig {
  /** The dense family whose attention and norms it has. */
  readonly modelType: "llama" | "mistral" | "qwen2" | "gpt2";
  /** Its feed-forward layers choose among experts. */
  readonly mixture?: MixtureConfig;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly normEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | undefined;
  readonly maxPositions: number;
  readonly tiedHead: boolean;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** A position attends to itself and the window - 1 positions before it. */
  readonly slidingWindow: number | undefined;
  readonly initializerRange: number;
  readonly bosTokenId: number | undefined;
  /** Generation stops at any of these. */
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | undefined;
  /** Task vectors that the MLPs choose among (WEMoE); absent in ordinary models. */
  readonly experts?: number;
  /** One router for the mixtures of all layers, kept in the first. */
  readonly sharedRouter?: boolean;
}

/** `model_type` of a mixture of task vectors; `base_model_type` then says what it is a mixture of. */
export const WEIGHT_ENSEMBLE_TYPE = "weightsmith_wemoe";

/** Mixtures of experts: the dense family that they share all else with, and how they name their parts. */
const MIXTURES: Readonly<Record<string, readonly [DecoderConfig["modelType"], MixtureConfig["names"]]>> = {
  MixtralForCausalLM: ["llama", "mixtral"],
  Qwen2MoeForCausalLM: ["qwen2", "qwen2_moe"],
};

type Json = Readonly<Record<string, unknown>>;

const ARCHITECTURES: Readonly<Record<string, DecoderConfig["modelType"]>> = {
  LlamaForCausalLM: "llama",
  MistralForCausalLM: "mistral",
  Qwen2ForCausalLM: "qwen2",
  GPT2LMHeadModel: "gpt2",
};

/**
 * Reads the architecture facts of a config.json, with transformers' defaults for what is left out.
 * @throws WeightsmithError `unsupported-architecture`, `unsupported-config`, `invalid-config`
 */
export function parseDecoderConfig(json: Json, file = "config.json"): DecoderConfig {
  const [dense, names] = mixtureOf(json) ?? [];
  const modelType = dense ?? architectureOf(json, file);
  const read = new Reader(json, file);
  if (modelType === "gpt2") return readGpt2(read);
  const heads = read.count("num_attention_heads");
  const hiddenSize = read.count("hidden_size");
  const config: DecoderConfig = {
    modelType,
    vocabSize: read.count("vocab_size"),
    hiddenSize,
    intermediateSize: read.count("intermediate_size"),
    layers: read.count("num_hidden_layers"),
    heads,
    kvHeads: read.count("num_key_value_heads", heads),
    headDim: read.count("head_dim", hiddenSize / heads),
    normEps: read.positive("rms_norm_eps", 1e-6),
    ...ropeOf(read),
    maxPositions: read.count("max_position_embeddings", 2048),
    tiedHead: read.flag("tie_word_embeddings", false),
    qkvBias: modelType === "qwen2" || read.flag("attention_bias", false),
    outputBias: modelType !== "qwen2" && read.flag("attention_bias", false),
    mlpBias: read.flag("mlp_bias", false),
    slidingWindow: slidingWindowOf(read, names === "mixtral" && read.has("sliding_window") ? "mistral" : modelType),
    ...(names === undefined ? {} : { mixture: readMixture(names, read) }),
    initializerRange: read.positive("initializer_range", 0.02),
    bosTokenId: read.ids("bos_token_id")[0],
    eosTokenIds: read.ids("eos_token_id"),
    padTokenId: read.ids("pad_token_id")[0],
    ...(json.model_type === WEIGHT_ENSEMBLE_TYPE ? { experts: read.count("num_task_vectors"), sharedRouter: read.flag("shared_router", false) } : {}),
  };
  checkConsistency(config, read);
  return config;
}

function readGpt2(read: Reader): DecoderConfig {
  for (const key of ["scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"])
    if (read.flag(key, false)) throw read.unsupported(key, "true", "false");
  if (!read.flag("scale_attn_weights", true)) throw read.unsupported("scale_attn_weights", "false", "true");
  const activation = read.text("activation_function") ?? "gelu_new";
  if (activation !== "gelu_new" && activation !== "gelu_pytorch_tanh") throw read.unsupported("activation_function", activation, "gelu_new");
  const [heads, hiddenSize] = [read.count("n_head", 12), read.count("n_embd", 768)];
  if (hiddenSize % heads !== 0) throw read.invalid("n_head", heads, `a divisor of n_embd, ${hiddenSize}`);
  return {
    modelType: "gpt2",
    vocabSize: read.count("vocab_size", 50257),
    hiddenSize,
    intermediateSize: read.count("n_inner", 4 * hiddenSize),
    layers: read.count("n_layer", 12),
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    normEps: read.positive("layer_norm_epsilon", 1e-5),
    ropeTheta: 1,
    ropeScaling: undefined,
    maxPositions: read.count("n_positions", 1024),
    tiedHead: read.flag("tie_word_embeddings", true),
    qkvBias: true,
    outputBias: true,
    mlpBias: true,
    slidingWindow: undefined,
    initializerRange: read.positive("initializer_range", 0.02),
    bosTokenId: read.ids("bos_token_id")[0],
    eosTokenIds: read.ids("eos_token_id"),
    padTokenId: read.ids("pad_token_id")[0],
  };
}

/** Statistics and edits that know the parts of Llama's layers by name. @throws WeightsmithError `unsupported-architecture` */
export function requireLlamaLayers({ modelType }: DecoderConfig, what: string): void {
  if (modelType === "gpt2")
    throw inputError("unsupported-architecture", `${what} of this architecture`, {
      found: "GPT2LMHeadModel",
      expected: "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM",
    });
}

function architectureOf(json: Json, file: string): DecoderConfig["modelType"] {
  const named = Array.isArray(json.architectures) ? json.architectures[0] : undefined;
  const modelType = json.model_type === WEIGHT_ENSEMBLE_TYPE ? json.base_model_type : json.model_type;
  const fromType = Object.values(ARCHITECTURES).find((type) => type === modelType);
  const known = typeof named === "string" ? ARCHITECTURES[named] : fromType;
  if (known !== undefined) return known;
  const found = String(named ?? json.model_type ?? "no architecture");
  const near = nearestName(found, Object.keys(ARCHITECTURES));
  throw inputError("unsupported-architecture", "this model's architecture cannot be run or trained here", {
    file,
    found,
    expected: [...Object.keys(ARCHITECTURES), ...Object.keys(MIXTURES)].join(", "),
    remedy: near === undefined ? "merging does not need it: only training and evaluation do" : `did you mean ${near}?`,
  });
}

function mixtureOf(json: Json): (typeof MIXTURES)[string] | undefined {
  const named = Array.isArray(json.architectures) ? json.architectures[0] : undefined;
  return typeof named === "string" ? MIXTURES[named] : Object.values(MIXTURES).find(([, names]) => names === json.model_type);
}

function readMixture(names: MixtureConfig["names"], read: Reader): MixtureConfig {
  if (names === "mixtral") {
    const [experts, width] = [read.count("num_local_experts", 8), read.count("intermediate_size")];
    return { names, experts, perToken: read.count("num_experts_per_tok", 2), width, sharedWidth: 0, renormalise: true };
  }
  if (read.count("decoder_sparse_step", 1) !== 1) throw read.unsupported("decoder_sparse_step", "layers without experts", "1");
  if (read.ids("mlp_only_layers").length > 0) throw read.unsupported("mlp_only_layers", "layers without experts", "none");
  const [experts, perToken] = [read.count("num_experts", 60), read.count("num_experts_per_tok", 4)];
  const [width, sharedWidth] = [read.count("moe_intermediate_size", 1408), read.count("shared_expert_intermediate_size", 5632)];
  return { names, experts, perToken, width, sharedWidth, renormalise: read.flag("norm_topk_prob", false) };
}

function ropeOf(read: Reader): Pick<DecoderConfig, "ropeTheta" | "ropeScaling"> {
  // transformers 5 writes rope_parameters (theta inside), earlier versions rope_theta beside rope_scaling.
  const parameters = read.object("rope_parameters");
  const ropeTheta = parameters?.number("rope_theta") ?? read.positive("rope_theta", 10000);
  const scaling = parameters ?? read.object("rope_scaling");
  const type = scaling?.text("rope_type") ?? scaling?.text("type") ?? "default";
  if (scaling === undefined || type === "default") return { ropeTheta, ropeScaling: undefined };
  if (type === "linear") return { ropeTheta, ropeScaling: { type, factor: scaling.positive("factor") } };
  if (type === "llama3") {
    return {
      ropeTheta,
      ropeScaling: {
        type,
        factor: scaling.positive("factor"),
        lowFreqFactor: scaling.positive("low_freq_factor"),
        highFreqFactor: scaling.positive("high_freq_factor"),
        originalContext: scaling.positive("original_max_position_embeddings"),
      },
    };
  }
  throw read.unsupported("rope_scaling", type, "default, linear or llama3");
}

function slidingWindowOf(read: Reader, modelType: DecoderConfig["modelType"]): number | undefined {
  if (modelType === "llama" || modelType === "gpt2" || read.isNull("sliding_window")) return undefined;
  if (modelType === "mistral") return read.count("sliding_window", 4096);
  if (!read.flag("use_sliding_window", false)) return undefined;
  // Qwen2 can use full attention in its first layers and a window in the rest.
  throw read.unsupported("use_sliding_window", "true", "false");
}

function checkConsistency(config: DecoderConfig, read: Reader): void {
  const activation = read.text("hidden_act") ?? "silu";
  if (activation !== "silu" && activation !== "swish") throw read.unsupported("hidden_act", activation, "silu");
  if (config.heads % config.kvHeads !== 0) throw read.invalid("num_key_value_heads", config.kvHeads, `a divisor of ${config.heads} heads`);
  if (config.headDim % 2 !== 0) throw read.invalid("head_dim", config.headDim, "an even number, as rotary embeddings rotate pairs");
}

/** Typed access to one JSON object, every refusal naming the file and the key. */
class Reader {
  private readonly json: Json;
  private readonly file: string;
  private readonly prefix: string;

  constructor(json: Json, file: string, prefix = "") {
    this.json = json;
    this.file = file;
    this.prefix = prefix;
  }

  invalid(key: string, found: unknown, expected: string): WeightsmithError {
    return inputError("invalid-config", `${this.prefix}${key} is not usable`, {
      file: this.file,
      found: JSON.stringify(found) ?? "nothing",
      expected,
      remedy: "correct the model's config.json",
    });
  }

  unsupported(key: string, found: string, expected: string): WeightsmithError {
    return inputError("unsupported-config", `${this.prefix}${key} is not supported`, { file: this.file, found, expected });
  }

  has(key: string): boolean {
    return key in this.json;
  }

  isNull(key: string): boolean {
    return this.json[key] === null;
  }

  number(key: string): number | undefined {
    const value = this.json[key] ?? undefined;
    if (value === undefined) return undefined;
    if (typeof value !== "number" || !Number.isFinite(value)) throw this.invalid(key, value, "a number");
    return value;
  }

  positive(key: string, fallback?: number): number {
    const value = this.number(key) ?? fallback;
    if (value === undefined || value <= 0) throw this.invalid(key, value, "a number above 0");
    return value;
  }

  count(key: string, fallback?: number): number {
    const value = this.positive(key, fallback);
    if (!Number.isSafeInteger(value)) throw this.invalid(key, value, "a whole number");
    return value;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.json[key] ?? fallback;
    if (typeof value !== "boolean") throw this.invalid(key, value, "true or false");
    return value;
  }

  text(key: string): string | undefined {
    const value = this.json[key] ?? undefined;
    if (value !== undefined && typeof value !== "string") throw this.invalid(key, value, "a string");
    return value;
  }

  object(key: string): Reader | undefined {
    const value = this.json[key] ?? undefined;
    if (value === undefined) return undefined;
    if (typeof value !== "object" || Array.isArray(value)) throw this.invalid(key, value, "an object");
    return new Reader(value as Json, this.file, `${key}.`);
  }

  /** One token id or a list of them; absent is the empty list. */
  ids(key: string): number[] {
    const value = this.json[key] ?? [];
    const list: unknown[] = Array.isArray(value) ? value : [value];
    return list.map((id) => {
      if (typeof id !== "number" || !Number.isSafeInteger(id) || id < 0) throw this.invalid(key, value, "a token id or a list of them");
      return id;
    });
  }
}
