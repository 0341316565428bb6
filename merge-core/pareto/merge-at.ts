// The merge of a front that serves a preference best, as a checkpoint. Node only.
import { join } from "node:path";
import { inputError } from "../diagnostics.ts";
import { planRecipe } from "../evaluate/evaluators.ts";
import { type MergeResult, runMerge } from "../run/execute.ts";
import { FRONT_FILE, type FrontPoint } from "./front-file.ts";
import { parseParetoConfig } from "./pareto-config.ts";
import { readFront } from "./read-front.ts";
import { pickPoint } from "./summarise-front.ts";

export interface MergeAtOptions {
  readonly threads?: number;
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal;
}

/** @param at one weight of at least 0 for each objective, with commas @throws WeightsmithError `preference-invalid`, `front-*`, and as a merge */
export async function mergeAtPreference(
  folder: string,
  at: string,
  out: string,
  options: MergeAtOptions = {},
): Promise<{ point: FrontPoint; result: MergeResult }> {
  const front = await readFront(folder);
  const preference = at.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (preference.length !== front.objectives.length || preference.some((w) => !(w >= 0 && Number.isFinite(w))) || preference.every((w) => w === 0))
    throw inputError("preference-invalid", "the preference does not fit the objectives", {
      found: at,
      expected: `${front.objectives.length} numbers of at least 0 with commas, not all 0: ${front.objectives.map(({ name }) => name).join(", ")}`,
    });
  const point = pickPoint(front, preference);
  if (point?.coefficients === undefined) throw inputError("front-empty", "the front has no points", { file: join(folder, FRONT_FILE) });
  const { file, text } = front.config;
  const config = parseParetoConfig(text, file);
  const signalled = options.signal === undefined ? {} : { signal: options.signal };
  const plan = await planRecipe({ text: config.recipe.textAt(point.coefficients), file }, { seed: config.seed, ...signalled });
  return { point, result: await runMerge(plan, { out, ...options }) };
}
