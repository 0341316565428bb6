// Statistics of a model on data as a safetensors file with the model's tensor names, in float32. Node only.
import { existsSync } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { Checkpoint } from "../../checkpoints/checkpoint.ts";
import { openCheckpoint } from "../../checkpoints/open-checkpoint.ts";
import { inputError, throwIfCancelled } from "../../diagnostics.ts";
import { narrowFromFloat32 } from "../../formats/dtype-codecs.ts";
import { layoutFile } from "../../formats/safetensors-write.ts";
import { initBackend } from "../../nn/backend.ts";
import { DEFAULT_MAX_LENGTH, lossTokens, readExamples, type TokenRow, tokenize } from "../../nn/data.ts";
import { gpt2Name, isTransposed } from "../../nn/gpt2.ts";
import type { Decoder } from "../../nn/llama.ts";
import { disposeDecoder } from "../../nn/load.ts";
import { type Model, modelFromTensors, readTensors } from "../../nn/model.ts";
import { VERSION } from "../../version.ts";
import { hashCheckpoint, hashFiles } from "../score-cache.ts";
import { type FisherOptions, fisherDiagonal } from "./fisher.ts";
import { gramMatrices } from "./gram.ts";

export interface StatisticsOptions {
  /** Safetensors file to make. */
  readonly out: string;
  readonly overwrite?: boolean;
  /** Only the first so many examples. */
  readonly limit?: number;
  readonly batchSize?: number;
  readonly threads?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface StatisticsResult {
  readonly out: string;
  readonly kind: "fisher" | "gram";
  readonly tensors: number;
  readonly examples: number;
  readonly tokens: number;
  /** Answers that do not fit into the model's context; they were left out. */
  readonly tooLong: number;
  readonly seconds: number;
}

/** What is written, and what the file's metadata says of it. */
interface Statistics {
  readonly tensors: ReadonlyMap<string, Float64Array>;
  readonly tokens: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Writes the diagonal Fisher information, in the shapes of the weights. @throws WeightsmithError as `writeStatistics` */
export function writeFisher(
  model: string,
  data: readonly string[],
  options: StatisticsOptions & Pick<FisherOptions, "mode" | "samples" | "seed">,
): Promise<StatisticsResult> {
  const { mode = "sampled", samples = 1, seed = 0 } = options;
  const drawn: Record<string, string> = mode === "sampled" ? { "weightsmith.samples": `${samples}`, "weightsmith.seed": `${seed}` } : {};
  return writeStatistics("fisher", model, data, options, async (decoder, rows, run) => ({
    tensors: await fisherDiagonal(decoder, rows, { mode, samples, seed, ...run }),
    tokens: lossTokens(rows),
    metadata: { "weightsmith.mode": mode, ...drawn },
  }));
}

/** Writes the Gram matrices of the inputs of linear layers, [in, in] under the name of the weight. @throws WeightsmithError as `writeStatistics` */
export function writeGram(model: string, data: readonly string[], options: StatisticsOptions): Promise<StatisticsResult> {
  return writeStatistics("gram", model, data, options, async (decoder, rows, run) => {
    const { grams, tokens } = await gramMatrices(decoder, rows, run);
    return { tensors: grams, tokens, metadata: {} };
  });
}

type Run = Pick<FisherOptions, "batchSize" | "signal" | "onProgress">;

/** @throws WeightsmithError `output-exists`, `data-*`, what loading a model throws, `cancelled`; then no file is left */
async function writeStatistics(
  kind: "fisher" | "gram",
  path: string,
  data: readonly string[],
  options: StatisticsOptions,
  compute: (decoder: Decoder, rows: readonly TokenRow[], run: Run) => Promise<Statistics>,
): Promise<StatisticsResult> {
  const started = performance.now();
  const { out, signal, onProgress } = options;
  if (existsSync(out) && options.overwrite !== true)
    throw inputError("output-exists", "output exists", { file: out, remedy: "choose another file, or replace it with --overwrite" });
  if (data.length === 0) throw inputError("data-missing", "no data to take statistics on", { expected: "one JSONL file or more" });
  const examples = (await Promise.all(data.map((file) => readExamples(file)))).flat().slice(0, options.limit);
  await initBackend(options.threads === undefined ? {} : { threads: options.threads });
  const signalled = signal === undefined ? {} : { signal };
  const checkpoint = await openCheckpoint(path, signalled);
  const model = await modelFromTensors(checkpoint.folder, await readTensors(checkpoint, signalled));
  try {
    const perExample = examples.map((example) => tokenize(example, model.codec, model.decoder.config.eosTokenIds[0], maxLength(model)));
    const rows = perExample.flat();
    if (lossTokens(rows) === 0)
      throw inputError("data-no-tokens", "the data gives this model nothing to predict", { file: data.join(", "), remedy: "check data and tokenizer" });
    const batch = options.batchSize === undefined ? {} : { batchSize: options.batchSize };
    const { tensors, tokens, metadata } = await compute(model.decoder, rows, { ...signalled, ...batch, onProgress: (done) => onProgress?.(done, rows.length) });
    const provenance = {
      format: "pt",
      "weightsmith.kind": kind,
      "weightsmith.examples": `${rows.length}`,
      "weightsmith.tokens": `${tokens}`,
      "weightsmith.model": await hashCheckpoint(checkpoint, signal),
      "weightsmith.data": await hashFiles(data),
      "weightsmith.version": VERSION,
      ...metadata,
    };
    await writeFileAtOnce(out, [...asStored(kind, tensors, model.decoder, checkpoint)], provenance, signal);
    const tooLong = perExample.filter((found) => found.length === 0).length;
    return { out, kind, tensors: tensors.size, examples: rows.length, tokens, tooLong, seconds: (performance.now() - started) / 1000 };
  } finally {
    disposeDecoder(model.decoder);
  }
}

const maxLength = ({ decoder }: Model): number => Math.min(decoder.config.maxPositions, DEFAULT_MAX_LENGTH);

interface StoredTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Made when it is written. */
  readonly values: () => Float32Array;
}

/** Under the names and in the layout that the model's own files have: GPT-2's layers lie there with a row for each input. */
function* asStored(kind: "fisher" | "gram", tensors: Statistics["tensors"], { config, weights }: Decoder, checkpoint: Checkpoint): Generator<StoredTensor> {
  const stored = config.modelType === "gpt2" ? new Map([...checkpoint.tensors.keys()].map((name) => [gpt2Name(name), name])) : undefined;
  for (const [name, numbers] of tensors) {
    const [rows = numbers.length, columns] = kind === "gram" ? [Math.sqrt(numbers.length), Math.sqrt(numbers.length)] : (weights.get(name)?.shape ?? []);
    const isTurned = kind === "fisher" && columns !== undefined && isTransposed(config, name);
    const values = () => (isTurned ? turned(numbers, rows, columns) : Float32Array.from(numbers));
    yield { name: stored?.get(name) ?? name, shape: columns === undefined ? [rows] : isTurned ? [columns, rows] : [rows, columns], values };
  }
}

function turned(values: Float64Array, rows: number, columns: number): Float32Array {
  return Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)] as number);
}

/** Writes under another name first: a file of this name is complete. */
async function writeFileAtOnce(
  out: string,
  tensors: readonly StoredTensor[],
  metadata: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const partial = `${out}.partial`;
  await mkdir(dirname(out), { recursive: true });
  try {
    const handle = await open(partial, "w");
    try {
      await writeTensors(handle, tensors, metadata, signal);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, out);
  } finally {
    await rm(partial, { force: true });
  }
}

async function writeTensors(
  handle: FileHandle,
  tensors: readonly StoredTensor[],
  metadata: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const specs = tensors.map(({ name, shape }) => ({ name, dtype: "F32" as const, shape }));
  await handle.writeFile(layoutFile(specs, metadata).header);
  for (const { values } of tensors) {
    throwIfCancelled(signal);
    await handle.writeFile(narrowFromFloat32("F32", values()));
  }
}
