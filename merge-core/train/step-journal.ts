// What learning in steps has come to, on disk now and then: a run that was killed and is started again goes on from there and ends with
// the same numbers. Node only.
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inputError } from "../diagnostics.ts";

export type Numbers = Float32Array | Float64Array;

/** How far a stage of learning is. */
export interface Stage {
  /** Steps done. */
  readonly step: number;
  /** The loss of each. */
  readonly losses: readonly number[];
}

export interface StepJournal {
  /** Fills the arrays with what was saved of this stage, in place; 0 steps where nothing was. */
  resume(name: string, arrays: readonly Numbers[]): Promise<Stage>;
  /** Saves if the last time was long ago, or `now`. The arrays are asked for only then. */
  save(name: string, stage: Stage, arrays: () => readonly Numbers[], now: boolean): Promise<void>;
  /** Learning is complete and its result safe: the journal goes. */
  discard(): Promise<void>;
}

export interface StepJournalOptions {
  /** Forgets what is there. */
  readonly overwrite?: boolean;
  /** Least time between two saves in ms. Default 10000. */
  readonly every?: number;
}

const EVERY = 10_000;
const IDENTITY_FILE = "identity.json";

/**
 * Opens the journal in `folder`; nothing is made before the first save.
 * @param identity of settings, data and models: what the numbers depend on
 * @throws WeightsmithError `resume-other-run` for the journal of another run
 */
export async function openStepJournal(folder: string, identity: string, { overwrite = false, every = EVERY }: StepJournalOptions = {}): Promise<StepJournal> {
  if (overwrite) await rm(folder, { recursive: true, force: true });
  const known = await readFile(join(folder, IDENTITY_FILE), "utf8").catch(() => undefined);
  if (known !== undefined && known !== identity) {
    const remedy = "choose another output, or start anew with --overwrite";
    throw inputError("resume-other-run", "an unfinished run with other settings, other data or other models lies there", { file: folder, remedy });
  }
  const place = (name: string) => join(folder, `${name}.state`);
  let saved = performance.now();
  return {
    async resume(name, arrays) {
      const bytes = await readFile(place(name)).catch(() => undefined);
      return bytes === undefined ? { step: 0, losses: [] } : readState(bytes, arrays, place(name));
    },
    async save(name, stage, arrays, now) {
      if (!now && performance.now() - saved < every) return;
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, IDENTITY_FILE), identity);
      const parts = arrays().map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength));
      // Under another name first: a kill while writing leaves the state before.
      await writeFile(`${place(name)}.partial`, Buffer.concat([Buffer.from(`${JSON.stringify(stage)}\n`), ...parts]));
      await rename(`${place(name)}.partial`, place(name));
      saved = performance.now();
    },
    discard: () => rm(folder, { recursive: true, force: true }),
  };
}

/** One line of JSON, then the arrays one after the other. */
function readState(bytes: Buffer, arrays: readonly Numbers[], file: string): Stage {
  const start = bytes.indexOf("\n") + 1;
  const expected = arrays.reduce((sum, { byteLength }) => sum + byteLength, start);
  if (start === 0 || bytes.length !== expected)
    throw inputError("resume-other-run", "the saved state does not fit this run", {
      file,
      found: `${bytes.length} bytes`,
      expected: `${expected}`,
      remedy: "start anew with --overwrite",
    });
  let at = start;
  for (const { buffer, byteOffset, byteLength } of arrays) {
    new Uint8Array(buffer, byteOffset, byteLength).set(bytes.subarray(at, at + byteLength));
    at += byteLength;
  }
  return JSON.parse(bytes.subarray(0, start).toString()) as Stage;
}
