// An adapter of any family where training begins: its live tensors, module by module.
import * as tf from "@tensorflow/tfjs-core";
import type { AdapterFamily, ModuleTensor, Settings } from "../adapters/family.ts";
import type { Part } from "../adapters/family-math.ts";
import type { RandomSource, Site, Start } from "../adapters/family-training.ts";
import { inputError, nearestName } from "../diagnostics.ts";
import type { Decoder } from "../nn/llama.ts";
import { normals, permutation, uniforms } from "../nn/random.ts";
import { liveValues, readValues } from "../nn/storage.ts";
import { checkedStart, checkSettings } from "./check-settings.ts";

/** A tensor that steps may change: in the graph, or beside it where it only chooses elements. */
export interface LiveTensor {
  readonly shape: readonly number[];
  readonly tensor: tf.Tensor | undefined;
  /** Read-only unless it is the family's own hook that writes. */
  values(): Float32Array;
}

export type LiveTensors = Readonly<Record<string, LiveTensor>>;

export interface StartedAdapter {
  readonly family: AdapterFamily;
  readonly settings: Settings;
  readonly sites: readonly Site[];
  /** By module path. */
  readonly modules: ReadonlyMap<string, LiveTensors>;
  /** By kind of module; under the empty name what all share. */
  readonly shared: ReadonlyMap<string, LiveTensors>;
  /** Follow from the base's weights; by module path. */
  readonly derived: ReadonlyMap<string, LiveTensors>;
  /** Names of shared tensors that are not trained. */
  readonly kept: ReadonlySet<string>;
  /** Copies of tensors of the base, by its names, that are trained in their place. */
  readonly replaced: ReadonlyMap<string, tf.Tensor>;
}

export interface StartOptions {
  readonly settings: Settings;
  readonly targets: readonly string[];
  /** Numbers of layers. Default: all. */
  readonly layers?: readonly number[] | undefined;
  readonly seed: number;
  readonly tasks: number;
  /** Mean squared gradients, by weight. */
  readonly fisher?: ReadonlyMap<string, ArrayLike<number>> | undefined;
  /** Shared tensors that are there already, and stay as they are; by kind of module, as `StartedAdapter.shared`. */
  readonly kept?: ReadonlyMap<string, Start> | undefined;
}

/** The caller disposes what it gets with `disposeAdapter`. */
export function startAdapter(decoder: Decoder, family: AdapterFamily, options: StartOptions): StartedAdapter {
  const { kept = new Map<string, Start>() } = options;
  const sites = sitesOf(decoder, options);
  checkSettings(family, sites);
  const isIndex = new Set([...family.tensors, ...family.shared].filter(({ index }) => index === true).map(({ name }) => name));
  const live = (start: Start = {}): LiveTensors =>
    Object.fromEntries(Object.entries(start).map(([name, tensor]) => [name, liveTensor(tensor, isIndex.has(name))]));
  const groups = family.sharedBy === "kind" ? [...new Set(sites.map(({ kind }) => kind))] : [""];
  const startShared = (kind: string) => family.training?.startShared?.(sites.filter((site) => kind === "" || site.kind === kind));
  const norms = [...decoder.weights].filter(
    ([name]) => isTarget(moduleOf(name), options) && family.replaces !== undefined && /(norm|\.ln_[12f])\.weight$/.test(name),
  );
  return {
    family,
    settings: options.settings,
    sites,
    modules: new Map(sites.map((site) => [site.module, live(checkedStart(family, site))])),
    shared: family.shared.length === 0 ? new Map() : new Map(groups.map((kind) => [kind, live({ ...startShared(kind), ...kept.get(kind) })])),
    kept: new Set([...kept.values()].flatMap((start) => Object.keys(start))),
    derived: new Map(sites.map((site) => [site.module, live(family.derive?.(site.weight, site.layer, site.settings))])),
    replaced: new Map(norms.map(([name, tensor]) => [name, tf.tensor(liveValues(tensor).slice(), tensor.shape)])),
  };
}

function liveTensor({ shape, values }: ModuleTensor, isIndex: boolean): LiveTensor {
  const numbers = values instanceof Float32Array ? values : Float32Array.from(values);
  if (isIndex) return { shape, tensor: undefined, values: () => numbers };
  const tensor = tf.tensor(numbers, [...shape]);
  return { shape, tensor, values: () => liveValues(tensor) };
}

export function disposeAdapter({ modules, shared, derived, replaced }: StartedAdapter): void {
  const all = [...modules.values(), ...shared.values(), ...derived.values()].flatMap((tensors) => Object.values(tensors));
  tf.dispose([...all.flatMap(({ tensor }) => tensor ?? []), ...replaced.values()]);
}

