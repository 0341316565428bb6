// The trials of a search, in a journal that only grows: what was measured once is not measured again, so a killed search that is started again
// takes the same way and comes to the same end. Node only.
import { appendFile, mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorCode, openError } from "../bytes/file-source.ts";
import { inputError } from "../diagnostics.ts";

export const TRIALS_FILE = "trials.jsonl";
/** The journal while it is begun or cleaned. */
const FRESH_FILE = `${TRIALS_FILE}.new`;

/** What became of a trial: numbers by objective, or why there are none. */
export type TrialOutcome = { readonly values: Readonly<Record<string, number>> } | { readonly error: string };

export interface Trials {
  /** How many trials were there when the journal was opened. */
  readonly resumed: number;
  get(key: string): TrialOutcome | undefined;
  put(key: string, outcome: TrialOutcome, seconds: number): Promise<void>;
}

interface TrialLine {
  readonly trial: string;
  readonly values?: Readonly<Record<string, number>>;
  readonly error?: string;
}

/**
 * Opens the journal in `out`, making the folder where there is none.
 * @param identity of config, data and models: what the numbers depend on
 * @throws WeightsmithError `output-exists` for a folder of something else, `resume-other-run` for another search's
 */
export async function openTrials(out: string, identity: string, overwrite: boolean): Promise<Trials> {
  await mkdir(out, { recursive: true });
  const file = join(out, TRIALS_FILE);
  const lines = overwrite ? [] : await readLines(file);
  const [head, ...rest] = lines;
  if (head === undefined && !overwrite && (await readdir(out)).some((name) => name !== TRIALS_FILE && name !== FRESH_FILE))
    throw inputError("output-exists", "the output exists and holds no trials of a search", { file: out, remedy: "choose another output folder" });
  if (head !== undefined && head !== identity) throw otherSearch(head, identity, out, file);
  const known = new Map<string, TrialOutcome>();
  for (const line of rest) remember(known, line);
  // Also drops a line that a kill cut short. Under another name first: a kill in the middle of this must lose nothing.
  await writeFile(join(out, FRESH_FILE), [identity, ...rest].map((line) => `${line}\n`).join(""));
  await rename(join(out, FRESH_FILE), file);
  return {
    resumed: known.size,
    get: (key) => known.get(key),
    async put(trial, outcome, seconds) {
      const line = JSON.stringify({ trial, ...outcome, seconds: Number(seconds.toFixed(3)) });
      remember(known, line);
      await appendFile(file, `${line}\n`);
    },
  };
}

/** Trials of another search, or of the same one by what computed it. */
function otherSearch(theirs: string, ours: string, out: string, file: string) {
  const parse = (text: string): { engine?: string } => JSON.parse(text);
  const [{ engine: found = "cpu", ...before }, { engine: expected = "cpu", ...now }] = [parse(theirs), parse(ours)];
  if (JSON.stringify(before) !== JSON.stringify(now)) {
    const remedy = "choose another output, or start anew with --overwrite";
    return inputError("resume-other-run", "the trials there were made with another configuration, other data or other models", { file, remedy });
  }
  const remedy = `go on with the --device that they were measured on, or remove ${out} to measure anew`;
  return inputError("resume-other-run", "the trials there were measured on another --device, which rounds otherwise", { file, found, expected, remedy });
}

/** Whole lines that are JSON. */
async function readLines(file: string): Promise<string[]> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    if (errorCode(error) === "ENOENT") return "";
    throw openError(file, error);
  });
  return text.split("\n").slice(0, -1).filter(isJson);
}

function isJson(line: string): boolean {
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}

/** Later lines add objectives to earlier ones of the same trial. */
function remember(known: Map<string, TrialOutcome>, line: string): void {
  const { trial, values, error } = JSON.parse(line) as TrialLine;
  const before = known.get(trial);
  if (values !== undefined) known.set(trial, { values: { ...(before !== undefined && "values" in before ? before.values : {}), ...values } });
  else if (error !== undefined) known.set(trial, { error });
}
