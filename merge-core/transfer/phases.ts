// The phases of a transfer, each of which leaves in the working folder what the next one needs. Node only.
import { existsSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { moduleSettings } from "../adapters/read-adapter.ts";
import { inputError } from "../diagnostics.ts";
import { attachAdapter } from "../evaluate/attach-adapter.ts";
import { generate } from "../nn/generate.ts";
import { GPT2_PROJECTIONS } from "../nn/gpt2.ts";
import { PROJECTIONS } from "../nn/llama.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel, type Model } from "../nn/model.ts";
import { type AdapterSettings, TRAIN_DEFAULTS, type TrainConfig } from "../train/config.ts";
import { defaultSettings } from "../train/make-trainable.ts";
import { train } from "../train/train.ts";
import { labelled, realness } from "./discriminator.ts";
import type { TransferProgress, TransferRun } from "./request.ts";
import { drawPrompts } from "./synthetic-prompts.ts";

/** Rounds of drawing, each of as many prompts as are wanted in all. */
const MAX_ROUNDS = 8;
/** Drawn prompts that the discriminator learns from, at least. */
const MIN_NEGATIVES = 32;
const RANK = 16;
const MAX_NEW_TOKENS = 256;
const DATA = "generated.jsonl";
const SEEDS = "seeds.jsonl";

export interface Accepted {
  readonly prompts: readonly string[];
  readonly candidates: number;
  readonly realness: { readonly seeds: number; readonly candidates: number };
}

const writeLines = (file: string, lines: readonly object[]): Promise<void> => writeFile(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
const mean = (numbers: readonly number[]): number => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
const promptsOf = ({ seeds }: TransferRun): string[] => seeds.map(({ prompt }) => prompt);

/** The new base tuned to write prompts such as the seeds. */
export async function trainGenerator(run: TransferRun): Promise<string> {
  const { request, work } = run;
  const data = join(work, "generator.jsonl");
  await writeLines(
    data,
    promptsOf(run).map((text) => ({ text })),
  );
  const config = { model: request.to, data: { train: [data], validation: [] }, length: { steps: request.settings.generatorSteps } };
  return trained(run, "generator", { ...config, method: loraOf(run) });
}

/** The old base tuned to tell the seeds from what the generator draws. */
export async function trainDiscriminator(run: TransferRun, generator: string): Promise<string> {
  const { request, work } = run;
  const folder = join(work, "discriminator");
  if (existsSync(folder)) return folder;
  const data = join(work, "discriminator.jsonl");
  const real = promptsOf(run);
  const negatives = await withModel(request.to, generator, run, (model) => drawRound(run, model, 0, Math.max(real.length, MIN_NEGATIVES)));
  await writeLines(data, labelled(real, negatives));
  const config = { model: request.from, data: { train: [data], validation: [] }, length: { steps: request.settings.discriminatorSteps } };
  return trained(run, "discriminator", { ...config, method: loraOf(run, sourceTargets(run)) });
}

/**
 * Rejection sampling: rounds of drawing and judging until there are enough prompts or rounds.
 * @throws WeightsmithError `transfer-nothing-real`
 */
export async function acceptPrompts(run: TransferRun, generator: string, discriminator: string): Promise<Accepted> {
  const { request } = run;
  const { examples, threshold } = request.settings;
  const seen = new Set<string>();
  const scores: number[] = [];
  const prompts: string[] = [];
  for (let round = 1; round <= MAX_ROUNDS && prompts.length < examples; round++) {
    const drawn = await withModel(request.to, generator, run, (model) => drawRound(run, model, round, examples));
    const fresh = [...new Set(drawn)].filter((prompt) => !seen.has(prompt));
    for (const prompt of fresh) seen.add(prompt);
    const found = await withModel(request.from, discriminator, run, (model) => realness(model, fresh, request.signal));
    scores.push(...found);
    prompts.push(...fresh.filter((_, i) => (found[i] ?? 0) >= threshold));
    tell(run, { stage: "draw", done: Math.min(examples, prompts.length), total: examples, unit: "items", detail: `${seen.size} drawn` });
  }
  if (prompts.length === 0)
    throw inputError("transfer-nothing-real", "the discriminator takes none of the drawn prompts for real", {
      found: `${seen.size} prompts, the best at ${Math.max(0, ...scores).toFixed(3)}`,
      expected: `${threshold} or more`,
      remedy: "give more seeds or more --generator-steps, or lower --threshold",
    });
  const ofSeeds = await withModel(request.from, discriminator, run, (model) => realness(model, promptsOf(run), request.signal));
  return { prompts: prompts.slice(0, examples), candidates: seen.size, realness: { seeds: mean(ofSeeds), candidates: mean(scores) } };
}

function drawRound(run: TransferRun, model: Model, round: number, count: number): Promise<string[]> {
  const { settings, signal } = run.request;
  const { temperature, seed } = settings;
  const onProgress = (done: number) => tell(run, { stage: "draw", done: 0, total: settings.examples, unit: "items", detail: `round ${round}: ${done}` });
  return drawPrompts(model, promptsOf(run), { count, temperature, seed, round, signal, ...(round === 0 ? {} : { onProgress }) });
}

/**
 * What the old base says with its adapter. Answers without an end are left out, empty ones too.
 * @returns their number @throws WeightsmithError `transfer-no-answers`
 */
export async function answerPrompts(run: TransferRun, prompts: readonly string[]): Promise<number> {
  const { request, seeds, work } = run;
  const answers = await withModel(request.from, request.adapter, run, async ({ decoder, codec }) => {
    const tokens = prompts.map((prompt) => codec.encodeStart(prompt));
    const known = seeds.flatMap(({ completion }) => (completion === undefined ? [] : [codec.encodeMore(completion).length]));
    const wanted = request.settings.maxNewTokens ?? (known.length === 0 ? MAX_NEW_TOKENS : 2 * Math.max(...known) + 1);
    const maxNewTokens = Math.max(1, Math.min(wanted, decoder.config.maxPositions - Math.max(...tokens.map(({ length }) => length))));
    const generated = await generate(decoder, tokens, {
      maxNewTokens,
      ...(request.signal === undefined ? {} : { signal: request.signal }),
      onProgress: (done) => tell(run, { stage: "answer", done, total: prompts.length, unit: "items", detail: "" }),
    });
    return generated.map((ids) => (ids.length < maxNewTokens ? codec.decode(ids) : ""));
  });
  const data = prompts.flatMap((prompt, i) => (answers[i]?.trim() ? [{ prompt, completion: answers[i] }] : []));
  if (data.length === 0)
    throw inputError("transfer-no-answers", "the source does not answer one of the drawn prompts to the end", {
      file: request.adapter,
      found: `${prompts.length} prompts`,
      remedy: "raise --max-new-tokens, or check that --from is the adapter's base",
    });
  await writeLines(join(work, DATA), data);
  return data.length;
}

/** The new base learns the answers. */
export async function distil(run: TransferRun): Promise<string> {
  const { request, seeds, work } = run;
  const real = seeds.filter(({ completion }) => completion !== undefined);
  if (real.length > 0) await writeLines(join(work, SEEDS), real);
  const data = { train: [join(work, DATA)], validation: real.length === 0 ? [] : [join(work, SEEDS)] };
  return trained(run, "distil", { model: request.to, data, method: loraOf(run), length: { epochs: request.settings.epochs } });
}

/** Of all architectures that are trained. */
const LAYERS: readonly string[] = [...PROJECTIONS, ...GPT2_PROJECTIONS];

/** Kinds of linear layers that the adapter changes; embeddings and heads are left to the bases. */
const sourceTargets = ({ adapter }: Pick<TransferRun, "adapter">): string[] =>
  [...new Set([...adapter.modules.keys()].map((path) => path.split(".").at(-1) ?? path))].filter((kind) => LAYERS.includes(kind));

/** @throws WeightsmithError `adapter-target-missing` */
export function checkTargets({ adapter, request }: Pick<TransferRun, "adapter" | "request">): void {
  const [source, asked = []] = [sourceTargets({ adapter }), request.settings.targets];
  const unknown = asked.filter((kind) => !LAYERS.includes(kind));
  if (source.length > 0 && unknown.length === 0) return;
  throw inputError("adapter-target-missing", "there are no layers to train", {
    file: adapter.file,
    found: unknown.join(", ") || [...adapter.modules.keys(), ...adapter.replacements.keys()].slice(0, 3).join(", "),
    expected: LAYERS.join(", "),
  });
}

/** A LoRA of the source's rank and scale on its kinds of layers. */
function loraOf(run: TransferRun, targets: readonly string[] = run.request.settings.targets ?? sourceTargets(run)): TrainConfig["method"] {
  const { adapter, request } = run;
  const source = adapter.family.type === "LORA" ? moduleSettings(adapter, "") : undefined;
  const own = Number(source?.r ?? RANK);
  const r = request.settings.rank ?? own;
  const scale = { lora_alpha: (Number(source?.lora_alpha ?? own) * r) / own, use_rslora: source?.use_rslora ?? false };
  const settings = { ...defaultSettings("LORA"), r, ...scale };
  return { kind: "adapter", family: "LORA", targetModules: targets, dropout: 0, settings } satisfies { kind: "adapter" } & AdapterSettings;
}

/** A model with an adapter beside it, for as long as `use` takes: no two models are held at once. */
async function withModel<T>(path: string, adapter: string, { request: { signal } }: TransferRun, use: (model: Model) => Promise<T>): Promise<T> {
  const options = signal === undefined ? {} : { signal };
  const model = await loadModel(path, options);
  try {
    const attached = await attachAdapter(model.decoder, adapter, options);
    try {
      return await use({ ...model, decoder: attached.decoderOf([]) });
    } finally {
      attached.dispose();
    }
  } finally {
    disposeDecoder(model.decoder);
  }
}

/** Trains unless a run that was stopped has done it; returns the adapter's folder. */
async function trained(
  run: TransferRun,
  stage: "generator" | "discriminator" | "distil",
  config: Pick<TrainConfig, "model" | "data" | "method" | "length">,
): Promise<string> {
  const { request, work } = run;
  const { settings, threads, blas, device, onWarning, signal } = request;
  const folder = join(work, stage);
  if (existsSync(folder)) return folder;
  const { lr, batchSize, seed, dtype } = settings;
  const rest = { optimizer: { ...TRAIN_DEFAULTS.optimizer, lr }, schedule: { warmupSteps: 10, floor: 0.1 }, batchSize, seed, dtype };
  await train({ ...TRAIN_DEFAULTS, ...rest, ...config }, folder, {
    overwrite: true,
    ...(threads === undefined ? {} : { threads }),
    blas,
    device,
    ...(onWarning === undefined ? {} : { onWarning }),
    ...(signal === undefined ? {} : { signal }),
    onProgress: ({ step, totalSteps, loss }) => tell(run, { stage, done: step, total: totalSteps, unit: "steps", detail: `loss ${loss.toFixed(4)}` }),
  });
  return folder;
}

const tell = ({ request }: TransferRun, progress: TransferProgress): void => request.onProgress?.(progress);

/** What led to the result goes, all but the data. */
export async function clearPhases(work: string): Promise<void> {
  for (const name of ["distil", "generator", "discriminator", "generator.jsonl", "discriminator.jsonl", SEEDS])
    await rm(join(work, name), { recursive: true, force: true });
}

/** Losses as training told them. */
export async function lossesOf(folder: string): Promise<{ trainLoss: number; validationLoss: number | undefined }> {
  return JSON.parse(await readFile(join(folder, "training.json"), "utf8"));
}
