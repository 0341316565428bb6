// The demo's output folder: filled under another name, and only ever put in the place of an earlier demo. Node only.
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { inputError } from "../diagnostics.ts";
import type { DemoResults } from "./demo-results.ts";

export const RESULTS_FILE = "results.json";
export const REPORT_FILE = "report.html";

/** Calls `fill` with an empty folder, which becomes `out` if it succeeds. @throws WeightsmithError `output-exists` */
export async function fillDemoFolder<T>(out: string, overwrite: boolean, fill: (folder: string) => Promise<T>): Promise<T> {
  await checkReplaceable(out, overwrite);
  await mkdir(dirname(out), { recursive: true });
  const work = await mkdtemp(`${out}.partial-`);
  try {
    const result = await fill(work);
    await checkReplaceable(out, overwrite);
    await rm(out, { recursive: true, force: true });
    await rename(work, out);
    return result;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function checkReplaceable(out: string, overwrite: boolean): Promise<void> {
  if (!existsSync(out) || overwrite || (await isDemo(out))) return;
  throw inputError("output-exists", "the output exists and is not an earlier demo", { file: out, remedy: "choose another with --out, or pass --overwrite" });
}

async function isDemo(folder: string): Promise<boolean> {
  const text = await readFile(join(folder, RESULTS_FILE), "utf8").catch(() => "null");
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && (value as Partial<DemoResults>).format === "weightsmith-demo";
  } catch {
    return false;
  }
}
