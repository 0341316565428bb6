// The split that is searched on and the one that is reported: a number chosen for being high on some data says little when reported on the same. Node only.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { openError } from "../bytes/file-source.ts";
import { inputError } from "../diagnostics.ts";
import type { Objective } from "./objectives.ts";

/** Compares contents, so that a copy under another name is found out. @throws WeightsmithError `split-used-twice` */
export async function refuseSharedSplit(searched: readonly Objective[], reported: readonly Objective[]): Promise<void> {
  const seen = new Map((await Promise.all(filesOf(searched).map(hashed))).map(({ file, hash }) => [hash, file]));
  for (const { file, hash } of await Promise.all(filesOf(reported).map(hashed))) {
    const other = seen.get(hash);
    if (other === undefined) continue;
    throw inputError("split-used-twice", "the reported split is one that is searched on", {
      file,
      ...(other === file ? {} : { found: `the same content as ${other}` }),
      expected: "data that the search does not see",
      remedy: "report on another file, or pass --allow-same-split and say so wherever the number goes",
    });
  }
}

const filesOf = (objectives: readonly Objective[]): string[] => objectives.flatMap(({ spec }) => (spec?.kind === "builtin" ? spec.data : []));

async function hashed(file: string): Promise<{ file: string; hash: string }> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw openError(file, error);
  });
  return { file, hash: createHash("sha256").update(bytes).digest("hex") };
}
