// One file by HTTP: resumed where it stopped, and believed only once its size and checksum are right. Node only.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { inputError, throwIfCancelled, WeightsmithError } from "../diagnostics.ts";

export interface DownloadRequest {
  readonly url: string;
  /** Where the file appears when it is complete; until then it is `target.incomplete`. */
  readonly target: string;
  readonly sizeBytes: number;
  /** Of the content (sha256), or of git's blob of it (sha1 over `blob SIZE\0` and the content). */
  readonly checksum: { readonly algorithm: "sha256" | "git-sha1"; readonly digest: string } | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Called with the bytes that are there, an earlier run's included. */
  readonly onBytes?: (done: number) => void;
  /** Pause before the first retry; doubled for each further one. */
  readonly retryMs?: number;
}

/** A connection that breaks is taken up again this often without a new byte arriving. */
const MAX_FRUITLESS_RETRIES = 4;

/** @throws WeightsmithError `download-failed`, `download-damaged`, `hub-*` for what the server refuses, `cancelled` */
export async function downloadFile(request: DownloadRequest): Promise<void> {
  const partial = `${request.target}.incomplete`;
  await mkdir(dirname(partial), { recursive: true });
  let fruitless = 0;
  for (;;) {
    const before = await sizeOf(partial);
    if (before === request.sizeBytes && before > 0) break;
    try {
      // More than there can be is of another version.
      await fetchRest(request, partial, before > request.sizeBytes ? 0 : before);
      break;
    } catch (error) {
      throwIfCancelled(request.signal);
      if (error instanceof WeightsmithError) {
        if (error.code === "download-damaged") await rm(partial);
        throw error;
      }
      fruitless = (await sizeOf(partial)) > before ? 0 : fruitless + 1;
      if (fruitless > MAX_FRUITLESS_RETRIES) throw failedError(request, error);
      await new Promise((resume) => setTimeout(resume, (request.retryMs ?? 1000) * 2 ** fruitless));
    }
  }
  await checkSum(request, partial);
  await rename(partial, request.target);
}

const sizeOf = async (file: string): Promise<number> => (await stat(file).catch(() => undefined))?.size ?? 0;

/** Appends what is missing from `from` on; if the server sends the whole file instead, starts anew. */
async function fetchRest({ url, sizeBytes, headers, signal, onBytes }: DownloadRequest, partial: string, from: number): Promise<void> {
  const range = from > 0 ? { Range: `bytes=${from}-` } : undefined;
  const response = await fetch(url, { headers: { ...headers, "Accept-Encoding": "identity", ...range }, ...(signal && { signal }) });
  if (!response.ok || response.body === null) throw response.status >= 500 ? new Error(`HTTP status ${response.status}`) : refusal(response.status, url);
  const resumed = response.status === 206 && response.headers.get("content-range")?.startsWith(`bytes ${from}-`) === true;
  if (response.status === 206 && !resumed) throw new Error(`the server sent ${response.headers.get("content-range")} instead of bytes from ${from}`);
  const file = await open(partial, resumed ? "a" : "w");
  let done = resumed ? from : 0;
  try {
    for await (const chunk of response.body) {
      done += chunk.byteLength;
      if (done > sizeBytes) throw damagedError(url, `more than ${sizeBytes} bytes`, `${sizeBytes} bytes`);
      await file.appendFile(chunk);
      onBytes?.(done);
    }
  } finally {
    await file.close();
  }
  if (done < sizeBytes) throw new Error(`the connection ended after ${done} of ${sizeBytes} bytes`);
}

/** A wrong file is deleted, so that the next attempt does not go on with it. */
async function checkSum({ url, sizeBytes, checksum, signal }: DownloadRequest, file: string): Promise<void> {
  if (checksum === undefined) return;
  const hash = createHash(checksum.algorithm === "sha256" ? "sha256" : "sha1");
  if (checksum.algorithm === "git-sha1") hash.update(`blob ${sizeBytes}\0`);
  for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 22 })) {
    throwIfCancelled(signal);
    hash.update(chunk as Uint8Array);
  }
  const digest = hash.digest("hex");
  if (digest === checksum.digest) return;
  await rm(file);
  throw damagedError(url, `${checksum.algorithm} ${digest}`, `${checksum.algorithm} ${checksum.digest}`);
}

/** What a status of 400 to 499 means to the user. */
export function refusal(status: number, url: string): WeightsmithError {
  if (status === 401 || status === 403)
    return inputError("hub-access-denied", "the hub does not give this model out", {
      file: url,
      found: `HTTP status ${status}`,
      remedy: "check the name; for a gated or private model ask for access on its page and set HF_TOKEN",
    });
  if (status === 404) return inputError("hub-not-found", "the hub has no such model, revision or file", { file: url, remedy: "check the name and revision" });
  return new WeightsmithError(
    { code: "hub-refused", severity: "error", message: "the hub refused a request", file: url, found: `HTTP status ${status}`, remedy: "try again later" },
    { exitCode: 1 },
  );
}

/** A connection that cannot be had or kept. */
export function failedError({ url }: { readonly url: string }, cause: unknown): WeightsmithError {
  const inner = cause instanceof Error && cause.cause instanceof Error ? `: ${cause.cause.message}` : "";
  const found = `${cause instanceof Error ? cause.message : String(cause)}${inner}`;
  const remedy = "check the network, then run the same command again: it goes on where it stopped";
  return new WeightsmithError({ code: "download-failed", severity: "error", message: "the download failed", file: url, found, remedy }, { exitCode: 1, cause });
}

function damagedError(file: string, found: string, expected: string): WeightsmithError {
  const remedy = "run the same command again; if it stays so, the file on the hub is damaged";
  return new WeightsmithError(
    { code: "download-damaged", severity: "error", message: "the file that arrived is not the one that was announced", file, found, expected, remedy },
    { exitCode: 1 },
  );
}
