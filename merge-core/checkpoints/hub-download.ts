// Fetches a model from the hub into the shared cache, in the layout of hub-cache.ts. Only ever called when a user asks for it. Node only.
import { existsSync } from "node:fs";
import { copyFile, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { downloadFile, failedError, refusal } from "../bytes/download.ts";
import { inputError, throwIfCancelled, WeightsmithError } from "../diagnostics.ts";
import { isRecord } from "../formats/json.ts";
import { COMMIT, DEFAULT_REVISION, type Environment, isHubName, isRevision, repositoryFolder } from "./hub-cache.ts";

export interface HubDownload {
  readonly name: string;
  readonly revision?: string | undefined;
  /** The cache folder. */
  readonly cache: string;
  /** HF_ENDPOINT and HF_TOKEN are read from here. */
  readonly env?: Environment;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (file: string, doneBytes: number, totalBytes: number) => void;
  readonly retryMs?: number;
}

interface RemoteFile {
  readonly file: string;
  readonly url: string;
  readonly sizeBytes: number;
  /** Checksum under which the cache keeps the file. */
  readonly etag: string;
}

const MAX_REDIRECTS = 5;

/**
 * Downloads what a merge needs: tensor files (safetensors where there are any), JSON and tokenizer files. Files that the cache has are kept.
 * @returns the snapshot folder
 * @throws WeightsmithError `hub-*`, `download-*`, `cancelled`
 */
export async function downloadModel(request: HubDownload): Promise<string> {
  const { name, revision = DEFAULT_REVISION, cache, signal } = request;
  if (!isHubName(name) || !isRevision(revision)) throw inputError("hub-name-invalid", "not a name and revision of the hub", { found: `${name}@${revision}` });
  const { commit, files } = await listFiles(request, revision);
  const remote: RemoteFile[] = [];
  for (const file of files) remote.push(await askAbout(request, commit, file));
  const total = remote.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const repository = repositoryFolder(cache, name);
  const snapshot = join(repository, "snapshots", commit);
  await mkdir(snapshot, { recursive: true });
  let before = 0;
  for (const file of remote) {
    throwIfCancelled(signal);
    const done = before;
    await fetchInto(request, repository, snapshot, file, (bytes) => request.onProgress?.(file.file, done + bytes, total));
    before += file.sizeBytes;
    request.onProgress?.(file.file, before, total);
  }
  // Last, so that a name leads only to what is complete.
  const ref = join(repository, "refs", revision);
  await mkdir(dirname(ref), { recursive: true });
  if (!COMMIT.test(revision)) await writeFile(ref, commit);
  return snapshot;
}

const endpointOf = ({ env = process.env }: HubDownload): string => (env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");

function headersOf({ env = process.env }: HubDownload): Record<string, string> {
  return env.HF_TOKEN ? { Authorization: `Bearer ${env.HF_TOKEN}` } : {};
}

async function listFiles(request: HubDownload, revision: string): Promise<{ commit: string; files: string[] }> {
  const url = `${endpointOf(request)}/api/models/${request.name}/revision/${encodeURIComponent(revision)}`;
  const response = await ask(url, request, "GET", "follow");
  const json: unknown = await response.json().catch(() => undefined);
  const { sha, siblings } = isRecord(json) ? json : {};
  if (typeof sha !== "string" || !COMMIT.test(sha) || !Array.isArray(siblings))
    throw inputError("hub-answer-invalid", "the hub's answer is not a list of files", { file: url, remedy: "is HF_ENDPOINT a Hugging Face hub?" });
  const names = siblings.flatMap((entry: unknown) => (isRecord(entry) && typeof entry.rfilename === "string" ? [entry.rfilename] : []));
  const files = wantedFiles(names);
  if (files.some((file) => /\.(safetensors|bin)$/.test(file))) return { commit: sha, files };
  throw inputError("model-without-tensors", "this model on the hub has no safetensors or PyTorch files", {
    file: request.name,
    found: names.slice(0, 8).join(", "),
  });
}

/** Of the files in the top folder: tensors in one format, and everything small that may have to travel with them. */
export function wantedFiles(names: readonly string[]): string[] {
  const top = names.filter((name) => /^[\w][\w.+-]*$/.test(name));
  const patterns = [/^model(-\d+-of-\d+)?\.safetensors$/, /\.safetensors$/, /^(pytorch|adapter)_model(-\d+-of-\d+)?\.bin$/];
  const tensors = patterns.map((pattern) => top.filter((name) => pattern.test(name))).find((list) => list.length > 0) ?? [];
  return [...top.filter((name) => /\.(json|model|txt|jinja|tiktoken|py)$/.test(name)), ...tensors];
}

/** Size and checksum of a file: those of the large file it stands for, if it is kept apart. */
async function askAbout(request: HubDownload, commit: string, file: string): Promise<RemoteFile> {
  const endpoint = endpointOf(request);
  let url = `${endpoint}/${request.name}/resolve/${commit}/${encodeURIComponent(file)}`;
  for (let i = 0; i < MAX_REDIRECTS; i++) {
    const response = await ask(url, request, "HEAD", "manual");
    const location = response.headers.get("location");
    const etag = (response.headers.get("x-linked-etag") ?? response.headers.get("etag") ?? "").replace(/^W\//, "").replace(/"/g, "");
    const isRedirect = response.status >= 300 && response.status < 400;
    // Renamed models redirect within the hub; large files elsewhere, with what is to be known in this answer's header.
    if (isRedirect && location !== null && response.headers.get("x-linked-size") === null && new URL(location, url).origin === new URL(endpoint).origin) {
      url = new URL(location, url).href;
      continue;
    }
    const sizeBytes = Number(response.headers.get("x-linked-size") ?? (isRedirect ? Number.NaN : response.headers.get("content-length")) ?? Number.NaN);
    if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0 && /^[\w-]{8,128}$/.test(etag)) return { file, url, sizeBytes, etag };
    throw inputError("hub-answer-invalid", "the hub does not tell size and checksum of a file", {
      file: url,
      found: `size ${sizeBytes}, etag ${etag || "none"}`,
    });
  }
  throw inputError("hub-answer-invalid", "the hub redirects in circles", { file: url });
}

async function ask(url: string, request: HubDownload, method: string, redirect: "follow" | "manual"): Promise<Response> {
  const { signal } = request;
  const response = await fetch(url, { method, redirect, headers: { ...headersOf(request), "Accept-Encoding": "identity" }, ...(signal && { signal }) }).catch(
    (error: unknown) => {
      throwIfCancelled(signal);
      throw failedError({ url }, error);
    },
  );
  if (response.status < 400) return response;
  if (response.status < 500) throw refusal(response.status, url);
  const found = `HTTP status ${response.status}`;
  throw new WeightsmithError(
    { code: "download-failed", severity: "error", message: "the hub failed", file: url, found, remedy: "try again later" },
    { exitCode: 1 },
  );
}

async function fetchInto(
  request: HubDownload,
  repository: string,
  snapshot: string,
  { file, url, sizeBytes, etag }: RemoteFile,
  onBytes: (done: number) => void,
): Promise<void> {
  const blob = join(repository, "blobs", etag);
  const place = join(snapshot, file);
  if (!existsSync(blob)) {
    const algorithm = /^[0-9a-f]{64}$/.test(etag) ? ("sha256" as const) : /^[0-9a-f]{40}$/.test(etag) ? ("git-sha1" as const) : undefined;
    const { signal, retryMs } = request;
    await downloadFile({
      url,
      target: blob,
      sizeBytes,
      checksum: algorithm && { algorithm, digest: etag },
      headers: headersOf(request),
      onBytes,
      ...(signal && { signal }),
      ...(retryMs === undefined ? {} : { retryMs }),
    });
  }
  if (existsSync(place)) return;
  // A link whose file is gone is in the way.
  await rm(place, { force: true });
  // Windows makes links only for administrators.
  await symlink(relative(snapshot, blob), place).catch(() => copyFile(blob, place));
}
