// Where a run works until it is complete: OUT.partial beside OUT. OUT appears by one rename, so that whoever sees it
// sees all of it. Nothing that a user might miss is ever deleted.
import { lstat, mkdir, open, readdir, readFile, realpath, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";
import { errorCode } from "../bytes/file-source.ts";
import { type Diagnostic, inputError } from "../diagnostics.ts";

/** Present in every finished output; its absence says that a folder is not ours to delete. */
export const MANIFEST_FILE = "weightsmith.json";
export const JOURNAL_FILE = "journal.jsonl";
const LOCK_FILE = "lock";

export interface OutputRequest {
  readonly out: string;
  readonly overwrite: boolean;
  /** Files that the run reads; the output must not replace them. */
  readonly inputs: readonly string[];
}

export interface WorkFolder {
  /** Absolute path of OUT.partial. */
  readonly path: string;
  /** Makes everything durable and gives the folder its final name. Returns what became of an older output. */
  finish(): Promise<readonly Diagnostic[]>;
  /** Removes what was written, of which no later run has any use. */
  drop(): Promise<void>;
  /** Lets another run take over the folder. What was written stays for a later resume. */
  release(): Promise<void>;
}

/**
 * Checks everything that would keep an output from appearing at `out`; writes nothing.
 * @throws WeightsmithError `output-exists`, `output-is-input`, `output-unsafe`, `output-not-folder`
 */
export async function checkOutput({ out, overwrite, inputs }: OutputRequest): Promise<void> {
  const place = await realPath(out);
  const inside = (path: string) => path === place || path.startsWith(place.endsWith(sep) ? place : place + sep);
  for (const input of inputs) {
    if (!inside(await realPath(input))) continue;
    throw inputError("output-is-input", "the output would replace an input", { file: out, found: input, remedy: "choose another output folder" });
  }
  const stats = await stat(out).catch(() => undefined);
  if (stats === undefined && (await isLink(out)))
    throw inputError("output-not-folder", "output is a link to nothing", { file: out, remedy: "remove the link" });
  if (stats === undefined) return;
  if (!stats.isDirectory()) throw inputError("output-not-folder", "output exists and is not a folder", { file: out, remedy: "choose another output" });
  if (inside(process.cwd())) throw inputError("output-unsafe", "output is the current folder or holds it", { file: out, remedy: "name a new folder" });
  if ((await readdir(out)).length === 0 || overwrite) return;
  throw inputError("output-exists", "output exists", { file: out, remedy: "choose another output folder, or replace it with --overwrite" });
}

/** The real path, links followed, of what exists of a path. */
async function realPath(path: string): Promise<string> {
  const absolute = resolve(path);
  try {
    return await realpath(absolute);
  } catch {
    const parent = dirname(absolute);
    return parent === absolute ? absolute : join(await realPath(parent), basename(absolute));
  }
}

/** @throws WeightsmithError `disk-space` unless the disk of `out` has room for `bytes` more than OUT.partial holds already. */
export async function checkDiskSpace(out: string, bytes: number): Promise<void> {
  const partial = partialPath(await targetOf(out));
  const { bavail, bsize } = await statfs(await existingFolder(partial));
  const missing = bytes - (await storedBytes(partial)) - bavail * bsize;
  if (missing <= 0) return;
  throw inputError("disk-space", "not enough disk space", {
    file: out,
    found: `${bavail * bsize} bytes free`,
    expected: `${bavail * bsize + missing}`,
    remedy: "free some space, or choose an output on another disk",
  });
}

async function existingFolder(path: string): Promise<string> {
  const stats = await stat(path).catch(() => undefined);
  return stats?.isDirectory() || dirname(path) === path ? path : existingFolder(dirname(path));
}

/** Bytes that files of a folder occupy on disk; holes in preallocated files count nothing. */
async function storedBytes(folder: string): Promise<number> {
  const names = await readdir(folder).catch(() => []);
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).blocks * 512));
  return sizes.reduce((sum, size) => sum + size, 0);
}

const partialPath = (target: string): string => `${target}.partial`;

const isLink = async (path: string): Promise<boolean> => (await lstat(resolve(path)).catch(() => undefined))?.isSymbolicLink() === true;

/** Where the output goes: there, or where a link of its name leads to, for that may be another disk. */
const targetOf = async (out: string): Promise<string> => ((await isLink(out)) ? realpath(out) : resolve(out));

