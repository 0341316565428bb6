// Which files make up the model at a path. Node only.
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { errorCode, openError } from "../bytes/file-source.ts";
import { inputError, type WeightsmithError } from "../diagnostics.ts";

/** Where the tensors are: an index to follow, or one file. Paths are as the user gave them. */
export interface ModelFiles {
  readonly folder: string;
  readonly kind: "index" | "single";
  readonly file: string;
  /** All regular files in the folder, links included, sorted. */
  readonly names: readonly string[];
}

/** In the order in which transformers looks for them. */
const USUAL_NAMES = ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"] as const;
export const TENSOR_FILE = /\.(safetensors|bin|pt|pth|ckpt)$/;
/** What training programs leave beside a model. */
const NO_MODEL = /^(training_args|optimizer|scheduler|scaler|rng_state.*)\.(bin|pt|pth)$/;
const EXPECTED = "a folder, a .safetensors or PyTorch file, or an index.json";

/**
 * Finds the tensors of a folder, a file or an index.json.
 * @throws WeightsmithError `model-missing`, `model-unreadable`, `model-format-unsupported`, `model-without-tensors`, `model-ambiguous`
 */
export async function findModelFiles(path: string): Promise<ModelFiles> {
  const stats = await stat(path).catch((error: unknown) => {
    throw errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR" ? missingError(path) : openError(path, error);
  });
  if (stats.isDirectory()) return findInFolder(path, await fileNames(path));
  if (!TENSOR_FILE.test(path) && !path.endsWith(".json")) throw unsupportedError(path, basename(path));
  const folder = dirname(path);
  return { folder, kind: path.endsWith(".json") ? "index" : "single", file: path, names: await fileNames(folder) };
}

async function fileNames(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw openError(folder, error);
  });
  return entries
    .filter((entry) => !entry.isDirectory() && !entry.name.startsWith("."))
    .map((entry) => entry.name)
    .sort();
}

function findInFolder(folder: string, names: readonly string[]): ModelFiles {
  const found = (name: string): ModelFiles => ({ folder, kind: name.endsWith(".json") ? "index" : "single", file: join(folder, name), names });
  const usual = USUAL_NAMES.find((name) => names.includes(name));
  if (usual !== undefined) return found(usual);
  const candidates = [/\.safetensors\.index\.json$/, /\.safetensors$/, TENSOR_FILE]
    .map((pattern) => names.filter((name) => pattern.test(name) && !NO_MODEL.test(name)))
    .find((list) => list.length > 0);
  const [only] = candidates ?? [];
  if (candidates === undefined || only === undefined) throw noTensorsError(folder, names);
  if (candidates.length === 1) return found(only);
  throw inputError("model-ambiguous", "several tensor files and no index", {
    file: folder,
    found: candidates.slice(0, 5).join(", "),
    expected: "model.safetensors or model.safetensors.index.json",
    remedy: "name one file, or add the index",
  });
}

function noTensorsError(folder: string, names: readonly string[]): WeightsmithError {
  const other = names.find((name) => /\.(gguf|h5|msgpack|onnx)$/.test(name));
  if (other !== undefined) return unsupportedError(folder, other);
  return inputError("model-without-tensors", "folder holds no model", {
    file: folder,
    found: names.length === 0 ? "no files" : names.slice(0, 8).join(", "),
    expected: [...USUAL_NAMES, "one other tensor file"].join(" or "),
  });
}

function unsupportedError(file: string, found: string): WeightsmithError {
  return inputError("model-format-unsupported", "not a safetensors or PyTorch checkpoint", {
    file,
    found,
    expected: EXPECTED,
    remedy: "convert the model to safetensors first",
  });
}

function missingError(path: string): WeightsmithError {
  const hubName = /^[\w.-]+\/[\w.-]+$/.test(path) && !path.startsWith(".");
  return inputError("model-missing", "no model at this path", {
    file: path,
    expected: EXPECTED,
    remedy: hubName ? `if this is a hub name, download it first: hf download ${path} --local-dir ${path}` : "check the path",
    notes: [`looked for ${resolve(path)}`],
  });
}
