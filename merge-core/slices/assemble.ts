// One adapter from the parts of a chain: each holds its own layers, so that together they are the union of their tensors. Node only.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CONFIG, readAdapterConfig, TENSORS } from "../adapters/peft-config.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { inputError } from "../diagnostics.ts";
import { encodeSafetensors, PYTORCH_METADATA } from "../formats/safetensors-write.ts";
import type { TensorData } from "../nn/load.ts";
import { readTensors } from "../nn/model.ts";
import { beginnings, partFolder } from "./provenance.ts";

/** Writes config and tensors of the chain `slices`, whose parts lie below `from`, into the folder `into`. */
export async function assembleChain(from: string, slices: readonly number[], into: string): Promise<void> {
  const parts = beginnings(slices).map((beginning) => join(from, partFolder(beginning)));
  const tensors = new Map<string, TensorData & { readonly name: string }>();
  const layers: number[] = [];
  for (const part of parts) {
    for (const [name, tensor] of await readTensors(await openCheckpoint(join(part, TENSORS)))) {
      if (tensors.has(name))
        throw inputError("slices-invalid", "two parts have the same tensor", { file: part, found: name, remedy: "train the adapter again" });
      tensors.set(name, { name, ...tensor });
    }
    layers.push(...((await readAdapterConfig(join(part, CONFIG))).layers_to_transform as number[]));
  }
  const sorted = [...tensors.values()].sort((x, y) => (x.name < y.name ? -1 : 1));
  await writeFile(join(into, TENSORS), encodeSafetensors(sorted, PYTORCH_METADATA));
  await writeFile(join(into, LOG), await joinedLog(parts));
  const config = JSON.parse(await readFile(join(parts.at(-1) ?? from, CONFIG), "utf8")) as object;
  await writeFile(join(into, CONFIG), `${JSON.stringify({ ...config, layers_to_transform: layers.sort((a, b) => a - b) }, undefined, 2)}\n`);
}

const LOG = "training-log.jsonl";

/** The parts' logs as one, steps counted on. */
async function joinedLog(parts: readonly string[]): Promise<string> {
  const lines: string[] = [];
  for (const part of parts) {
    const before = lines.length;
    const own = (await readFile(join(part, LOG), "utf8")).split("\n").filter((line) => line !== "");
    lines.push(...own.map((line, i) => JSON.stringify({ ...(JSON.parse(line) as object), step: before + i + 1 })));
  }
  return lines.map((line) => `${line}\n`).join("");
}