const moduleOf = (weight: string): string => weight.replace(/\.weight$/, "");
const kindOf = (module: string): string => module.split(".").at(-1) ?? module;
/** The first number in the path: `model.layers.3.mlp` is of layer 3. */
const layerNumber = (module: string): number => Number(/\.(\d+)\./.exec(module)?.[1]);
const isTarget = (module: string, { targets, layers }: Pick<StartOptions, "targets" | "layers">): boolean =>
  targets.includes(kindOf(module)) && (layers === undefined || layers.includes(layerNumber(module)));

/** The linear layers that are meant, in the order of the model. */
function sitesOf({ weights, config }: Decoder, options: StartOptions): Site[] {
  const { settings, targets, layers = [], seed, tasks, fisher } = options;
  const modules = [...weights].filter(([name, tensor]) => name.endsWith(".weight") && tensor.rank === 2 && isTarget(moduleOf(name), options));
  checkTargets(weights, targets);
  checkLayers(config.layers, layers);
  const kinds = [...new Set(modules.map(([name]) => kindOf(moduleOf(name))))];
  const all = fisher === undefined ? undefined : modules.map(([name]) => fisher.get(name) ?? []);
  const valuesOf = oneAtATime();
  return modules.map(([name, tensor], place) => {
    const module = moduleOf(name);
    const kind = kindOf(module);
    const same = modules.filter(([other]) => kindOf(moduleOf(other)) === kind);
    const [outFeatures = 0, inFeatures = 0] = tensor.shape;
    const where = { module, kind, place, kinds, index: same.findIndex(([other]) => other === name), count: same.length };
    const rest = { layer: { inFeatures, outFeatures }, settings, random: randomSource(seed, module), tasks };
    return {
      ...where,
      ...rest,
      get weight() {
        return valuesOf(tensor);
      },
      ...(all === undefined ? {} : { fisher: all }),
    };
  });
}

/** Values of tensors; those of the last one asked for are held, for what is not kept as float32 is widened for each asking. */
function oneAtATime(): (tensor: tf.Tensor) => Float32Array {
  let held: { readonly tensor: tf.Tensor; readonly values: Float32Array } | undefined;
  return (tensor) => {
    if (held?.tensor !== tensor) held = { tensor, values: readValues(tensor) };
    return held.values;
  };
}

/** @throws WeightsmithError `adapter-target-missing` */
function checkTargets(weights: Decoder["weights"], targets: readonly string[]): void {
  const kinds = [...new Set([...weights.keys()].map((name) => kindOf(moduleOf(name))))];
  const missing = targets.filter((target) => !kinds.includes(target));
  if (missing.length === 0) return;
  const near = nearestName(missing[0] ?? "", kinds);
  throw inputError("adapter-target-missing", "the model has no layers of that name", {
    found: missing.join(", "),
    expected: kinds.join(", "),
    ...(near === undefined ? {} : { remedy: `did you mean ${near}?` }),
  });
}

/** @throws WeightsmithError `adapter-layer-missing` */
function checkLayers(count: number, layers: readonly number[]): void {
  const missing = layers.filter((layer) => layer >= count);
  if (missing.length > 0)
    throw inputError("adapter-layer-missing", "the model has no layers of that number", { found: missing.join(", "), expected: `0 to ${count - 1}` });
}

function randomSource(seed: number, module: string): RandomSource {
  const name = (stream: string) => `${stream}/${module}`;
  return {
    uniform: (stream, count, bound) => Float32Array.from(uniforms(seed, name(stream), count), (u) => (2 * u - 1) * bound),
    normal: (stream, count, deviation) => normals(seed, name(stream), count).map((x) => x * deviation),
    order: (stream, count) => permutation(seed, name(stream), count),
  };
}

/** What each module computes with. @param change settings of single modules, such as a rank that was chosen */
export function partsOf(adapter: StartedAdapter, change: (module: string) => Settings = () => ({})): Map<string, Part<tf.Tensor>> {
  return new Map(
    adapter.sites.map(({ module, kind, layer, settings }) => {
      const all = Object.entries({ ...sharedOf(adapter, kind), ...adapter.derived.get(module), ...adapter.modules.get(module) });
      const tensors = Object.fromEntries(all.flatMap(([name, { tensor }]) => (tensor === undefined ? [] : [[name, tensor]])));
      const indices = Object.fromEntries(all.flatMap(([name, { tensor, values }]) => (tensor === undefined ? [[name, values()]] : [])));
      return [module, { layer, module, settings: { ...settings, ...change(module) }, tensors, indices }];
    }),
  );
}

export const sharedOf = ({ shared, family }: StartedAdapter, kind: string): LiveTensors => shared.get(family.sharedBy === "kind" ? kind : "") ?? {};
