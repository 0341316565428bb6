// Layers that are stored with a row per input, as GPT-2's Conv1D has them, where all others have a row per output.
import type { Checkpoint } from "./checkpoint.ts";

/** Values of `model_type` in configs of models made of such layers. */
export const CONV1D_MODELS: readonly string[] = ["gpt2", "imagegpt", "openai-gpt", "decision_transformer"];

/** Whether a weight is that of a Conv1D. */
export const isConv1d = (name: string, { config }: Pick<Checkpoint, "config">): boolean =>
  CONV1D_MODELS.includes(String(config?.model_type)) && /(^|\.)(c_attn|q_attn|c_fc|c_proj)\.weight$/.test(name);
