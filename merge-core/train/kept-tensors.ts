// What an adapter that is trained beside another of its family shares with that one. Node only.
import type { Start } from "../adapters/family-training.ts";
import { readAdapter, sharedEntries } from "../adapters/read-adapter.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";

/**
 * Shared tensors of the adapter in `folder`, by kind of module where each kind has its own, else under the empty name. They stay as they
 * are, for its layers depend on them. Of pools, whose rows layers choose, every adapter has its own: they are left out.
 */
export async function keptTensors(folder: string): Promise<ReadonlyMap<string, Start>> {
  const adapter = await readAdapter(folder);
  const { family, modules } = adapter;
  const pools = new Set(family.tensors.map((tensor) => tensor.rowsOf));
  const kindOf = (module: string) => (family.sharedBy === "kind" ? (module.split(".").at(-1) ?? module) : "");
  const kept = new Map<string, Start>();
  const reader = new TensorReader();
  try {
    for (const module of modules.keys()) {
      if (kept.has(kindOf(module))) continue;
      const entries = Object.entries(sharedEntries(adapter, module)).filter(([name]) => !pools.has(name));
      const values = await Promise.all(entries.map(async ([name, entry]) => [name, { shape: entry.shape, values: await reader.read(entry) }] as const));
      kept.set(kindOf(module), Object.fromEntries(values));
    }
    return kept;
  } finally {
    await reader.close();
  }
}
