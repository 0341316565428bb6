// What training needs to know of an adapter of any family: its parameters, a decoder for each pass, and how it is saved.
import type * as tf from "@tensorflow/tfjs-core";
import type { FamilyTensor, ModuleTensor, Settings } from "../adapters/family.ts";
import type { Pass } from "../adapters/family-math.ts";
import type { LiveModule, Start } from "../adapters/family-training.ts";
import { findFamily } from "../adapters/registry.ts";
import { writeAdapter } from "../adapters/write-adapter.ts";
import { type AttachedAdapter, attachAdapter, tasksOfPositions } from "../evaluate/attach-adapter.ts";
import { adaptedLayers, meanPenalty } from "../nn/adapted-layer.ts";
import type { TokenRow } from "../nn/data.ts";
import type { Decoder } from "../nn/llama.ts";
import { disposeDecoder } from "../nn/load.ts";
import { uniforms } from "../nn/random.ts";
import type { AdapterSettings, TrainConfig } from "./config.ts";
import { continueFrom } from "./continue-adapter.ts";
import type { TrainingPass } from "./gradients.ts";
import { keptTensors } from "./kept-tensors.ts";
import { type ChosenSizes, chooseSizes, type Sizes } from "./rank-search.ts";
import { disposeAdapter, type LiveTensors, partsOf, type StartedAdapter, sharedOf, startAdapter } from "./started-adapter.ts";
import { baseName, dropoutOf, type GradientOf, type Trainable, type TrainingStep } from "./trainable.ts";

/** Weight of a step in running means. */
const MEAN_RATE = 0.01;

export async function adapterTrainable(
  decoder: Decoder,
  method: AdapterSettings,
  config: TrainConfig,
  { fisher, totalSteps = 0 }: { readonly fisher?: ReadonlyMap<string, ArrayLike<number>> | undefined; readonly totalSteps?: number } = {},
): Promise<Trainable> {
  const family = findFamily(method.family);
  if (family?.training === undefined) throw new TypeError(`${method.family} cannot be trained`);
  const tasks = config.data.train.length;
  const settings = "n_tasks" in method.settings ? { ...method.settings, n_tasks: Math.max(tasks, Number(method.settings.n_tasks)) } : method.settings;
  const { targetModules: targets, layers } = method;
  const kept = method.beside === undefined ? undefined : await keptTensors(method.beside);
  const adapter = startAdapter(decoder, family, { settings, targets, layers, seed: config.seed, tasks, fisher, kept });
  if (method.from !== undefined) await continueFrom(adapter, method.from);
  const beside = method.beside === undefined ? undefined : await attachAdapter(decoder, method.beside);
  const base = beside?.decoderOf([]) ?? decoder;
  const adapted: Decoder = { ...decoder, weights: new Map([...base.weights].map(([name, tensor]) => [name, adapter.replaced.get(name) ?? tensor])) };
  const parameters = parametersOf(adapter);
  const chosen = new Map<string, ChosenSizes>();
  const rates = (progress: number) => family.training?.rates?.(settings, progress) ?? {};
  return {
    decoder: adapted,
    parameters,
    memory: memoryOf(adapter),
    pass: (rows, step) => passOf({ adapter, decoder: adapted, beside, method, seed: config.seed, chosen }, rows, step),
    ...(family.type === "LORA" ? { factorScale: scaleOf(settings) } : {}),
    rateOf: (name, progress) => rates(progress)[tensorName(adapter, name)] ?? 1,
    afterStep: (step, gradientOf) => family.training?.afterStep?.(liveModules(adapter, gradientOf), step, totalSteps),
    async choose(lossOf) {
      const set = (sizes: Sizes) => {
        for (const [module, size] of sizes) chosen.set(module, size);
      };
      const measured = (sizes: Sizes) => {
        set(sizes);
        return lossOf?.() ?? Promise.resolve(Number.NaN);
      };
      const choice = await chooseSizes(settings, adapter.sites, config.seed, lossOf === undefined ? undefined : measured);
      if (choice !== undefined) set(choice.sizes);
      return choice?.loss;
    },
    save: (folder) => saveAdapter({ adapter, method, config, chosen, totalSteps, isTurned: decoder.config.modelType === "gpt2" }, folder),
    dispose() {
      beside?.dispose();
      disposeAdapter(adapter);
      disposeDecoder(decoder);
    },
  };
}

