// One adapter from the parts of a chain: each holds its own layers, so that together they are the union of their tensors. Node only.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CONFIG, TENSORS } from "../adapters/peft-config.ts";
import { readAdapter } from "../adapters/read-adapter.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { isRecord } from "../formats/json.ts";
import { encodeSafetensors, PYTORCH_METADATA } from "../formats/safetensors-write.ts";
import { readTensors } from "../nn/model.ts";
import { joinParts } from "./join-parts.ts";
import { beginnings, partFolder } from "./provenance.ts";

/** Writes config and tensors of the chain `slices`, whose parts lie below `from`, into the folder `into`. */
export async function assembleChain(from: string, slices: readonly number[], into: string): Promise<void> {
  const folders = beginnings(slices).map((beginning) => join(from, partFolder(beginning)));
  const parts = await Promise.all(
    folders.map(async (folder) => ({ adapter: await readAdapter(folder), tensors: await readTensors(await openCheckpoint(join(folder, TENSORS))) })),
  );
  const tensors = [...joinParts(parts)].map(([name, tensor]) => ({ name, ...tensor }));
  tensors.sort((x, y) => (x.name < y.name ? -1 : 1));
  await writeFile(join(into, TENSORS), encodeSafetensors(tensors, PYTORCH_METADATA));
  await writeFile(join(into, LOG), await joinedLog(folders));
  await writeFile(join(into, CONFIG), `${JSON.stringify(joinedConfig(parts.map(({ adapter }) => adapter.config)), undefined, 2)}\n`);
}

type Config = Readonly<Record<string, unknown>>;

/** The last part's, with the layers of all and what is said of single modules. */
function joinedConfig(configs: readonly Config[]): Config {
  const layers = configs.flatMap((config) => config.layers_to_transform as number[]).sort((a, b) => a - b);
  const patterns = ["rank_pattern", "alpha_pattern"].flatMap((key) => {
    const found = configs.map((config) => config[key]).filter(isRecord);
    return found.length === 0 ? [] : [[key, Object.assign({}, ...found)] as const];
  });
  return { ...configs.at(-1), ...Object.fromEntries(patterns), layers_to_transform: layers };
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
