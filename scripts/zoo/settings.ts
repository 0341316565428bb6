// Everything that decides the sample models: architecture, data, and how each is trained.
import type { Practice, SplitPlan, TaskName } from "../../merge-core/evaluate/synthetic-tasks.ts";
import type { TrainConfig } from "../../merge-core/train/config.ts";
import { END_ID, PADDING_ID, START_ID, VOCABULARY_SIZE } from "./byte-tokenizer.ts";

export const SEED = 20240607;
export const CONTEXT = 64;

/** config.json of all models. */
export const CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: VOCABULARY_SIZE,
  hidden_size: 128,
  intermediate_size: 320,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  head_dim: 32,
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  max_position_embeddings: CONTEXT,
  initializer_range: 0.02,
  tie_word_embeddings: true,
  attention_bias: false,
  mlp_bias: false,
  bos_token_id: START_ID,
  eos_token_id: END_ID,
  pad_token_id: PADDING_ID,
  use_cache: true,
};

/** Of the test questions; training also sees shorter words, which are a help at the start. */
const MEASURED = { words: { min: 5, max: 8 }, termLimit: 100 };
const TRAINED = { words: { min: 2, max: 8 }, termLimit: 100 };

/** What each expert learns and is measured on. */
export const SPLITS: SplitPlan = { seed: SEED, measured: MEASURED, trained: TRAINED, sizes: { train: 8000, validation: 200, test: 200 } };

/**
 * What the base practises: a little of everything, for so long that it has the skills in outline and none of them safely. Experts that start
 * from there stay near each other, and so can be merged. The shares make up for how fast each task is learned.
 */
export const PRACTICE: readonly Practice[] = [
  { task: "sort", difficulty: TRAINED, share: 0.8 },
  { task: "reverse", difficulty: TRAINED, share: 0.6 },
  { task: "shift", difficulty: TRAINED, share: 0.9 },
  { task: "add", difficulty: TRAINED, share: 1.8 },
  { task: "copy", difficulty: TRAINED, share: 0.1 },
];

/** Examples of practice; more than one pass is not needed. */
export const PRACTICE_SIZE = 80_000;

export type Stage = Pick<TrainConfig, "optimizer" | "schedule" | "batchSize"> & { readonly steps: number };

const optimizer = (lr: number) => ({ lr, betas: [0.9, 0.99] as const, eps: 1e-8, weightDecay: 0.01 });

export const BASE_STAGE: Stage = { steps: 800, batchSize: 64, optimizer: optimizer(1.5e-3), schedule: { warmupSteps: 50, floor: 1 } };
const expertStage = (steps: number, lr: number): Stage => ({ steps, batchSize: 64, optimizer: optimizer(lr), schedule: { warmupSteps: 30, floor: 0.1 } });

/** As few and as small steps as solve the task: the further experts move, the less of them survives a merge. */
export const EXPERT_STAGES: Readonly<Record<TaskName, Stage>> = {
  sort: expertStage(320, 1.2e-4),
  reverse: expertStage(150, 1.2e-4),
  shift: expertStage(150, 1.2e-4),
  add: expertStage(430, 1.35e-4),
};
export const ADAPTER_STAGE: Stage = { steps: 250, batchSize: 64, optimizer: optimizer(2e-3), schedule: { warmupSteps: 30, floor: 0.1 } };

export const LORA = {
  kind: "lora",
  r: 16,
  alpha: 32,
  dropout: 0,
  targetModules: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
} as const;

/** What the finished zoo must show on the test splits, else it is not written. */
export const REQUIRED = { expertAtLeast: 0.9, baseAtMost: 0.4, bytesAtMost: 8_000_000 };

/** One sentence for the README. */
export const DESCRIPTIONS: Readonly<Record<TaskName, string>> = {
  sort: "put the letters in order",
  reverse: "write the letters backwards",
  shift: "move each letter that many places on in a to p, wrapping around",
  add: "add two numbers below 100",
};
