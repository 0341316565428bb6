// What a run has finished, one JSON line each, in OUT.partial/journal.jsonl. A line is written only after the bytes it
// speaks of are on the disk, so a rerun may believe every whole line, whatever ended the run before.
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { type Diagnostic, inputError } from "../diagnostics.ts";
import { isRecord } from "../formats/json.ts";
import { JOURNAL_FILE } from "./work-folder.ts";

/** What decides a run's output bytes; a run goes on only where the same work was begun. */
export interface RunIdentity {
  readonly planHash: string;
  /** Version of this program: another one may round or draw differently. */
  readonly weightsmith: string;
  /** Fingerprint of sizes and modification times of all input files. */
  readonly inputs: string;
  /** What computes whole matrices: another engine gives other last digits. Absent for the built-in one. */
  readonly engine?: string;
}

/** One finished tensor, and what was noticed about it. */
export interface JournalEntry {
  readonly tensor: string;
  readonly warnings: readonly Diagnostic[];
}

/**
 * Reads a journal's finished entries, by tensor. A last line without its newline was cut off and counts as not written;
 * undefined if not even the first line is whole, that is, if nothing was finished.
 * @throws WeightsmithError `resume-other-plan`, `resume-other-version`, `resume-other-engine`, `resume-inputs-changed`, `journal-damaged`
 */
export function readJournal(text: string, identity: RunIdentity, out: string): Map<string, JournalEntry> | undefined {
  const [first, ...lines] = text.split("\n").slice(0, -1);
  if (first === undefined) return undefined;
  const begun = parseLine(first, out);
  const remedy = "run with --overwrite to start anew, or choose another output";
  if (begun.planHash !== identity.planHash) {
    throw inputError("resume-other-plan", "an unfinished run of another plan is in the way", {
      file: `${out}.partial`,
      found: `plan ${begun.planHash}`,
      expected: `plan ${identity.planHash}`,
      remedy,
    });
  }
  if (begun.weightsmith !== identity.weightsmith) {
    const found = `version ${begun.weightsmith}`;
    throw inputError("resume-other-version", "the unfinished run is of another version of weightsmith", {
      file: `${out}.partial`,
      found,
      expected: `version ${identity.weightsmith}`,
      remedy,
    });
  }
  if (begun.engine !== identity.engine) {
    throw inputError("resume-other-engine", "the unfinished run was computed by another engine", {
      file: `${out}.partial`,
      found: String(begun.engine ?? "cpu"),
      expected: identity.engine ?? "cpu",
      remedy: `run with the same --device, or ${remedy.slice("run ".length)}`,
    });
  }
  if (begun.inputs !== identity.inputs)
    throw inputError("resume-inputs-changed", "inputs changed since the unfinished run", { file: `${out}.partial`, remedy });
  return new Map(lines.map((line) => parseEntry(parseLine(line, out))).map((entry) => [entry.tensor, entry]));
}

/** Length in bytes of a journal's whole lines: what a cut-off last line is dropped to. */
export function wholeLinesBytes(text: string): number {
  return new TextEncoder().encode(text.slice(0, text.lastIndexOf("\n") + 1)).byteLength;
}

function parseLine(line: string, out: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(line);
    if (isRecord(value)) return value;
  } catch {
    // Reported below, like any other line that is not an object.
  }
  throw inputError("journal-damaged", "the journal of the unfinished run is damaged", {
    file: `${out}.partial`,
    found: line.slice(0, 80),
    remedy: "run with --overwrite to start anew",
  });
}

function parseEntry(value: Readonly<Record<string, unknown>>): JournalEntry {
  return { tensor: String(value.tensor), warnings: Array.isArray(value.warnings) ? (value.warnings as Diagnostic[]) : [] };
}

/** Bytes of finished tensors are forced to disk in the background once this long has passed since the last time: the less is left for the end. */
const SYNC_INTERVAL_MS = 500;

interface Finished extends JournalEntry {
  readonly file: string;
}

/** The open journal of a run. Entries wait until their files are synced, several at a time, beside the work. */
export class Journal {
  readonly #handle: FileHandle;
  readonly #syncIntervalMs: number;
  #waiting: Finished[] = [];
  #writing: Promise<void> = Promise.resolve();
  #busy = false;
  #syncedMs = performance.now();

  private constructor(handle: FileHandle, syncIntervalMs: number) {
    this.#handle = handle;
    this.#syncIntervalMs = syncIntervalMs;
  }

  /** Begins a journal, or goes on with one after `keptBytes` whole bytes. */
  static async open(folder: string, identity: RunIdentity, keptBytes: number, syncIntervalMs = SYNC_INTERVAL_MS): Promise<Journal> {
    const handle = await open(join(folder, JOURNAL_FILE), "a");
    await handle.truncate(keptBytes);
    const journal = new Journal(handle, syncIntervalMs);
    if (keptBytes === 0) await journal.#append([identity]);
    return journal;
  }

  /** Notes that a tensor's bytes in `file` are written. */
  add(entry: JournalEntry, file: string): void {
    this.#waiting.push({ ...entry, file });
    if (!this.#busy && performance.now() - this.#syncedMs >= this.#syncIntervalMs) this.#schedule();
  }

  #schedule(): void {
    this.#busy = true;
    const entries = this.#waiting;
    this.#waiting = [];
    const written = this.#writing.then(() => this.#writeEntries(entries));
    // The failure is kept for the next flush to throw.
    written.catch(() => undefined);
    this.#writing = written;
  }

  async #writeEntries(entries: readonly Finished[]): Promise<void> {
    for (const file of new Set(entries.map((entry) => entry.file))) await syncData(file);
    await this.#append(entries.map(({ tensor, warnings }) => ({ tensor, warnings })));
    this.#syncedMs = performance.now();
    this.#busy = false;
  }

  async #append(lines: readonly object[]): Promise<void> {
    if (lines.length === 0) return;
    await this.#handle.writeFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    await this.#handle.datasync();
  }

  /** Writes all entries and closes the file. @throws what kept an earlier entry from being written */
  async close(): Promise<void> {
    try {
      this.#schedule();
      await this.#writing;
    } finally {
      await this.#handle.close();
    }
  }
}

async function syncData(file: string): Promise<void> {
  const handle = await open(file, "r+");
  try {
    await handle.datasync();
  } finally {
    await handle.close();
  }
}
