// Averages of adapters in their family's own parameters: rotations by the generators that they are made from (a geodesic mean), scales around
// one. What comes of it is of the family too: rotations stay rotations, which their sum is not.
import { type Diagnostic, inputError } from "../diagnostics.ts";
import type { Combination } from "./combine.ts";
import { type CombinedTensor, differentBases, differentModules, planReplacements } from "./common-ground.ts";
import type { AdapterFamily } from "./family.ts";
import { type AdapterFile, moduleSettings } from "./read-adapter.ts";

/** A tensor of a module as several adapters have it. */
export interface AveragedTensor extends CombinedTensor {
  readonly shape: readonly number[];
  /** What an adapter without it has: values that change nothing. */
  readonly neutral: number;
}

export interface AveragePlan {
  readonly adapters: readonly AdapterFile[];
  readonly family: AdapterFamily;
  readonly tensors: readonly AveragedTensor[];
  readonly replacements: readonly CombinedTensor[];
  readonly config: Readonly<Record<string, unknown>>;
  readonly findings: readonly Diagnostic[];
}

/** Whether the method averages these adapters as what they are; else it averages factors of LoRA. */
export const isOneFamily = (adapters: readonly AdapterFile[], method: Combination): boolean =>
  (method === "average" || method === "mwa") && adapters.every(({ family }) => family.neutral !== undefined && family === adapters[0]?.family);

/** @throws WeightsmithError `adapter-settings-differ`, `adapter-shape-mismatch`, `adapter-incomplete` */
export function planAverage(adapters: readonly AdapterFile[]): AveragePlan {
  const [first] = adapters;
  if (first === undefined) throw new TypeError("nothing to average");
  const findings = [...differentBases(adapters), ...differentModules(adapters)];
  const paths = [...new Set(adapters.flatMap(({ modules }) => [...modules.keys()]))].sort();
  for (const path of paths) checkSettings(path, adapters, first);
  const tensors = paths.flatMap((path) => averagedTensors(path, adapters, first.family));
  const replacements = planReplacements(adapters, findings);
  return { adapters, family: first.family, tensors, replacements, config: configOf(adapters, paths), findings };
}

/** The result goes by the first adapter's config, so what makes a change of the numbers must be the same in all. */
function checkSettings(path: string, adapters: readonly AdapterFile[], first: AdapterFile): void {
  const expected = moduleSettings(first, path);
  for (const adapter of adapters.filter(({ modules }) => modules.has(path))) {
    const settings = moduleSettings(adapter, path);
    const key = Object.keys(expected).find((name) => settings[name] !== expected[name]);
    if (key !== undefined)
      throw inputError("adapter-settings-differ", `the adapters do not make their changes of ${path} in one way, so their numbers have no mean`, {
        file: adapter.configFile,
        found: `${key} ${settings[key]}`,
        expected: `${key} ${expected[key]}, as in ${first.folder}`,
        remedy: "merge their changes: use exact, svd or another of the svd methods, with --base",
      });
  }
}

function averagedTensors(path: string, adapters: readonly AdapterFile[], family: AdapterFamily): AveragedTensor[] {
  return family.tensors.map(({ name }) => {
    const sources = adapters.flatMap(({ modules, file }, index) => {
      const held = modules.get(path);
      const entry = held?.[name];
      if (held !== undefined && entry === undefined)
        throw inputError("adapter-incomplete", `${path} lacks its ${name}`, { file, found: Object.keys(held).join(", "), expected: name });
      return entry === undefined ? [] : [{ index, entry }];
    });
    const entry = sources[0]?.entry;
    if (entry === undefined) throw new TypeError(`no adapter has ${path}`);
    const odd = sources.find((source) => source.entry.shape.join() !== entry.shape.join());
    if (odd !== undefined)
      throw inputError("adapter-shape-mismatch", `${name} of ${path} differs in its shape, so it has no mean`, {
        file: adapters[odd.index]?.file ?? "",
        found: `[${odd.entry.shape.join(", ")}]`,
        expected: `[${entry.shape.join(", ")}], as in ${adapters[sources[0]?.index ?? 0]?.folder}`,
        remedy: "merge their changes: use exact, svd or another of the svd methods, with --base",
      });
    return { name: entry.name, shape: entry.shape, sources, neutral: family.neutral?.[name] ?? 0 };
  });
}

/** The first adapter's, for the modules of all. */
function configOf(adapters: readonly AdapterFile[], paths: readonly string[]): Record<string, unknown> {
  const listed = (key: string) => [...new Set(adapters.flatMap(({ config }) => (Array.isArray(config[key]) ? config[key].map(String) : [])))].sort();
  const saved = listed("modules_to_save");
  const config: Record<string, unknown> = { ...adapters[0]?.config };
  // Whole paths in place of last parts: modules of some layers must not be taken for those of all.
  if (paths.length > 0) Object.assign(config, { target_modules: paths, layers_to_transform: null, layers_pattern: null });
  else Object.assign(config, { target_modules: listed("target_modules") });
  if ("feedforward_modules" in config) config.feedforward_modules = paths.filter((path) => adapters.some((adapter) => scalesInputs(adapter, path)));
  return { ...config, exclude_modules: null, modules_to_save: saved.length === 0 ? null : saved };
}

/** IA3: [1, in]. */
const scalesInputs = ({ modules }: AdapterFile, path: string): boolean => modules.get(path)?.ia3_l?.shape[0] === 1;
