// Writes an adapter of any family: adapter_config.json and adapter_model.safetensors, as PEFT does for the families that it
// has, and in the same manner for others. Node only.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { narrowFromFloat32 } from "../formats/dtype-codecs.ts";
import { encodeSafetensors } from "../formats/safetensors-write.ts";
import type { AdapterFamily, FamilyTensor, ModuleTensor, Settings } from "./family.ts";
import type { Start } from "./family-training.ts";
import { CONFIG, TENSORS } from "./peft-config.ts";

export interface WrittenAdapter {
  readonly family: AdapterFamily;
  /** Of the whole adapter, those of training left out. */
  readonly settings: Settings;
  /** Keys of the config beside the settings. */
  readonly more: Readonly<Record<string, unknown>>;
  readonly targetModules: string | readonly string[];
  readonly baseModel: string | undefined;
  /** By module path. */
  readonly modules: ReadonlyMap<string, Start>;
  /** What modules share, by their kind; under the empty name what all share. */
  readonly shared: ReadonlyMap<string, Start>;
  /** Tensors that take the place of the base's, by its names. */
  readonly replacements: ReadonlyMap<string, ModuleTensor>;
}

/** The caller makes the write atomic. */
export async function writeAdapter(adapter: WrittenAdapter, folder: string, dtype: "F32" | "BF16" | "F16" = "F32"): Promise<void> {
  const { family } = adapter;
  const named: [string, ModuleTensor, FamilyTensor?][] = [
    ...[...adapter.modules].flatMap(([module, tensors]) => storedOf(tensors, family.tensors, (t) => `base_model.model.${module}.${t.name}${t.suffix ?? ""}`)),
    ...[...adapter.shared].flatMap(([kind, tensors]) => storedOf(tensors, family.shared, (t) => `base_model.${t.name}${kind === "" ? "" : `.${kind}`}`)),
    ...[...adapter.replacements].map(([name, tensor]): [string, ModuleTensor] => [`base_model.model.${infixed(name, family.replaces)}`, tensor]),
  ];
  const tensors = named.map(([name, { shape, values }, tensor]) => {
    if (tensor?.index === true) return { name, dtype: "I32" as const, shape, data: new Uint8Array(Int32Array.from(values).buffer) };
    return { name, dtype, shape, data: narrowFromFloat32(dtype, values instanceof Float32Array ? values : Float32Array.from(values)) };
  });
  tensors.sort((x, y) => (x.name < y.name ? -1 : 1));
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, TENSORS), encodeSafetensors(tensors, { format: "pt" }));
  await writeFile(join(folder, CONFIG), `${JSON.stringify(configOf(adapter), undefined, 2)}\n`);
}

/** The tensors that files of the family have, by their names in it. */
function storedOf(start: Start, tensors: readonly FamilyTensor[], nameOf: (tensor: FamilyTensor) => string): [string, ModuleTensor, FamilyTensor][] {
  return tensors.flatMap((tensor) =>
    start[tensor.name] === undefined ? [] : [[nameOf(tensor), start[tensor.name] as ModuleTensor, tensor] as [string, ModuleTensor, FamilyTensor]],
  );
}

/** `a.norm.weight` is `a.norm.ln_tuning_layers.weight` in the file. */
const infixed = (name: string, infix: string | undefined): string => (infix === undefined ? name : name.replace(/\.([^.]+)$/, `.${infix}.$1`));

/** Keys in alphabetical order, with everything that bears on the weights spelled out. */
function configOf({ family, settings, more, targetModules, baseModel }: WrittenAdapter): Record<string, unknown> {
  const config: Record<string, unknown> = {
    ...Object.fromEntries(family.settings.map(({ name }) => [name, settings[name] ?? null]).filter(([, value]) => value !== null)),
    ...more,
    auto_mapping: null,
    base_model_name_or_path: baseModel ?? null,
    inference_mode: true,
    peft_type: family.type,
    revision: null,
    target_modules: targetModules,
    task_type: "CAUSAL_LM",
  };
  return Object.fromEntries(Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1)));
}
