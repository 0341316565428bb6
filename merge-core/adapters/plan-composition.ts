// What applying orthogonal adapters one after another will make: an adapter of their family that does the same at once.
import { type Diagnostic, inputError } from "../diagnostics.ts";
import { checkShapes } from "./adapted-by-family.ts";
import { differentBases, differentModules } from "./common-ground.ts";
import { type OrthogonalProduct, orthogonalProduct } from "./families/orthogonal-products.ts";
import { configForAll } from "./plan-average.ts";
import { type AdapterFile, type ModuleEntries, moduleSettings } from "./read-adapter.ts";

export interface ComposedModule {
  readonly path: string;
  /** The tensor's name in the file, and its shape in the result. */
  readonly name: string;
  readonly shape: readonly number[];
  /** By adapter. */
  readonly sources: readonly (ModuleEntries | undefined)[];
}

export interface CompositionPlan {
  readonly adapters: readonly AdapterFile[];
  readonly rule: OrthogonalProduct;
  readonly modules: readonly ComposedModule[];
  readonly config: Readonly<Record<string, unknown>>;
  readonly findings: readonly Diagnostic[];
}

/** @throws WeightsmithError `adapter-family-unlike`, `adapter-settings-differ`, `adapter-incomplete`, `adapter-shape-mismatch` */
export function planComposition(adapters: readonly AdapterFile[]): CompositionPlan {
  const rule = ruleOf(adapters);
  const paths = [...new Set(adapters.flatMap(({ modules }) => [...modules.keys()]))].sort();
  const settings = adapters.map((adapter) => moduleSettings(adapter, ""));
  const all = adapters.flatMap(({ modules }) => [...modules.values()].map((entries) => entries[rule.tensor]?.shape ?? []));
  const own = rule.config(settings, all);
  const modules = paths.map((path) => planModule(path, adapters, rule, own));
  const findings = [...differentBases(adapters), ...differentModules(adapters)];
  return { adapters, rule, modules, config: { ...configForAll(adapters, paths), ...own }, findings };
}

function ruleOf(adapters: readonly AdapterFile[]): OrthogonalProduct {
  const [first] = adapters;
  const rule = orthogonalProduct(first?.family.type ?? "");
  const odd = adapters.find(({ family }) => rule === undefined || family !== first?.family);
  if (first === undefined || rule === undefined || odd !== undefined)
    throw inputError("adapter-family-unlike", "only OFT adapters, or only HRA adapters, have a product that is one of them", {
      ...(odd === undefined ? {} : { file: odd.configFile }),
      found: adapters.map(({ family }) => family.type).join(", "),
      remedy: "fold one after another, or use the method exact, which adds their changes up",
    });
  const whole = adapters.find(({ replacements }) => replacements.size > 0);
  if (whole === undefined) return rule;
  throw inputError("adapter-type-unsupported", "tensors that take the place of the base's have no product", {
    file: whole.file,
    found: [...whole.replacements.keys()].slice(0, 3).join(", "),
    remedy: "fold the adapters one after another",
  });
}

function planModule(path: string, adapters: readonly AdapterFile[], rule: OrthogonalProduct, config: Readonly<Record<string, unknown>>): ComposedModule {
  const sources = adapters.map(({ modules }) => modules.get(path));
  const entries = sources.flatMap((source) => source?.[rule.tensor] ?? []);
  const inputs = Math.max(...entries.map((entry) => rule.inputs(entry.shape)));
  for (const [i, adapter] of adapters.entries()) {
    const held = sources[i];
    if (held !== undefined) checkShapes(adapter, path, { inFeatures: inputs, outFeatures: 0 }, held);
  }
  const shape = rule.shape(
    entries.map((entry) => entry.shape),
    config,
  );
  return { path, name: entries[0]?.name ?? "", shape, sources };
}
