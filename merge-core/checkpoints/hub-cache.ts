// Models of the Hugging Face hub in the cache that its own tools share: models--ORG--NAME with refs (branch to commit),
// snapshots (commit to folder of links) and blobs (the files, by checksum). Node only.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export type Environment = Readonly<Record<string, string | undefined>>;

/** The branch that a name without a revision means. */
export const DEFAULT_REVISION = "main";
export const COMMIT = /^[0-9a-f]{40}$/;

/** The hub's cache folder, by the variables that its own tools read. */
export function hubCacheFolder(env: Environment = process.env): string {
  if (env.HF_HUB_CACHE) return env.HF_HUB_CACHE;
  const home = env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface");
  return join(home, "hub");
}

/** Whether a text can be the name of a model on the hub: `org/name`, or a single name for the oldest models. */
export function isHubName(text: string): boolean {
  return text.length <= 96 && /^[A-Za-z0-9][\w.-]*(\/[A-Za-z0-9][\w.-]*)?$/.test(text) && !/\.\.|--|\.git$/.test(text);
}

/** Branches, tags, commits and `refs/pr/N`; nothing that could leave its folder. */
export function isRevision(text: string): boolean {
  return /^[\w][\w./-]*$/.test(text) && !text.split("/").includes("..");
}

/** Where the cache keeps a model. */
export function repositoryFolder(cache: string, name: string): string {
  return join(cache, `models--${name.replace("/", "--")}`);
}

/** The folder of a revision of a model, if the cache has it with all its tensor files. */
export function cachedSnapshot(cache: string, name: string, revision: string = DEFAULT_REVISION): string | undefined {
  if (!isHubName(name) || !isRevision(revision)) return undefined;
  const repository = repositoryFolder(cache, name);
  const ref = join(repository, "refs", revision);
  const commit = COMMIT.test(revision) ? revision : existsSync(ref) ? readFileSync(ref, "utf8").trim() : "";
  const folder = join(repository, "snapshots", commit);
  return COMMIT.test(commit) && existsSync(folder) && holdsTensors(folder) ? folder : undefined;
}

/** A download that stopped early leaves a folder without some, or all, of its tensor files. */
function holdsTensors(folder: string): boolean {
  // A link whose file is gone does not exist.
  const names = readdirSync(folder).filter((name) => existsSync(join(folder, name)));
  const index = names.find((name) => /^(model\.safetensors|pytorch_model\.bin)\.index\.json$/.test(name));
  if (index === undefined) return names.some((name) => /\.(safetensors|bin)$/.test(name));
  const files = [...readFileSync(join(folder, index), "utf8").matchAll(/:\s*"([^"]+\.(?:safetensors|bin))"/g)].map((match) => match[1] ?? "");
  return files.every((file) => names.includes(file));
}

/** Names of all models in the cache, for suggestions. */
export function cachedNames(cache: string): string[] {
  const folders = existsSync(cache) ? readdirSync(cache) : [];
  return folders.filter((folder) => folder.startsWith("models--")).map((folder) => folder.slice("models--".length).replace("--", "/"));
}
