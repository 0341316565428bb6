// Open files shared by all threads: descriptors belong to the process, and reads and writes name their offset, so that
// one descriptor serves every worker. Each file is opened once and kept until its users are done and room is needed.
import * as fs from "node:fs";
import { WeightsmithError } from "../diagnostics.ts";

/** Well below the usual limit of 1024 open files, above the shard count of nearly every model set. */
const MAX_IDLE = 64;

interface OpenFile {
  readonly fd: number;
  readonly writable: boolean;
  readonly identity: string;
  users: number;
}

export class FileTable {
  readonly #open = new Map<string, OpenFile>();

  /**
   * A descriptor for `file`; each call needs one `release`. A writable file is created if missing, never truncated.
   * @throws WeightsmithError `file-open`.
   */
  acquire(file: string, writable: boolean): number {
    const key = keyOf(file, writable);
    let entry = this.#open.get(key);
    if (entry !== undefined && entry.users === 0 && entry.identity !== identityOf(file)) {
      this.#close(key, entry);
      entry = undefined;
    }
    entry ??= openFile(file, writable);
    entry.users++;
    // Last in the map's order means most recently used.
    this.#open.delete(key);
    this.#open.set(key, entry);
    return entry.fd;
  }

  release(file: string, writable: boolean): void {
    const entry = this.#open.get(keyOf(file, writable));
    if (entry !== undefined) entry.users--;
    if (this.#open.size <= MAX_IDLE) return;
    const idle = [...this.#open].filter(([, other]) => other.users === 0);
    for (const [key, other] of idle.slice(0, Math.max(0, idle.length - MAX_IDLE))) this.#close(key, other);
  }

  /** Closes what nobody uses: before files are renamed, or to let go of them. */
  closeIdle(): void {
    for (const [key, entry] of this.#open) if (entry.users === 0) this.#close(key, entry);
  }

  closeAll(): void {
    for (const [key, entry] of this.#open) this.#close(key, entry);
  }

  #close(key: string, entry: OpenFile): void {
    this.#open.delete(key);
    fs.closeSync(entry.fd);
  }
}

const keyOf = (file: string, writable: boolean): string => `${writable ? "w" : "r"}:${file}`;

/** Tells a file from another that later took its name. */
function identityOf(file: string): string {
  const stat = fs.statSync(file, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? "" : `${stat.dev}:${stat.ino}`;
}

function openFile(file: string, writable: boolean): OpenFile {
  try {
    const flags = writable ? fs.constants.O_RDWR | fs.constants.O_CREAT : fs.constants.O_RDONLY;
    return { fd: fs.openSync(file, flags, 0o666), writable, identity: identityOf(file), users: 0 };
  } catch (cause) {
    throw ioError("file-open", "cannot open the file", file, cause);
  }
}

/** Fills `target` from `position`, however often storage returns less than asked. @throws WeightsmithError `read-short`, `file-read`. */
export function readFully(fd: number, target: Uint8Array, position: number, file: string): void {
  for (let done = 0; done < target.byteLength; ) {
    const count = attempt("file-read", READ_FAILED, file, () => fs.readSync(fd, target, done, target.byteLength - done, position + done));
    if (count === 0) throw shortRead(fd, target, position, file);
    done += count;
  }
}

/** The same while the calling thread does something else. `target` must stay as it is until then. */
export async function readAhead(fd: number, target: Uint8Array, position: number, file: string): Promise<void> {
  for (let done = 0; done < target.byteLength; ) {
    const count = await readSome(fd, target, done, position, file);
    if (count === 0) throw shortRead(fd, target, position, file);
    done += count;
  }
}

const READ_FAILED = "cannot read the file";

function readSome(fd: number, target: Uint8Array, done: number, position: number, file: string): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.read(fd, target, done, target.byteLength - done, position + done, (cause, count) => {
      if (cause === null) resolve(count);
      else reject(ioError("file-read", READ_FAILED, file, cause));
    });
  });
}

function shortRead(fd: number, target: Uint8Array, position: number, file: string): WeightsmithError {
  return new WeightsmithError({
    code: "read-short",
    severity: "error",
    message: "the file ends inside a tensor",
    file,
    found: `${fs.fstatSync(fd).size} bytes`,
    expected: `at least ${position + target.byteLength}`,
    remedy: "check that the file is complete and that nothing writes to it",
  });
}

/** Writes all of `source` at `position`. @throws WeightsmithError `file-write` (disk full, for one). */
export function writeFully(fd: number, source: Uint8Array, position: number, file: string): void {
  for (let done = 0; done < source.byteLength; ) {
    done += attempt("file-write", "cannot write the file", file, () => fs.writeSync(fd, source, done, source.byteLength - done, position + done));
  }
}

function attempt(code: string, message: string, file: string, action: () => number): number {
  try {
    return action();
  } catch (cause) {
    throw ioError(code, message, file, cause);
  }
}

function ioError(code: string, message: string, file: string, cause: unknown): WeightsmithError {
  const found = cause instanceof Error ? cause.message : String(cause);
  return new WeightsmithError({ code, severity: "error", message, file, found }, { exitCode: 1, cause });
}