const scaleOf = ({ lora_alpha: alpha, r, use_rslora: rooted }: Settings): number => Number(alpha) / (rooted === true ? Math.sqrt(Number(r)) : Number(r));

const nameOf = (place: string, { name, suffix }: FamilyTensor): string => `${place === "" ? "" : `${place}.`}${name}${suffix ?? ""}`;

const notIn = (kept: ReadonlySet<string>, tensors: readonly FamilyTensor[]): FamilyTensor[] => tensors.filter(({ name }) => !kept.has(name));

/** By path, what is trained: modules' own tensors, shared ones, and those in the base's place. */
function parametersOf({ family, modules, shared, kept, replaced }: StartedAdapter): Map<string, tf.Tensor> {
  const trained = (place: string, held: LiveTensors, tensors: readonly FamilyTensor[]) =>
    tensors.flatMap((t): [string, tf.Tensor][] =>
      t.trained && held[t.name]?.tensor !== undefined ? [[nameOf(place, t), held[t.name]?.tensor as tf.Tensor]] : [],
    );
  return new Map([
    ...[...shared].flatMap(([kind, held]) => trained(kind, held, notIn(kept, family.shared))),
    ...[...modules].flatMap(([module, held]) => trained(module, held, family.tensors)),
    ...replaced,
  ]);
}

/** The family's name of a parameter; the last part of the base's for what is in its place. */
function tensorName({ family }: StartedAdapter, parameter: string): string {
  const found = [...family.tensors, ...family.shared].find((t) => parameter.endsWith(`${t.name}${t.suffix ?? ""}`));
  return found?.name ?? parameter.split(".").at(-1) ?? parameter;
}

/** What hooks and passes may change beside the parameters. */
function memoryOf({ family, modules }: StartedAdapter): Map<string, Float32Array> {
  const isTrained = new Set(family.tensors.filter(({ trained }) => trained).map(({ name }) => name));
  const rest = [...modules].flatMap(([module, held]) =>
    Object.entries(held).flatMap(([name, live]) => (isTrained.has(name) ? [] : [[`${module}.${name}`, live] as const])),
  );
  return new Map(rest.map(([name, live]) => [name, live.values()]));
}

interface Passing {
  readonly adapter: StartedAdapter;
  readonly decoder: Decoder;
  /** Of other layers, and frozen. */
  readonly beside: AttachedAdapter | undefined;
  readonly method: AdapterSettings;
  readonly seed: number;
  readonly chosen: Sizes;
}

function passOf({ adapter, decoder, beside, method, seed, chosen }: Passing, rows: readonly TokenRow[], step: TrainingStep | undefined): TrainingPass {
  const { family, settings } = adapter;
  const parts = partsOf(adapter, (module): Settings => (step === undefined ? { ...chosen.get(module) } : {}));
  // Where blocks are computed once more for their gradients, they are seen twice.
  const seenBefore = new Set<string>();
  const pass: Pass = {
    tasks: tasksOfPositions(rows),
    ...(step === undefined
      ? {}
      : {
          progress: step.progress,
          draw: (stream, count) => uniforms(seed, `draw/${step.name}/${stream}`, count),
          observe(module, name, seen) {
            if (!seenBefore.has(`${module}/${name}`)) keepMean(adapter, module, name, seen);
            seenBefore.add(`${module}/${name}`);
          },
        }),
  };
  const frozen = beside?.decoderOf(rows).adapted ?? new Map<string, never>();
  const layers = family.math === undefined ? {} : { adapted: new Map([...frozen, ...adaptedLayers(family, parts, pass)]) };
  if (step === undefined) return { ...decoder, ...layers };
  const weights = family.training?.taskWeights?.(settings, pass);
  return {
    ...decoder,
    ...layers,
    ...dropoutOf(method.dropout, seed, step.name),
    penalty: () => meanPenalty(family, parts),
    ...(weights === undefined ? {} : { rowWeight: ({ task = 0 }: TokenRow) => weights[task] ?? 0 }),
  };
}

