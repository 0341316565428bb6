// Where cells put what they make. A notebook replaces what it made itself, and nothing else. Node only.
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { inputError, WeightsmithError } from "../../diagnostics.ts";

/** A path as outputs tell it: relative to the current folder, which is the notebook's, so that it is true wherever the notebook lies. */
export const fromHere = (path: string): string => relative(process.cwd(), path) || ".";

/** Names of the cells whose outputs lie in the folder. */
const LEDGER = "notebook.json";

/**
 * Carries a cell's work out into its folder, going on with an unfinished run of the same and clearing one of another.
 * @param folder of all outputs @param work is told whether it may replace what is there
 * @throws WeightsmithError `output-exists` for a folder that no cell made, and whatever the work throws
 */
export async function intoFolder<T>(folder: string, name: string, work: (out: string, overwrite: boolean) => Promise<T>, keeps = false): Promise<T> {
  const out = join(folder, name);
  const made = await readLedger(folder);
  if (!made.includes(name)) {
    if (existsSync(out) && (await readdir(out)).length > 0)
      throw inputError("output-exists", "a folder that this notebook did not make is in the way", {
        file: out,
        remedy: "rename the cell, or pass another folder to --out",
      });
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, LEDGER), `${JSON.stringify({ outputs: [...made, name] }, undefined, 2)}\n`);
  }
  try {
    return await work(out, !keeps && existsSync(out));
  } catch (error) {
    // What is left of the cell as it was before it was changed.
    if (error instanceof WeightsmithError && error.code.startsWith("resume-")) return work(out, true);
    throw error;
  }
}

async function readLedger(folder: string): Promise<readonly string[]> {
  try {
    const { outputs } = JSON.parse(await readFile(join(folder, LEDGER), "utf8")) as { outputs?: unknown };
    return Array.isArray(outputs) ? outputs.map(String) : [];
  } catch {
    return [];
  }
}
