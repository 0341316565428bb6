// A LoRA under the names of another program: PEFT, kohya's sd-scripts, diffusers. Numbers stay as they are, to the bit. Node only.
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Dialect, joinParts, type LoraModule, type NamedLora, rankOf, type Stored } from "../adapters/dialects/dialect.ts";
import { pathsByName } from "../adapters/dialects/module-paths.ts";
import { readNamedLora } from "../adapters/dialects/read-names.ts";
import { diffusersTensors, kohyaTensors, peftConfig, peftTensors } from "../adapters/dialects/write-names.ts";
import { CONFIG, loraScale, readLoraConfig, TENSORS } from "../adapters/peft-config.ts";
import { readAdapter } from "../adapters/read-adapter.ts";
import { openError, openFile } from "../bytes/file-source.ts";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { type Diagnostic, inputError } from "../diagnostics.ts";
import { encodeSafetensors } from "../formats/safetensors-write.ts";
import { VERSION } from "../version.ts";
import { checkOutput, JOURNAL_FILE, MANIFEST_FILE, openWorkFolder } from "./work-folder.ts";

/** Where diffusers looks in a folder; the other programs are given the file's own name. */
const DIFFUSERS_FILE = "pytorch_lora_weights.safetensors";

export interface ConvertRequest {
  readonly adapter: string;
  readonly out: string;
  readonly to: Dialect;
  /** Its modules tell where the dots in kohya's names were. */
  readonly base?: Checkpoint | undefined;
  /** What a PEFT adapter changes, or which part of the file goes into one. */
  readonly component?: string | undefined;
  readonly overwrite: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface ConvertResult {
  readonly out: string;
  readonly to: Dialect;
  readonly components: Readonly<Record<string, number>>;
  readonly ranks: readonly number[];
  readonly warnings: readonly Diagnostic[];
}

/** @throws WeightsmithError `adapter-*`, `output-*` */
export async function convertAdapter(request: ConvertRequest): Promise<ConvertResult> {
  const { adapter, out, to, overwrite, component } = request;
  const output = { out, overwrite, inputs: [adapter] };
  await checkOutput(output);
  const lora = await readLora(request);
  const chosen = to === "peft" ? only(lora, component, adapter) : lora;
  const files = filesOf(chosen, to, adapter);
  const work = await openWorkFolder(output, () => false);
  try {
    await writeFile(join(work.path, JOURNAL_FILE), `${JSON.stringify({ weightsmith: VERSION, writes: "adapter" })}\n`);
    for (const [name, data] of files) await writeFile(join(work.path, name), data);
    await writeFile(join(work.path, MANIFEST_FILE), `${JSON.stringify({ format: 1, weightsmith: VERSION, converted: { from: adapter, to } }, undefined, 2)}\n`);
    const warnings = await work.finish();
    const modules = [...chosen.components.values()].flatMap((own) => [...own.values()]);
    const counts = [...chosen.components].map(([name, own]) => [name === "" ? "model" : name, own.size] as const);
    return { out, to, components: Object.fromEntries(counts), ranks: [...new Set(modules.map(rankOf))].sort((a, b) => a - b), warnings };
  } catch (error) {
    await work.drop();
    throw error;
  } finally {
    await work.release();
  }
}

function filesOf(lora: NamedLora, to: Dialect, file: string): Map<string, string | Uint8Array> {
  const encoded = (tensors: ReadonlyMap<string, Stored>, metadata: Record<string, string> = {}) => {
    const sorted = [...tensors].sort(([x], [y]) => (x < y ? -1 : 1)).map(([name, tensor]) => ({ name, ...tensor }));
    return encodeSafetensors(sorted, { format: "pt", ...metadata });
  };
  if (to === "diffusers") return new Map([[DIFFUSERS_FILE, encoded(diffusersTensors(lora, file))]]);
  const modules = new Map([...lora.components.values()].flatMap((own) => [...own]));
  const config = peftConfig(modules, lora);
  if (to === "peft")
    return new Map<string, string | Uint8Array>([
      [CONFIG, `${JSON.stringify(config, undefined, 2)}\n`],
      [TENSORS, encoded(peftTensors(modules))],
    ]);
  const metadata = { ss_network_module: "networks.lora", ss_network_dim: String(config.r), ss_network_alpha: String(config.lora_alpha) };
  return new Map([["lora.safetensors", encoded(kohyaTensors(lora, file), metadata)]]);
}

/** PEFT has one adapter for each model. */
function only(lora: NamedLora, component: string | undefined, file: string): NamedLora {
  const names = [...lora.components.keys()];
  const name = component ?? (names.length === 1 ? names[0] : undefined);
  const modules = name === undefined ? undefined : lora.components.get(name);
  if (name !== undefined && modules !== undefined) return { ...lora, components: new Map([[name, modules]]) };
  throw inputError("adapter-component-unknown", "the file changes several models, and a PEFT adapter is for one", {
    file,
    found: names.join(", "),
    ...(component === undefined ? {} : { expected: component }),
    remedy: `choose with --component ${names.join(" or --component ")}`,
  });
}

async function readLora({ adapter, base, component, signal }: ConvertRequest): Promise<NamedLora> {
  const options = signal === undefined ? {} : { signal };
  const isFolder = (
    await stat(adapter).catch((error: unknown) => {
      throw openError(adapter, error);
    })
  ).isDirectory();
  if (isFolder && (await stat(join(adapter, CONFIG)).catch(() => undefined)) !== undefined) return readPeft(adapter, component, options);
  const tensors = await bytesOf(adapter, options);
  const modules = base === undefined ? undefined : pathsByName([...base.tensors.keys()].filter(isWeight).map(moduleOf), base.folder);
  return readNamedLora(tensors, modules, adapter);
}

const isWeight = (name: string): boolean => name.endsWith(".weight");
const moduleOf = (name: string): string => name.slice(0, -".weight".length);

/** The tensors of a file, or of the one file in a folder. */
async function bytesOf(path: string, options: { readonly signal?: AbortSignal }): Promise<Map<string, Stored>> {
  const { tensors, shards } = await openCheckpoint(path, options);
  const found = new Map<string, Stored>();
  for (const { file } of shards) {
    const source = await openFile(file);
    try {
      for (const { name, dtype, shape, offset, byteLength } of [...tensors.values()].filter((tensor) => tensor.file === file))
        found.set(name, { dtype, shape, data: await source.read(offset, byteLength, options) });
    } finally {
      await source.close();
    }
  }
  return found;
}

async function readPeft(folder: string, component: string | undefined, options: { readonly signal?: AbortSignal }): Promise<NamedLora> {
  const file = join(folder, CONFIG);
  const config = await readLoraConfig(file, ["use_dora", "fan_in_fan_out"]);
  const { modules, replacements, file: tensorFile } = await readAdapter(folder, options);
  const extra = [...replacements.keys()][0];
  if (extra !== undefined) throw inputError("adapter-tensor-unexpected", `the other namings have no place for ${extra}`, { file: tensorFile });
  const bytes = await bytesOf(tensorFile, options);
  const scale = loraScale(config, file);
  const joined = [...modules].map(([path, entries]): [string, LoraModule] => {
    const stored = (name: string) => (entries[name] === undefined ? undefined : bytes.get(entries[name].name));
    const parts = { down: stored("lora_A"), up: stored("lora_B"), magnitude: stored("lora_magnitude_vector") };
    const r = parts.down?.shape[0] ?? 0;
    // Also where PEFT divides by the root of the rank: the other programs know alpha / r alone.
    return [path, joinParts(path, parts, scale(path, r) * r, tensorFile)];
  });
  const first = joined[0]?.[0] ?? "";
  const { base_model_name_or_path: baseModel, task_type: task } = config;
  return {
    components: new Map([[component ?? usualComponent(first), new Map(joined)]]),
    ...(typeof baseModel === "string" ? { baseModel } : {}),
    ...(typeof task === "string" ? { task } : {}),
  };
}

/** What part of a pipeline has modules of such a path; the empty name for a model by itself. */
function usualComponent(path: string): string {
  if (/^(down_blocks|up_blocks|mid_block|conv_in|conv_out)\b/.test(path)) return "unet";
  if (/^(single_)?transformer_blocks\./.test(path)) return "transformer";
  return path.startsWith("text_model.") ? "text_encoder" : "";
}
