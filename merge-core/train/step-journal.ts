// What learning in steps has come to, on disk now and then: a run that was killed and is started again goes on from there and ends with
// the same numbers. Node only.
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inputError } from "../diagnostics.ts";
import { BUILT_IN } from "./run-state.ts";

export type Numbers = Float32Array | Float64Array;

/** How far a stage of learning is. */
export interface Stage {
  /** Steps done. */
  readonly step: number;
  /** The loss of each. */
  readonly losses: readonly number[];
}

export interface StepJournal {
  /** All that have computed, what does now the last. */
  readonly engines: readonly string[];
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
  /** What computes: `cpu` unless a device or a library does. It rounds in its own way, and only `cpu` takes up what another has begun. */
  readonly engine?: string;
}

/** Whose numbers a journal holds. */
interface Owner {
  readonly identity: string;
  /** All that have computed. */
  readonly engines: readonly string[];
}

const EVERY = 10_000;
const IDENTITY_FILE = "identity.json";

/**
 * Opens the journal in `folder`; nothing is made before the first save.
 * @param identity of settings, data and models: what the numbers depend on
 * @throws WeightsmithError `resume-other-run` for the journal of another run
 */
export async function openStepJournal(
  folder: string,
  identity: string,
  { overwrite = false, every = EVERY, engine = BUILT_IN }: StepJournalOptions = {},
): Promise<StepJournal> {
  if (overwrite) await rm(folder, { recursive: true, force: true });
  const known = await readFile(join(folder, IDENTITY_FILE), "utf8").catch(() => undefined);
  const owner = known === undefined ? undefined : readOwner(known);
  if (owner !== undefined) checkOwner(owner, identity, engine, folder);
  const engines = [...(owner?.engines ?? []).filter((other) => other !== engine), engine];
  const place = (name: string) => join(folder, `${name}.state`);
  let saved = performance.now();
  return {
    engines,
    async resume(name, arrays) {
      const bytes = await readFile(place(name)).catch(() => undefined);
      return bytes === undefined ? { step: 0, losses: [] } : readState(bytes, arrays, place(name));
    },
    async save(name, stage, arrays, now) {
      if (!now && performance.now() - saved < every) return;
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, IDENTITY_FILE), JSON.stringify({ identity, engines } satisfies Owner));
      const parts = arrays().map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength));
      // Under another name first: a kill while writing leaves the state before.
      await writeFile(`${place(name)}.partial`, Buffer.concat([Buffer.from(`${JSON.stringify(stage)}\n`), ...parts]));
      await rename(`${place(name)}.partial`, place(name));
      saved = performance.now();
    },
    discard: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Of what is not ours, an owner that is no run. */
function readOwner(text: string): Owner {
  try {
    const { identity, engines } = JSON.parse(text) as Partial<Owner>;
    if (typeof identity === "string" && Array.isArray(engines)) return { identity, engines };
  } catch {
    // Refused below.
  }
  return { identity: "", engines: [] };
}

function checkOwner(owner: Owner, identity: string, engine: string, file: string): void {
  const anew = "choose another output, or start anew with --overwrite";
  if (owner.identity !== identity)
    throw inputError("resume-other-run", "an unfinished run with other settings, other data or other models lies there", { file, remedy: anew });
  if (engine !== BUILT_IN && !owner.engines.includes(engine))
    throw inputError("resume-other-run", "an unfinished run on another --device lies there", {
      file,
      found: owner.engines.join(", "),
      expected: engine,
      remedy: `go on with the same device or with --device ${BUILT_IN}; or ${anew}`,
    });
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
