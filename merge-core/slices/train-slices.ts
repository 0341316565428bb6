// S3T (Chowdhury et al., 2024, 2406.16257): exact unlearning with adapters. The data comes in slices; each slice trains the layers
// below those before it on all data so far, and what was trained before stays as it is. Without a slice, and all that came after
// it in its order, the adapter is bit for bit the one that had never seen it. Several orders keep what is left long. Node only.
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { AdapterFamily } from "../adapters/family.ts";
import { readAdapter, sharedName } from "../adapters/read-adapter.ts";
import { findFamily } from "../adapters/registry.ts";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { hashFiles } from "../evaluate/score-cache.ts";
import { elementCount } from "../formats/dtypes.ts";
import { readDecoderConfig } from "../nn/model.ts";
import { writeJson } from "../nn/save.ts";
import { checkOutput, JOURNAL_FILE, openWorkFolder } from "../run/work-folder.ts";
import type { AdapterSettings, TrainConfig } from "../train/config.ts";
import { adapterSettings } from "../train/make-trainable.ts";
import { type TrainOptions, type TrainResult, train } from "../train/train.ts";
import { VERSION } from "../version.ts";
import { assembleChain } from "./assemble.ts";
import { beginnings, cyclicOrders, longestChain, type Part, partFolder, provenance, SLICES_FILE } from "./provenance.ts";

/** A sliced run: what training tells of the last part of the adapter, and the record of all. */
export type SlicedResult = TrainResult & { readonly parts: readonly Part[]; readonly active: readonly number[] };

/**
 * Trains every part of every order and writes `out`: the adapter of the first order, all parts, and the record of what came from where.
 * A run that was stopped goes on with the part that it was in.
 * @throws WeightsmithError `slices-*`, `output-*`, and what training throws
 */
export async function trainSlices(config: TrainConfig, out: string, options: TrainOptions = {}): Promise<SlicedResult> {
  const started = performance.now();
  const method = await checkSliceable(config);
  const files = config.data.train;
  const request = { out, overwrite: options.overwrite ?? false, inputs: [config.model, ...files] };
  await checkOutput(request);
  const sums = await Promise.all(files.map((file) => hashFiles([file])));
  const { saveEvery: _, ...lasting } = config;
  const identity = `${JSON.stringify({ format: "weightsmith-slices", weightsmith: VERSION, config: lasting, sums, engine: options.blas?.name ?? options.device })}\n`;
  const work = await openWorkFolder(request, (journal) => journal === identity);
  try {
    await writeFile(join(work.path, JOURNAL_FILE), identity);
    const { parts, last } = await trainParts({ config, method, work: work.path }, options);
    const active = longestChain(parts);
    await assembleChain(work.path, active, work.path);
    await rm(join(work.path, BESIDE), { recursive: true, force: true });
    const slices = files.map((file, i) => ({ number: i + 1, name: basename(file), sha256: sums[i] as string }));
    await writeJson(join(work.path, SLICES_FILE), provenance({ weightsmith: VERSION, slices, parts, active }));
    const parameters = await parametersOf(work.path);
    await work.finish();
    const { trainLoss, validationLoss } = parts.find((part) => part.slices.join() === active.join()) as Part;
    const { engine } = await trainingOf(join(out, partFolder(active)));
    const counts = { steps: last.steps, resumedFrom: last.resumedFrom, examples: last.examples, skippedTooLong: last.skippedTooLong };
    const seconds = (performance.now() - started) / 1000;
    return { out, method: config.method.kind, engine, parameters, ...counts, trainLoss, validationLoss, seconds, parts, active };
  } finally {
    await work.release();
  }
}

/** The parts that a new one is trained beside, while it is trained. */
const BESIDE = "beside";

interface SlicedRun {
  readonly config: TrainConfig;
  readonly method: AdapterSettings;
  readonly work: string;
}

type Counts = Pick<TrainResult, "steps" | "resumedFrom" | "examples" | "skippedTooLong">;

async function trainParts(run: SlicedRun, options: TrainOptions): Promise<{ parts: Part[]; last: Counts }> {
  const { config, work } = run;
  const { orders = 1 } = config.slices ?? {};
  const chains = cyclicOrders(config.data.train.length, orders).flatMap(beginnings);
  const layerCount = (await readDecoderConfig(config.model)).layers;
  const parts: Part[] = [];
  let counts: Counts = { steps: 0, resumedFrom: 0, examples: 0, skippedTooLong: 0 };
  for (const [index, slices] of chains.entries()) {
    throwIfCancelled(options.signal);
    const folder = join(work, partFolder(slices));
    const layers = layersOf(slices.length, config.slices?.layers ?? 1, layerCount);
    if (!existsSync(folder)) {
      const done = counts.steps;
      const onProgress: TrainOptions["onProgress"] = (p) =>
        options.onProgress?.({ ...p, step: done + p.step, totalSteps: done + p.totalSteps * (chains.length - index) });
      const result = await trainPart(run, slices, layers, { ...options, overwrite: false, onProgress });
      counts = {
        steps: done + result.steps,
        resumedFrom: counts.resumedFrom + result.resumedFrom,
        examples: Math.max(counts.examples, result.examples),
        skippedTooLong: Math.max(counts.skippedTooLong, result.skippedTooLong),
      };
    }
    const { trainLoss, validationLoss } = await trainingOf(folder);
    parts.push({ slices, layers, trainLoss, ...(validationLoss === undefined ? {} : { validationLoss }) });
  }
  return { parts, last: counts };
}

