// The tensors of parts as those of one adapter: modules side by side, what all layers share once, pools one below another.
import { type AdapterFile, sharedName } from "../adapters/read-adapter.ts";
import { inputError, type WeightsmithError } from "../diagnostics.ts";
import type { TensorData } from "../nn/load.ts";

export interface PartTensors {
  readonly adapter: Pick<AdapterFile, "family" | "file" | "modules" | "shared" | "replacements">;
  /** By their names in the file. */
  readonly tensors: ReadonlyMap<string, TensorData>;
}

/** @throws WeightsmithError `slices-invalid` for parts that cannot be of one adapter */
export function joinParts(parts: readonly PartTensors[]): Map<string, TensorData> {
  const joined = new Map<string, TensorData>();
  for (const part of parts) {
    addModules(joined, part);
    addShared(joined, part);
  }
  return joined;
}

/** Numbers of rows count on from those of the pool so far. */
function addModules(joined: Map<string, TensorData>, { adapter, tensors }: PartTensors): void {
  const { family, file, modules, replacements } = adapter;
  const add = (name: string, tensor: TensorData) => {
    if (joined.has(name)) throw unlikeParts("two parts have the same tensor", file, name);
    joined.set(name, tensor);
  };
  for (const [module, entries] of modules)
    for (const [own, { name }] of Object.entries(entries)) {
      const pool = family.tensors.find((tensor) => tensor.name === own)?.rowsOf;
      const tensor = tensors.get(name) as TensorData;
      add(name, pool === undefined ? tensor : countedOn(tensor, rowsOf(joined.get(fileName(adapter, pool, module)))));
    }
  for (const { name } of replacements.values()) add(name, tensors.get(name) as TensorData);
}

/** Of a shared tensor in the file. */
function fileName({ family, shared }: PartTensors["adapter"], tensor: string, module: string): string {
  const root = family.sharedBy === "kind" ? `${tensor}.${module.split(".").at(-1)}` : tensor;
  return shared[root]?.name ?? root;
}

const rowsOf = (pool: TensorData | undefined): number => pool?.shape[0] ?? 0;

function countedOn(tensor: TensorData, rows: number): TensorData {
  const numbers = new Int32Array(tensor.data.slice().buffer);
  return { ...tensor, data: new Uint8Array(numbers.map((number) => number + rows).buffer) };
}

function addShared(joined: Map<string, TensorData>, { adapter: { family, file, shared }, tensors }: PartTensors): void {
  const pools = new Set(family.tensors.map((tensor) => tensor.rowsOf));
  for (const [root, { name }] of Object.entries(shared)) {
    const isPool = pools.has(sharedName(family, root));
    const [before, tensor] = [joined.get(name), tensors.get(name) as TensorData];
    if (before === undefined) joined.set(name, tensor);
    else if (isPool) joined.set(name, below(before, tensor));
    else if (!Buffer.from(before.data).equals(tensor.data)) throw unlikeParts("two parts differ in what they share", file, name);
  }
}

function below(upper: TensorData, lower: TensorData): TensorData {
  const [, ...row] = upper.shape;
  return { ...upper, shape: [rowsOf(upper) + rowsOf(lower), ...row], data: Buffer.concat([upper.data, lower.data]) };
}

const unlikeParts = (message: string, file: string, found: string): WeightsmithError =>
  inputError("slices-invalid", message, { file, found, remedy: "train the adapter again" });
