// Which models there are, by file names alone.
import { readdir } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";

export interface FoundModel {
  /** What openCheckpoint is given: a folder, or a file where a folder holds several models. */
  readonly path: string;
  /** The file that the checkpoint editor opens. */
  readonly file: string;
  readonly name: string;
}

const INDEX = ".safetensors.index.json";

/** Models in a list of files: a folder with an index or one tensor file is one model, else each file is. */
export function groupModels(files: readonly string[]): FoundModel[] {
  const folders = new Map<string, string[]>();
  for (const file of files.filter(isModelFile)) {
    const folder = dirname(file);
    folders.set(folder, [...(folders.get(folder) ?? []), file]);
  }
  return [...folders].flatMap(([folder, members]) => modelsIn(folder, members)).sort((a, b) => (a.path < b.path ? -1 : 1));
}

function modelsIn(folder: string, members: readonly string[]): FoundModel[] {
  const whole =
    members.find((file) => basename(file) === "model.safetensors") ??
    members.find((file) => file.endsWith(INDEX)) ??
    (members.length === 1 ? members[0] : undefined);
  if (whole !== undefined) return [{ path: folder, file: whole, name: basename(folder) }];
  return members.map((file) => ({ path: file, file, name: basename(file) }));
}

/** Where the Hugging Face tools keep what they download, by their own environment variables. */
export function defaultCacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env.HF_HUB_CACHE ?? join(env.HF_HOME ?? join(env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface"), "hub");
}

/** Models of a Hugging Face cache: `models--ORG--NAME/snapshots/REVISION/`, named `ORG/NAME`. A folder that is not there has none. */
export async function findCachedModels(cache: string): Promise<FoundModel[]> {
  const repositories = (await names(cache)).filter((name) => name.startsWith("models--"));
  const found = await Promise.all(
    repositories.map(async (repository) => {
      const snapshots = join(cache, repository, "snapshots");
      const models = await Promise.all((await names(snapshots)).map((revision) => findInFolder(join(snapshots, revision))));
      return models.flat().map((model) => ({ ...model, name: repository.slice("models--".length).replaceAll("--", "/") }));
    }),
  );
  return found.flat();
}

/** Models whose files lie in this folder itself. */
export async function findInFolder(folder: string): Promise<FoundModel[]> {
  return groupModels((await names(folder)).map((name) => join(folder, name)));
}

/** Not Fisher information and Gram matrices, which lie beside the models they are of. */
function isModelFile(name: string): boolean {
  return (name.endsWith(".safetensors") && !/\.(fisher|gram)\.safetensors$/.test(name)) || name.endsWith(INDEX);
}

async function names(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}
