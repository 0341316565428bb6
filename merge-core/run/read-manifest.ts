// Reading weightsmith.json back. Like any file it may be damaged or hostile: what is returned has the right types and plain file names.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { openError } from "../bytes/file-source.ts";
import { inputError } from "../diagnostics.ts";
import { isRecord, parseJsonBytes } from "../formats/json.ts";
import { CPU_ENGINE, type FileRecord } from "./manifest.ts";
import { MANIFEST_FILE } from "./work-folder.ts";

/** The part of a manifest that a check needs. */
export interface StoredManifest {
  readonly weightsmith: string;
  readonly planHash: string;
  readonly method: string;
  readonly seed: number;
  /** `cpu` in manifests of before there was a choice. */
  readonly engine: string;
  readonly recipeSha256: string;
  readonly inputs: readonly { readonly model: string; readonly files: readonly (FileRecord & { readonly headerSha256: string })[] }[];
  /** Tensor files, then the files beside them. */
  readonly files: readonly (FileRecord & { readonly sha256?: string })[];
}

const LIMITS = { maxBytes: 100_000_000, maxDepth: 16 };

/** @throws WeightsmithError `file-missing`, `manifest-invalid`, `manifest-without-sums`, `json-*` */
export async function readManifest(out: string): Promise<StoredManifest> {
  const file = join(out, MANIFEST_FILE);
  const bytes = await readFile(file).catch((error: unknown) => {
    throw openError(file, error);
  });
  const json = parseJsonBytes(bytes, file, LIMITS);
  const reader = new ManifestReader(file);
  const top = reader.record(json, "the manifest");
  if (top.format !== 1) throw reader.error("format", top.format, "1");
  if (typeof top.command === "string" && top.recipe === undefined)
    throw inputError("manifest-without-sums", `weightsmith ${top.command} keeps no sums of what it writes: there is nothing to verify`, { file });
  const recipe = reader.record(top.recipe, "recipe");
  return {
    weightsmith: reader.text(top.weightsmith, "weightsmith"),
    planHash: reader.text(top.planHash, "planHash"),
    method: reader.text(top.method, "method"),
    seed: reader.count(top.seed, "seed"),
    engine: top.engine === undefined ? CPU_ENGINE : reader.text(top.engine, "engine"),
    recipeSha256: reader.text(recipe.sha256, "recipe.sha256"),
    inputs: reader.list(top.inputs, "inputs").map((input) => {
      const { model, files } = reader.record(input, "an input");
      return {
        model: reader.text(model, "model"),
        files: reader.list(files, "files").map((entry) => {
          const { file, sizeBytes, headerSha256 } = reader.record(entry, "a file of an input");
          return { file: reader.text(file, "file"), sizeBytes: reader.count(sizeBytes, "sizeBytes"), headerSha256: reader.text(headerSha256, "headerSha256") };
        }),
      };
    }),
    files: [...reader.list(top.outputs, "outputs"), ...reader.list(top.sideFiles, "sideFiles")].map((entry) => reader.file(entry)),
  };
}

class ManifestReader {
  constructor(private readonly manifest: string) {}

  error(what: string, found: unknown, expected: string) {
    return inputError("manifest-invalid", `${what} of the manifest is not usable`, {
      file: this.manifest,
      found: JSON.stringify(found)?.slice(0, 80) ?? "nothing",
      expected,
      remedy: "the manifest was changed or damaged; merge again to have a new one",
    });
  }

  record(value: unknown, what: string): Readonly<Record<string, unknown>> {
    if (isRecord(value)) return value;
    throw this.error(what, value, "an object");
  }

  list(value: unknown, what: string): readonly unknown[] {
    if (Array.isArray(value)) return value;
    throw this.error(what, value, "a list");
  }

  text(value: unknown, what: string): string {
    if (typeof value === "string") return value;
    throw this.error(what, value, "text");
  }

  count(value: unknown, what: string): number {
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
    throw this.error(what, value, "a whole number of at least 0");
  }

  /** A file of the output: a plain name, so that a manifest cannot make us read elsewhere. */
  file(entry: unknown): FileRecord & { readonly sha256?: string } {
    const { file, sizeBytes, sha256 } = this.record(entry, "a file");
    const name = this.text(file, "file");
    if (name === "" || name === "." || name === ".." || /[/\\\0]/.test(name)) throw this.error("file", name, "a plain file name");
    const sum = sha256 === undefined ? {} : { sha256: this.text(sha256, "sha256") };
    return { file: name, sizeBytes: this.count(sizeBytes, "sizeBytes"), ...sum };
  }
}
