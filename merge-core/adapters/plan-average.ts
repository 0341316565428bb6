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

/** Whether the method makes one of these adapters as what they are; else it works on factors of LoRA. */
export function isOneFamily(adapters: readonly AdapterFile[], method: Combination): boolean {
  const [first] = adapters;
  if (first?.family.neutral === undefined || adapters.some(({ family }) => family !== first.family)) return false;
  return method === "average" || method === "mwa" || isPeftLinear(first, method);
}

/** The one combination that PEFT has for another family: a sum of IA3's vectors, around zero. */
const isPeftLinear = ({ family }: AdapterFile, method: Combination): boolean => method === "linear" && family.type === "IA3";

/** @throws WeightsmithError `adapter-settings-differ`, `adapter-shape-mismatch`, `adapter-incomplete` */
export function planAverage(adapters: readonly AdapterFile[], method: Combination): AveragePlan {
  const [first] = adapters;
  if (first === undefined) throw new TypeError("nothing to average");
  const findings = [...differentBases(adapters), ...differentModules(adapters)];
  const paths = [...new Set(adapters.flatMap(({ modules }) => [...modules.keys()]))].sort();
  for (const path of paths) checkSettings(path, adapters, first);
  const neutral = isPeftLinear(first, method) ? {} : (first.family.neutral ?? {});
  const tensors = paths.flatMap((path) => averagedTensors(path, adapters, first.family, neutral));
  const replacements = planReplacements(adapters, findings);
  return { adapters, family: first.family, tensors, replacements, config: configForAll(adapters, paths), findings };
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

function averagedTensors(path: string, adapters: readonly AdapterFile[], family: AdapterFamily, neutral: Readonly<Record<string, number>>): AveragedTensor[] {
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
    return { name: entry.name, shape: entry.shape, sources, neutral: neutral[name] ?? 0 };
  });
}

/** The first adapter's config, for the modules of all. */
export function configForAll(adapters: readonly AdapterFile[], paths: readonly string[]): Record<string, unknown> {
  const first = adapters[0]?.config ?? {};
  const listed = (key: string) => [...new Set(adapters.flatMap(({ config }) => (Array.isArray(config[key]) ? config[key].map(String) : [])))].sort();
  const saved = listed("modules_to_save");
  const config = {
    // Whole paths in place of last parts: modules of some layers must not be taken for those of all.
    target_modules: paths.length > 0 ? paths : listed("target_modules"),
    ...{ layers_to_transform: null, layers_pattern: null, exclude_modules: null },
    feedforward_modules: paths.filter((path) => adapters.some((adapter) => scalesInputs(adapter, path))),
    modules_to_save: saved.length === 0 ? null : saved,
  };
  // Which of these there are differs between families, and PEFT warns of those that it does not know.
  return { ...first, ...Object.fromEntries(Object.entries(config).filter(([key]) => key in first)) };
}

/** IA3: [1, in]. */
const scalesInputs = ({ modules }: AdapterFile, path: string): boolean => modules.get(path)?.ia3_l?.shape[0] === 1;
