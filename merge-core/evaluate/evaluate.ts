// Measuring a model on examples: loss, perplexity, and whether greedy generation gives the expected answer. Node only.
import { inputError, type WeightsmithError } from "../diagnostics.ts";
import { DEFAULT_MAX_LENGTH, type Example, lossTokens, readExamples, type TokenRow, tokenize } from "../nn/data.ts";
import { type FallbackOptions, onEngine } from "../nn/engine.ts";
import { generate } from "../nn/generate.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel, type Model } from "../nn/model.ts";
import { type AttachedAdapter, attachAdapter } from "./attach-adapter.ts";
import { meanLoss } from "./loss.ts";

export type Metric = "loss" | "exactMatch";

export interface EvaluateOptions {
  /** Default: all that the examples allow. */
  readonly metrics?: readonly Metric[];
  /** Default: two more than the longest expected answer, so that one that does not stop shows. */
  readonly maxNewTokens?: number;
  /** Sequences computed together. Default 64. */
  readonly batchSize?: number;
  /** Only the first so many examples. */
  readonly limit?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: EvaluateProgress) => void;
}

export interface EvaluateProgress {
  readonly metric: Metric;
  readonly done: number;
  readonly total: number;
}

export interface Evaluation {
  readonly examples: number;
  /** Tokens the loss is a mean over: of answers and end marks, or of text. */
  readonly tokens?: number;
  /** Nats per token. */
  readonly loss?: number;
  /** e^loss */
  readonly perplexity?: number;
  /** Fraction of prompts whose greedy continuation up to the end token is the completion, both trimmed. */
  readonly exactMatch?: number;
  /** Examples without tokens, or whose answers end beyond the model's context or 2048 tokens; no loss is taken on them. */
  readonly tooLong?: number;
}

type Task = Extract<Example, { prompt: string }>;

/** Measures a loaded model. Texts give loss and perplexity; prompts with completions give exact match too. */
export async function evaluate(model: Model, examples: readonly Example[], options: EvaluateOptions = {}): Promise<Evaluation> {
  const chosen = examples.slice(0, options.limit);
  const metrics = options.metrics ?? ["loss", "exactMatch"];
  const tasks = chosen.filter((example): example is Task => "prompt" in example);
  const result: Evaluation = { examples: chosen.length };
  const measured = metrics.includes("loss") ? await measureLoss(model, chosen, options) : {};
  if (!metrics.includes("exactMatch") || tasks.length === 0) return { ...result, ...measured };
  return { ...result, ...measured, exactMatch: await measureExactMatch(model, tasks, options) };
}

/** Loads a checkpoint and measures it on JSONL files together. @throws WeightsmithError what loading and reading throw */
export async function evaluateCheckpoint(
  path: string,
  dataFiles: readonly string[],
  options: EvaluateOptions &
    FallbackOptions & {
      /** Folder of an adapter that runs beside the weights; of one for several tasks, the first task's. */
      readonly adapter?: string;
    } = {},
): Promise<Evaluation> {
  if (dataFiles.length === 0) throw inputError("data-missing", "no data to evaluate on", { expected: "one JSONL file or more" });
  const examples = (await Promise.all(dataFiles.map((file) => readExamples(file)))).flat();
  return onEngine(options, () => evaluateOn(path, { files: dataFiles, examples }, options));
}

async function evaluateOn(
  path: string,
  { files, examples }: { readonly files: readonly string[]; readonly examples: readonly Example[] },
  options: EvaluateOptions & { readonly adapter?: string },
): Promise<Evaluation> {
  const model = await loadModel(path, options);
  let attached: AttachedAdapter | undefined;
  try {
    const { adapter, signal } = options;
    if (adapter !== undefined) attached = await attachAdapter(model.decoder, adapter, signal === undefined ? {} : { signal });
    const found = await evaluate(attached === undefined ? model : { ...model, decoder: attached.decoderOf([]) }, examples, options);
    if (found.loss === undefined && found.exactMatch === undefined) throw nothingToPredict(files, found);
    return found;
  } finally {
    attached?.dispose();
    disposeDecoder(model.decoder);
  }
}

function nothingToPredict(files: readonly string[], { examples }: Evaluation): WeightsmithError {
  return inputError("data-no-tokens", "the data gives this model nothing to predict", {
    file: files.join(", "),
    found: `${examples} examples, all without tokens or longer than the model's context`,
    remedy: "check data and tokenizer",
  });
}

async function measureLoss(model: Model, examples: readonly Example[], options: EvaluateOptions): Promise<Partial<Evaluation>> {
  const { eosTokenIds, maxPositions } = model.decoder.config;
  const maxLength = Math.min(maxPositions, DEFAULT_MAX_LENGTH);
  const perExample = examples.map((example): TokenRow[] => tokenize(example, model.codec, eosTokenIds[0], maxLength));
  const rows = perExample.flat();
  const tooLong = perExample.filter((found) => found.length === 0).length;
  const tokens = lossTokens(rows);
  if (tokens === 0) return { tokens, ...(tooLong > 0 ? { tooLong } : {}) };
  const loss = await meanLoss(model.decoder, rows, {
    batchSize: options.batchSize ?? 64,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    onProgress: (done) => options.onProgress?.({ metric: "loss", done, total: rows.length }),
  });
  return { tokens, loss, perplexity: Math.exp(loss), ...(tooLong > 0 ? { tooLong } : {}) };
}

async function measureExactMatch(model: Model, tasks: readonly Task[], options: EvaluateOptions): Promise<number> {
  const prompts = tasks.map(({ prompt }) => model.codec.encodeStart(prompt));
  const answers = tasks.map(({ completion }) => model.codec.encodeMore(completion).length);
  const generated = await generate(model.decoder, prompts, {
    maxNewTokens: options.maxNewTokens ?? Math.max(...answers) + 2,
    batchSize: options.batchSize ?? 64,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    onProgress: (done) => options.onProgress?.({ metric: "exactMatch", done, total: prompts.length }),
  });
  const right = tasks.filter(({ completion }, i) => model.codec.decode(generated[i] ?? []).trim() === completion.trim());
  return right.length / tasks.length;
}