function keepMean({ modules }: StartedAdapter, module: string, name: string, seen: ArrayLike<number>): void {
  const mean = modules.get(module)?.[name]?.values();
  if (mean !== undefined) for (let i = 0; i < mean.length; i++) mean[i] = (mean[i] as number) + MEAN_RATE * ((seen[i] as number) - (mean[i] as number));
}

const liveModules = (adapter: StartedAdapter, gradientOf: GradientOf | undefined): LiveModule[] =>
  adapter.sites.map(({ module, kind, settings }) => {
    const held = Object.entries({ ...sharedOf(adapter, kind), ...adapter.modules.get(module) });
    const live = { module, kind, settings, tensors: Object.fromEntries(held.map(([name, tensor]) => [name, tensor.values()])) };
    if (gradientOf === undefined) return live;
    const own = (name: string) => adapter.family.tensors.find((t) => t.name === name);
    return { ...live, gradient: (name) => gradientOf(nameOf(module, own(name) ?? { name, trained: true })) };
  });

const startOf = (tensors: LiveTensors = {}): Start =>
  Object.fromEntries(Object.entries(tensors).map(([name, live]): [string, ModuleTensor] => [name, { shape: live.shape, values: live.values() }]));

interface Saving {
  readonly adapter: StartedAdapter;
  readonly method: AdapterSettings;
  readonly config: TrainConfig;
  readonly chosen: Sizes;
  readonly totalSteps: number;
  /** The model's layers are stored as [in, out]. */
  readonly isTurned: boolean;
}

/** Every module in the form that files have, and what is left of the shared tensors. */
async function saveAdapter({ adapter, method, config, chosen, totalSteps, isTurned }: Saving, folder: string): Promise<void> {
  const { family, sites, modules, shared, replaced } = adapter;
  let settings: Settings = adapter.settings;
  const stored = new Map<string, Start>();
  const trained = new Map(sites.map(({ module }) => [module, startOf(modules.get(module))]));
  const pools = new Map([...shared].map(([kind, held]) => [kind, startOf(held)]));
  for (const { module, layer } of sites) {
    const tensors = trained.get(module) ?? {};
    const found = family.training?.stored?.({ ...adapter.settings, ...chosen.get(module) }, { layer, tensors });
    settings = found?.settings ?? settings;
    stored.set(module, found?.tensors ?? tensors);
  }
  if (family.training?.pack !== undefined)
    for (const [kind, pool] of pools) {
      const paths = sites.filter((site) => kind === "" || site.kind === kind).map((site) => site.module);
      const packed = family.training.pack(
        paths.map((path) => stored.get(path) ?? {}),
        pool,
      );
      pools.set(kind, packed.shared);
      for (const [i, path] of paths.entries()) stored.set(path, packed.modules[i] ?? {});
    }
  const replacements = new Map(
    [...replaced].map(([name, tensor]): [string, ModuleTensor] => [name, { shape: tensor.shape, values: tensor.dataSync<"float32">() }]),
  );
  const more = {
    ...rankPatterns(settings, chosen),
    ...family.training?.fileConfig?.(settings, method.targetModules, { totalSteps, modules: trained }),
    ...(method.layers === undefined ? {} : { layers_to_transform: method.layers }),
    // GPT-2's files hold its layers as [in, out], which PEFT wants to be told.
    ...(family.type === "LORA" ? { lora_dropout: method.dropout, ...(isTurned ? { fan_in_fan_out: true } : {}) } : {}),
  };
  const written = {
    family,
    settings,
    more,
    targetModules: method.targetModules,
    baseModel: baseName(config.model),
    modules: stored,
    shared: pools,
    replacements,
  };
  await writeAdapter(written, folder, config.dtype);
}

/** Ranks and alphas of modules, so that the scale is that of the whole rank. */
function rankPatterns(settings: Settings, chosen: Sizes): Record<string, unknown> {
  const ranks = [...chosen].flatMap(([module, { elastic_rank: rank }]) => (rank === undefined ? [] : [[module, rank] as const]));
  if (ranks.length === 0) return {};
  const [alpha, r] = [Number(settings.lora_alpha), Number(settings.r)];
  const share = (rank: number) => (settings.use_rslora === true ? Math.sqrt(rank / r) : rank / r);
  return { rank_pattern: Object.fromEntries(ranks), alpha_pattern: Object.fromEntries(ranks.map(([module, rank]) => [module, alpha * share(rank)])) };
}
