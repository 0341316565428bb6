// Several models at once, as reference points for merges: an ensemble that averages scores, and a choice of one model for each prompt.
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import type { EvaluateOptions, Evaluation } from "../evaluate/evaluate.ts";
import { batchByLength } from "../evaluate/loss.ts";
import { initBackend } from "../nn/backend.ts";
import { DEFAULT_MAX_LENGTH, type Example, lossTokens, padRows, readExamples, type TokenRow, tokenize } from "../nn/data.ts";
import { generateWhole, type NextTokenScores, wholeScores } from "../nn/generate.ts";
import type { Decoder } from "../nn/llama.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel, type Model } from "../nn/model.ts";
import { tokenLosses } from "../nn/ops.ts";

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

/** Mean loss by these scores over all predicted tokens of the rows. */
async function lossBy(scores: NextTokenScores, { decoder }: Model, rows: readonly TokenRow[], { batchSize = 64, signal }: EvaluateOptions): Promise<number> {
  const sorted = [...rows].sort((a, b) => a.tokens.length - b.tokens.length);
  let total = 0;
  for (const group of batchByLength(sorted, batchSize, decoder.config.vocabSize)) {
    await setImmediate();
    throwIfCancelled(signal);
    const { tokens, targets, weights, batch } = padRows(group, 1);
    const positions = Int32Array.from(weights.keys()).filter((i) => weights[i] !== 0);
    total += tf.tidy(
      () =>
        tf
          .sum(
            tokenLosses(
              scores(tokens, batch, positions),
              positions.map((i) => targets[i] ?? 0),
            ),
          )
          .dataSync()[0] ?? Number.NaN,
    );
  }
  return total / lossTokens(rows);
}

/**
 * Loss and exact match of the mean of several models' scores, on JSONL files together. All models are in memory at once.
 * @throws WeightsmithError `ensemble-tokenizers`, `data-*`, what loading models throws
 */
export async function evaluateEnsemble(
  paths: readonly string[],
  dataFiles: readonly string[],
  options: EvaluateOptions & { readonly threads?: number } = {},
): Promise<Evaluation> {
  if (dataFiles.length === 0) throw inputError("data-missing", "no data to evaluate on", { expected: "one JSONL file or more" });
  const examples = (await Promise.all(dataFiles.map((file) => readExamples(file)))).flat().slice(0, options.limit);
  await initBackend(options.threads === undefined ? {} : { threads: options.threads });
  const models: Model[] = [];
  try {
    for (const path of paths) models.push(await loadModel(path));
    requireOneTokenizer(paths, models, examples);
    return await measure(models, examples, dataFiles, options);
  } finally {
    for (const { decoder } of models) disposeDecoder(decoder);
  }
}

/** Scores can be averaged if they are of the same tokens. */
function requireOneTokenizer(paths: readonly string[], [first, ...others]: readonly Model[], examples: readonly Example[]): void {
  const encoded = (model: Model | undefined) =>
    JSON.stringify([model?.decoder.config.vocabSize, examples.slice(0, 32).map((one) => tokensOf(model as Model, one))]);
  const other = others.findIndex((model) => encoded(model) !== encoded(first));
  if (other >= 0)
    throw inputError("ensemble-tokenizers", "the models of an ensemble must have one tokenizer", {
      file: paths[other + 1] ?? "",
      expected: `that of ${paths[0]}`,
    });
}

function tokensOf({ codec, decoder }: Model, example: Example): TokenRow[] {
  const { eosTokenIds, maxPositions } = decoder.config;
  return tokenize(example, codec, eosTokenIds[0], Math.min(maxPositions, DEFAULT_MAX_LENGTH));
}

async function measure(models: readonly Model[], examples: readonly Example[], files: readonly string[], options: EvaluateOptions): Promise<Evaluation> {
  const [first] = models as readonly [Model];
  const scores = averagedScores(models.map(({ decoder }) => decoder));
  const perExample = examples.map((example) => tokensOf(first, example));
  const tooLong = perExample.filter((rows) => rows.length === 0).length;
  const rows = perExample.flat();
  const tokens = lossTokens(rows);
  if (tokens === 0)
    throw inputError("data-no-tokens", "the data gives these models nothing to predict", { file: files.join(", "), remedy: "check data and tokenizer" });
  const loss = await lossBy(scores, first, rows, options);
  const questions = examples.filter((example): example is Question => "prompt" in example);
  const match = questions.length === 0 ? {} : { exactMatch: await exactMatchBy(scores, first, questions, options.signal) };
  return { examples: examples.length, tokens, loss, perplexity: Math.exp(loss), ...match, ...(tooLong > 0 ? { tooLong } : {}) };
}
