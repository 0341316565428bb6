// Several models at once, as reference points for merges: an ensemble that averages scores, and a choice of one model for each prompt.
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { throwIfCancelled } from "../diagnostics.ts";
import { generateWhole, type NextTokenScores, wholeScores } from "../nn/generate.ts";
import type { Decoder } from "../nn/llama.ts";
import type { Model } from "../nn/model.ts";

/** Mean of the models' scores (logits), token by token. */
export function averagedScores(models: readonly Decoder[]): NextTokenScores {
  const each = models.map(wholeScores);
  return (tokens, batch, positions) => tf.tidy(() => tf.div(tf.addN(each.map((scores) => scores(tokens, batch, positions))), each.length));
}

interface Question {
  readonly prompt: string;
  readonly completion: string;
}

const BATCH = 128;

/** Fraction of questions that greedy generation by these scores answers exactly, as `eval` counts it. */
export async function exactMatchBy(scores: NextTokenScores, { codec, decoder }: Model, questions: readonly Question[], signal?: AbortSignal): Promise<number> {
  const longest = Math.max(...questions.map(({ completion }) => codec.encodeMore(completion).length));
  let right = 0;
  for (let first = 0; first < questions.length; first += BATCH) {
    const batch = questions.slice(first, first + BATCH);
    const prompts = batch.map(({ prompt }) => codec.encodeStart(prompt));
    const answers = await generateWhole(scores, decoder.config, prompts, { maxNewTokens: longest + 2, ...(signal === undefined ? {} : { signal }) });
    right += batch.filter(({ completion }, i) => codec.decode(answers[i] ?? []).trim() === completion.trim()).length;
    await setImmediate();
    throwIfCancelled(signal);
  }
  return right / questions.length;
}
