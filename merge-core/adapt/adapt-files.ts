// What every adaptation reads and writes. Node only.
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { inputError } from "../diagnostics.ts";
import { readUnlabelled, unlabelledRows } from "../evaluate/likelihood.ts";
import type { TokenRow } from "../nn/data.ts";
import type { Model } from "../nn/model.ts";

/** Unlabelled rows of a file. @throws WeightsmithError `data-*` */
export async function readRows(model: Model, file: string, limit: number | undefined): Promise<TokenRow[]> {
  const rows = unlabelledRows(model, (await readUnlabelled(file)).slice(0, limit));
  if (rows.length === 0) throw inputError("data-no-tokens", "the data gives this model nothing to predict", { file, remedy: "check data and tokenizer" });
  return rows;
}

/** @throws WeightsmithError `adapt-data` */
export function requireDataForEach(tasks: readonly string[], data: readonly string[]): void {
  if (data.length === tasks.length) return;
  throw inputError("adapt-data", "every model needs its own unlabelled data", {
    found: `${data.length} files`,
    expected: `${tasks.length}: one for each of ${tasks.join(", ")}`,
    remedy: "give --data for each model",
  });
}

/** Fills a folder under another name; it becomes `out` when it is complete. */
export async function fillFolder(out: string, overwrite: boolean, fill: (folder: string) => Promise<void>): Promise<void> {
  await mkdir(dirname(out), { recursive: true });
  const work = await mkdtemp(`${out}.partial-`);
  try {
    await fill(work);
    if (overwrite && existsSync(out)) await rm(out, { recursive: true });
    await rename(work, out);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
