// Checks a finished folder against the manifest it was written with.
import { readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Diagnostic, throwIfCancelled } from "../diagnostics.ts";
import { sha256 } from "../plan/plan-hash.ts";
import { fileSha256 } from "./manifest.ts";
import { readManifest, type StoredManifest } from "./read-manifest.ts";
import { recipeFileOf } from "./side-files.ts";

export interface VerifyOptions {
  readonly signal?: AbortSignal;
  /** Called with the name and size of each file once it has been looked at. */
  readonly onFile?: (file: string, sizeBytes: number) => void;
}

export interface Verification {
  readonly manifest: StoredManifest;
  /** Undefined if the recipe is missing. */
  readonly recipe: string | undefined;
  /** One per mismatch; files the manifest does not know are warnings. Empty: the folder is as it was written. */
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * Compares names, sizes, sha256 sums and the recipe's hash; reads every file once.
 * @throws WeightsmithError `file-missing`, `manifest-invalid`, `json-*` if there is no manifest to check against, `cancelled`
 */
export async function verifyOutput(out: string, options: VerifyOptions = {}): Promise<Verification> {
  const manifest = await readManifest(out);
  const diagnostics: Diagnostic[] = [];
  for (const record of manifest.files) {
    throwIfCancelled(options.signal);
    const problem = await checkFile(out, record, options.signal);
    if (problem !== undefined) diagnostics.push(problem);
    options.onFile?.(record.file, record.sizeBytes);
  }
  const recipeFile = join(out, recipeFileOf(manifest.method));
  const recipe = await readFile(recipeFile, "utf8").catch(() => undefined);
  const recipeProblem = checkRecipe(recipeFile, recipe, manifest.recipeSha256);
  return { manifest, recipe, diagnostics: [...diagnostics, ...recipeProblem, ...(await strayTensors(out, manifest))] };
}

async function checkFile(out: string, record: StoredManifest["files"][number], signal: AbortSignal | undefined): Promise<Diagnostic | undefined> {
  const file = join(out, record.file);
  const mismatch = (code: string, message: string, found: string, expected: string): Diagnostic => ({
    code,
    severity: "error",
    message,
    file,
    found,
    expected,
    remedy: "the file was damaged or changed after the merge; copy it again, or merge again",
  });
  const stats = await stat(file).catch(() => undefined);
  if (stats === undefined) return mismatch("output-file-missing", "file is missing", "nothing", `${record.sizeBytes} bytes`);
  if (stats.size !== record.sizeBytes) return mismatch("output-size-differs", "file has another size", `${stats.size} bytes`, `${record.sizeBytes} bytes`);
  if (record.sha256 === undefined) return undefined;
  const sum = await fileSha256(file, signal);
  return sum === record.sha256 ? undefined : mismatch("output-hash-differs", "file has other content", `sha256 ${sum}`, `sha256 ${record.sha256}`);
}

function checkRecipe(file: string, text: string | undefined, expected: string): Diagnostic[] {
  const found = text === undefined ? "no recipe" : `sha256 ${sha256(text)}`;
  if (text !== undefined && sha256(text) === expected) return [];
  const remedy = "put the recipe back that the model was merged with";
  const message = "the recipe is not the one that was merged";
  return [{ code: "output-recipe-differs", severity: "error", message, file, found, expected: `sha256 ${expected}`, remedy }];
}

/** Tensor files that a loader may pick up although they are no part of the result. */
async function strayTensors(out: string, { files }: StoredManifest): Promise<Diagnostic[]> {
  const known = new Set(files.map(({ file }) => file));
  const strays = (await readdir(resolve(out))).filter((name) => /\.(safetensors|bin|index\.json)$/.test(name) && !known.has(name));
  return strays.map((name) => ({
    code: "output-file-unknown",
    severity: "warning",
    message: "file is not part of the merge, but a loader may read it",
    file: join(out, name),
    remedy: "move it elsewhere",
  }));
}
