// weightsmith.json: what a folder was made from and how, so that it can be checked and made again.
// No times, paths of this machine or thread counts: the same merge writes the same manifest.
import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import { openFile } from "../bytes/file-source.ts";
import { type Diagnostic, throwIfCancelled } from "../diagnostics.ts";
import { identifyingBytes } from "../formats/tensor-file.ts";
import type { MergePlan } from "../plan/plan.ts";
import { VERSION } from "../version.ts";
import { sideFileNames } from "./side-files.ts";

export interface FileRecord {
  readonly file: string;
  readonly sizeBytes: number;
}

export interface Manifest {
  readonly format: 1;
  readonly weightsmith: string;
  readonly planHash: string;
  readonly method: string;
  readonly seed: number;
  /** What computed whole matrices: `cpu`, which gives the same bytes everywhere, or the library that did. */
  readonly engine: string;
  readonly recipe: { readonly file: string; readonly sha256: string };
  readonly inputs: readonly { readonly model: string; readonly files: readonly (FileRecord & { readonly headerSha256: string })[] }[];
  /** `sha256` is of the whole file; absent if the run was told not to hash. */
  readonly outputs: readonly (FileRecord & { readonly sha256?: string })[];
  /** The files beside the tensors, but for the model card, which is the user's to edit. */
  readonly sideFiles: readonly (FileRecord & { readonly sha256: string })[];
  readonly warnings: readonly Diagnostic[];
}

export const CPU_ENGINE = "cpu";

/** Assembles the manifest of the finished files in `folder`; reads the headers of the inputs again to hash them. */
export async function buildManifest(
  plan: MergePlan,
  folder: string,
  outputs: Manifest["outputs"],
  warnings: readonly Diagnostic[],
  engine = CPU_ENGINE,
): Promise<Manifest> {
  const inputs: Manifest["inputs"][number][] = [];
  for (const { reference, folder, files } of plan.models) {
    const records = [];
    for (const { file, sizeBytes } of files) records.push({ file: relative(folder, file), sizeBytes, headerSha256: await headerSha256(file) });
    inputs.push({ model: reference, files: records });
  }
  const { planHash, method, seed, recipe } = plan;
  const sideFiles = [];
  for (const file of sideFileNames(plan)) sideFiles.push(await fileRecord(folder, file));
  const origin = { file: basename(recipe.file), sha256: recipe.sha256 };
  return { format: 1, weightsmith: VERSION, planHash, method, seed, engine, recipe: origin, inputs, outputs, sideFiles, warnings };
}

async function fileRecord(folder: string, file: string): Promise<Manifest["sideFiles"][number]> {
  const path = join(folder, file);
  return { file, sizeBytes: (await stat(path)).size, sha256: await fileSha256(path) };
}

/** Hash of a file's header: tells one version of a model from another without reading it. */
export async function headerSha256(file: string): Promise<string> {
  const source = await openFile(file);
  try {
    return createHash("sha256")
      .update(await identifyingBytes(source))
      .digest("hex");
  } finally {
    await source.close();
  }
}

const HASH_CHUNK_BYTES = 4 * 2 ** 20;

/** sha256 of a whole file, in hexadecimal, with one buffer of memory. */
export async function fileSha256(file: string, signal?: AbortSignal): Promise<string> {
  const handle = await open(file, "r");
  try {
    const hash = createHash("sha256");
    const buffer = new Uint8Array(HASH_CHUNK_BYTES);
    for (;;) {
      throwIfCancelled(signal);
      const { bytesRead } = await handle.read(buffer, 0, buffer.length);
      if (bytesRead === 0) return hash.digest("hex");
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}
