// What adapters that are to be one have in common and what not: bases, modules, and tensors that they bring whole.
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { type Diagnostic, nearestName } from "../diagnostics.ts";
import { shapeError } from "./base-tensors.ts";
import type { AdapterFile } from "./read-adapter.ts";

/** A tensor that adapters bring whole: copied from one, or the mean of several. */
export interface CombinedTensor {
  readonly name: string;
  readonly sources: readonly { readonly index: number; readonly entry: TensorEntry }[];
}

/** A warning where the adapters name unlike bases. */
export function differentBases(adapters: readonly AdapterFile[]): Diagnostic[] {
  const named = adapters.flatMap(({ config, folder }) =>
    typeof config.base_model_name_or_path === "string" ? [{ base: config.base_model_name_or_path, folder }] : [],
  );
  const [first] = named;
  const other = named.find(({ base }) => base !== first?.base);
  if (first === undefined || other === undefined) return [];
  const message = "the adapters name different base models";
  const remedy = "changes to different models do not add up; ignore this only if both names mean the same weights";
  return [
    {
      code: "adapter-bases-differ",
      severity: "warning",
      message,
      file: other.folder,
      found: other.base,
      expected: `${first.base}, as in ${first.folder}`,
      remedy,
    },
  ];
}

/** A warning where the config names a model of another name than the one given; by the last part alone, as models lie in many places. */
export function otherBase(config: Readonly<Record<string, unknown>>, given: string, file: string): Diagnostic[] {
  const named = config.base_model_name_or_path;
  const last = (name: string) => /([^/\\]*)[/\\]*$/.exec(name)?.[1]?.toLowerCase() ?? "";
  if (typeof named !== "string" || last(named) === "" || last(named) === last(given)) return [];
  const message = "the adapter names another base model";
  const remedy = "names and shapes alone do not tell models apart; ignore this only if both are the same weights";
  return [{ code: "adapter-base-other", severity: "warning", message, file, found: named, expected: given, remedy }];
}

/** Modules that only some adapters have, told once per adapter with the nearest name there is. */
export function differentModules(adapters: readonly AdapterFile[]): Diagnostic[] {
  const all = [...new Set(adapters.flatMap(({ modules }) => [...modules.keys()]))];
  return adapters.flatMap(({ modules, file }): Diagnostic[] => {
    const missing = all.filter((path) => !modules.has(path));
    const [first] = missing;
    if (first === undefined) return [];
    const shared = all.length > missing.length && [...modules.keys()].some((path) => adapters.some((other) => other.file !== file && other.modules.has(path)));
    const near = nearestName(first, modules.keys());
    const notes = missing.length === 1 ? [] : [`${missing.length} such modules: ${missing.slice(0, 5).join(", ")}${missing.length > 5 ? ", ..." : ""}`];
    return [
      {
        code: "adapter-modules-differ",
        severity: shared ? "info" : "warning",
        message: shared ? "the adapter lacks modules that others change; it adds nothing there" : "the adapter changes no module that another one changes",
        file,
        found: `no ${first}`,
        ...(near === undefined ? {} : { remedy: `the nearest it has is ${near}` }),
        notes,
      },
    ];
  });
}

/** Tensors that adapters bring whole, by name; what is averaged is added to the findings. @throws WeightsmithError `adapter-shape-mismatch` */
export function planReplacements(adapters: readonly AdapterFile[], findings: Diagnostic[]): CombinedTensor[] {
  const byName = new Map<string, CombinedTensor["sources"][number][]>();
  for (const [index, { replacements }] of adapters.entries())
    for (const entry of replacements.values()) byName.set(entry.name, [...(byName.get(entry.name) ?? []), { index, entry }]);
  for (const [name, sources] of byName) {
    const [first, ...others] = sources;
    const odd = others.find(({ entry }) => entry.shape.join() !== first?.entry.shape.join());
    if (first !== undefined && odd !== undefined)
      throw shapeError(
        { name },
        `[${odd.entry.shape.join(", ")}]`,
        `[${first.entry.shape.join(", ")}], as in ${adapters[first.index]?.folder}`,
        adapters[odd.index]?.file ?? "",
      );
  }
  const averaged = [...byName].filter(([, sources]) => sources.length > 1).map(([name]) => name);
  if (byName.size > 0) findings.push(replacementNote([...byName.keys()], averaged));
  return [...byName].map(([name, sources]) => ({ name, sources })).sort((x, y) => (x.name < y.name ? -1 : 1));
}

function replacementNote(names: readonly string[], averaged: readonly string[]): Diagnostic {
  const message = "adapters bring whole tensors of the model; those of one adapter are taken as they are, those of several averaged by weight";
  return {
    code: "adapter-whole-tensors",
    severity: "warning",
    message,
    found: `${names.length}, ${averaged.length} of them averaged`,
    notes: names.slice(0, 5),
  };
}
