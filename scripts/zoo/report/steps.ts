// The report in steps, each done once: what a step found is kept on disk, so that a report that was killed goes on where it was. What the steps depend on
// (the program, the sample models) is the journal's identity: another one starts anew.
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

export interface Step {
  readonly name: string;
  /** About how long it takes, in any unit: only shares count. */
  readonly share: number;
  readonly run: () => Promise<unknown>;
}

/** Results by the steps' names. */
export type Found = ReadonlyMap<string, unknown>;

/** @param say is told of each step that begins, the seconds since the start, and about how many are left */
export async function runSteps(
  steps: readonly Step[],
  journal: string,
  identity: string,
  say: (name: string, seconds: number, left: number | undefined) => void,
): Promise<Found> {
  const found = readJournal(journal, identity);
  const started = performance.now();
  const open = steps.filter(({ name }) => !found.has(name));
  const shareOf = (list: readonly Step[]) => list.reduce((sum, { share }) => sum + share, 0);
  for (const [i, { name, run }] of open.entries()) {
    const seconds = (performance.now() - started) / 1000;
    say(name, seconds, i === 0 ? undefined : (seconds / shareOf(open.slice(0, i))) * shareOf(open.slice(i)));
    const result = await run();
    appendFileSync(journal, `${JSON.stringify({ name, result })}\n`);
    found.set(name, result);
  }
  return found;
}

/** A last line cut short by a kill is passed over. */
function readJournal(file: string, identity: string): Map<string, unknown> {
  const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
  const head = JSON.stringify({ identity });
  if (lines[0] !== head) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${head}\n`);
    return new Map();
  }
  const whole = lines.slice(1, -1).flatMap((line) => {
    try {
      const { name, result } = JSON.parse(line) as { name: string; result: unknown };
      return [[name, result] as const];
    } catch {
      return [];
    }
  });
  // What follows must not be joined to a line that was cut short; under another name first, so that a kill loses nothing.
  writeFileSync(`${file}.new`, [head, ...whole.map(([name, result]) => JSON.stringify({ name, result })), ""].join("\n"));
  renameSync(`${file}.new`, file);
  return new Map(whole);
}
