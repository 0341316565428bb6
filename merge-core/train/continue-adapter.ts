// Training that goes on from an adapter: its tensors take the place of those that training would start with. Node only.
import type { FamilyTensor } from "../adapters/family.ts";
import { type ModuleEntries, readAdapter, sharedEntries } from "../adapters/read-adapter.ts";
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { inputError } from "../diagnostics.ts";
import { liveValues } from "../nn/storage.ts";
import { type LiveTensors, type StartedAdapter, sharedOf } from "./started-adapter.ts";

/** @throws WeightsmithError `adapter-family-unlike`, `adapter-incomplete`, `adapter-shape-mismatch`, and what reading it throws */
export async function continueFrom(adapter: StartedAdapter, folder: string): Promise<void> {
  const file = await readAdapter(folder);
  const { family, sites, modules, replaced } = adapter;
  if (file.family !== family)
    throw inputError("adapter-family-unlike", "training goes on from adapters of its own family", {
      file: file.configFile,
      found: file.family.type,
      expected: family.type,
    });
  const reader = new TensorReader();
  const copy = async (name: string, into: Float32Array, shape: readonly number[], entry: TensorEntry | undefined) => {
    if (entry?.shape.join() !== shape.join())
      throw inputError("adapter-shape-mismatch", `${name} is not of the shape that training starts with`, {
        file: file.file,
        found: entry === undefined ? "nothing" : `[${entry.shape.join(", ")}]`,
        expected: `[${shape.join(", ")}]`,
        remedy: "give the settings and target_modules that it was trained with",
      });
    into.set(Float32Array.from(await reader.read(entry)));
  };
  const fill = async (place: string, live: LiveTensors, tensors: readonly FamilyTensor[], held: ModuleEntries) => {
    for (const { name } of tensors) if (live[name] !== undefined) await copy(`${place}.${name}`, live[name].values(), live[name].shape, held[name]);
  };
  try {
    for (const { module, kind } of sites) {
      await fill(module, modules.get(module) ?? {}, family.tensors, file.modules.get(module) ?? {});
      await fill(kind, sharedOf(adapter, kind), family.shared, sharedEntries(file, module));
    }
    for (const [name, tensor] of replaced) await copy(name, liveValues(tensor), tensor.shape, file.replacements.get(name));
  } finally {
    await reader.close();
  }
}