/** What training told of a part. */
const trainingOf = async (folder: string): Promise<Pick<TrainResult, "engine" | "trainLoss" | "validationLoss">> =>
  JSON.parse(await readFile(join(folder, "training.json"), "utf8"));

/** Those of the slice at `place`, from 1: the first has the last layers of the model. */
export const layersOf = (place: number, each: number, count: number): number[] => Array.from({ length: each }, (_, i) => count - place * each + i);

/** A part depends on the slices before it and their order, and on nothing else: neither on how many come after nor on other orders. */
async function trainPart(
  { config, method, work }: SlicedRun,
  slices: readonly number[],
  layers: readonly number[],
  options: TrainOptions,
): Promise<TrainResult> {
  const { slices: _, ...rest } = config;
  const before = slices.slice(0, -1);
  const beside = join(work, BESIDE);
  if (before.length > 0) {
    await mkdir(beside, { recursive: true });
    await assembleChain(work, before, beside);
  }
  const own = { kind: "adapter" as const, ...method, layers, ...(before.length === 0 ? {} : { beside }) };
  const seen = slices.map((number) => config.data.train[number - 1] as string);
  await mkdir(join(work, "slices"), { recursive: true });
  return train({ ...rest, method: own, data: { ...config.data, train: seen } }, join(work, partFolder(slices)), options);
}

/** @throws WeightsmithError `slices-need-layers`, `slices-need-own-tensors` */
async function checkSliceable(config: TrainConfig): Promise<AdapterSettings> {
  const { method, slices, data, model } = config;
  if (slices === undefined || method.kind === "full") throw new TypeError("slices of an adapter only");
  const settings = adapterSettings(method);
  checkFamily(findFamily(settings.family), settings);
  const { layers } = await readDecoderConfig(model);
  if (data.train.length * slices.layers > layers)
    throw inputError("slices-need-layers", "the model has too few layers for so many slices", {
      found: `${data.train.length} slices of ${slices.layers} layers, ${layers} layers`,
      remedy: "give fewer and larger files of data, or fewer layers each",
    });
  return settings;
}

/**
 * What all layers share is trained by the first part of a chain and stays as it is from then on, or else every later slice would change
 * the layers of earlier ones. So a part must have something else to train: tensors of its layers, or rows of a pool.
 */
function checkFamily(family: AdapterFamily | undefined, { settings, layers, from }: AdapterSettings): void {
  const found =
    "n_tasks" in settings ? "each file as a task" : family === undefined || hasOwn(family, settings) ? undefined : "nothing but tensors that all layers share";
  if (found !== undefined)
    throw inputError("slices-need-own-tensors", `adapters of type ${family?.type} with these settings cannot be trained in slices`, {
      found,
      expected: "a family in which each layer has tensors of its own, such as LORA",
    });
  if (layers !== undefined || from !== undefined)
    throw inputError("slices-choose-layers", "slices say which layers are trained, and where training starts", {
      found: layers === undefined ? "from" : "layers",
    });
}

/** Whether layers have tensors of their own to train, or rows in a pool that is trained. */
function hasOwn(family: AdapterFamily, settings: AdapterSettings["settings"]): boolean {
  if (family.shared.length === 0) return true;
  const names = Object.keys(family.shapes({ inFeatures: 1, outFeatures: 1 }, settings, {}));
  const isTrained = (pool: string | undefined) => family.shared.some(({ name, trained }) => trained && name === pool);
  return family.tensors.some(({ name, trained, rowsOf }) => (trained && names.includes(name)) || isTrained(rowsOf));
}

async function parametersOf(folder: string): Promise<number> {
  const { family, modules, shared, replacements } = await readAdapter(folder);
  const isTrained = (name: string) => [...family.tensors, ...family.shared].some((tensor) => tensor.trained && tensor.name === name);
  const own = [...modules.values()].flatMap((tensors) => Object.entries(tensors));
  const all = Object.entries(shared).map(([root, entry]) => [sharedName(family, root), entry] as const);
  const trained = [...own, ...all].filter(([name]) => isTrained(name)).map(([, entry]) => entry);
  return [...trained, ...replacements.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
}