/**
 * Opens OUT.partial, new or left by an earlier run, for this process alone. `accept` decides from the journal's text
 * whether to go on with what is there; it throws, or answers false to start anew.
 * @throws WeightsmithError `output-busy`, `partial-not-ours`, `output-unwritable`, what `accept` throws
 */
export async function openWorkFolder(request: OutputRequest, accept: (journal: string) => boolean): Promise<WorkFolder> {
  const target = await targetOf(request.out);
  const path = partialPath(target);
  try {
    await mkdir(path, { recursive: true });
    await lock(path);
  } catch (cause) {
    if (errorCode(cause) === "unknown" || isDiagnosed(cause)) throw cause;
    throw inputError("output-unwritable", "cannot write the output", {
      file: request.out,
      found: errorCode(cause),
      remedy: "choose a folder that may be written",
    });
  }
  const release = () => rm(join(path, LOCK_FILE), { force: true });
  try {
    await keepOrClear(path, accept);
  } catch (error) {
    await release();
    throw error;
  }
  return { path, finish: () => finish(path, target, request.out), drop: () => rm(path, { recursive: true, force: true }), release };
}

const isDiagnosed = (error: unknown): boolean => error instanceof Error && error.name === "WeightsmithError";

/** One process at a time: the lock holds its process id, and counts for nothing once that process is gone. */
async function lock(folder: string): Promise<void> {
  const file = join(folder, LOCK_FILE);
  try {
    await writeFile(file, String(process.pid), { flag: "wx" });
    return;
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  }
  const owner = Number(await readFile(file, "utf8").catch(() => ""));
  if (owner !== process.pid && isRunning(owner)) {
    throw inputError("output-busy", "another run is writing this output", {
      file: folder,
      found: `process ${owner}`,
      remedy: `wait for it; if there is no such run, delete ${file}`,
    });
  }
  await writeFile(file, String(process.pid));
}

function isRunning(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === "EPERM";
  }
}

async function keepOrClear(folder: string, accept: (journal: string) => boolean): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name !== LOCK_FILE);
  if (names.length === 0) return;
  if (!names.includes(JOURNAL_FILE)) {
    throw inputError("partial-not-ours", "the working folder exists and holds no run", {
      file: folder,
      found: names.slice(0, 5).join(", "),
      remedy: "move it away or choose another output",
    });
  }
  if (accept(await readFile(join(folder, JOURNAL_FILE), "utf8"))) return;
  // The journal goes last, so that a clearing cut short is known for what it is.
  for (const name of names.filter((n) => n !== JOURNAL_FILE)) await rm(join(folder, name), { recursive: true });
  await rm(join(folder, JOURNAL_FILE));
}

async function finish(partial: string, target: string, out: string): Promise<readonly Diagnostic[]> {
  for (const name of await readdir(partial)) if (name !== LOCK_FILE) await syncPath(join(partial, name));
  await syncPath(partial);
  const old = await moveAside(target);
  try {
    await rename(partial, target);
  } catch (error) {
    if (old !== undefined) await rename(old, target);
    throw error;
  }
  await Promise.all([JOURNAL_FILE, LOCK_FILE].map((name) => rm(join(target, name), { force: true })));
  await syncPath(dirname(target));
  return old === undefined ? [] : discard(old, out);
}

async function moveAside(target: string): Promise<string | undefined> {
  for (let i = 0; ; i++) {
    const aside = `${target}.replaced${i === 0 ? "" : `-${i}`}`;
    if ((await stat(aside).catch(() => undefined)) !== undefined) continue;
    try {
      await rename(target, aside);
      return aside;
    } catch (error) {
      if (errorCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }
}

/** An older output of ours, or an empty folder, goes; anything else is the user's and stays under its new name. */
async function discard(old: string, out: string): Promise<readonly Diagnostic[]> {
  const names = await readdir(old);
  if (names.length === 0 || names.includes(MANIFEST_FILE)) {
    await rm(old, { recursive: true });
    return [];
  }
  const message = "the folder that was replaced was not written by weightsmith and has been kept";
  return [{ code: "replaced-kept", severity: "warning", message, file: out, found: old, remedy: "delete it if it is not needed" }];
}

/** Waits until a file's or folder's content is on the disk. */
export async function syncPath(path: string): Promise<void> {
  // Windows cannot open folders; there a rename is durable by itself.
  const handle = await open(path, "r").catch((error: unknown) => {
    if (process.platform === "win32") return undefined;
    throw error;
  });
  try {
    await handle?.sync();
  } catch (error) {
    if (process.platform !== "win32") throw error;
  } finally {
    await handle?.close();
  }
}
