// Recipes that use each other's results: each is carried out when the first that names it asks for its model.
import { existsSync } from "node:fs";
import { mkdir, readdir, rm, rmdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { type Diagnostic, throwIfCancelled, WeightsmithError } from "../diagnostics.ts";
import type { OpenModel } from "../plan/open-model.ts";
import type { MergePlan } from "../plan/plan.ts";
import { sha256 } from "../plan/plan-hash.ts";
import type { Stage } from "../recipe/stages.ts";
import { type MergeResult, type RunOptions, runMerge } from "./execute.ts";
import { planOne, type StagedRecipe, safeName, stageOpener } from "./plan-stages.ts";
import { readManifest } from "./read-manifest.ts";
import { fingerprintInputs } from "./shard-files.ts";

export interface StageRunOptions extends RunOptions {
  /** Where results of stages are kept, by content: default OUT.stages, which goes when the output is complete. */
  readonly stagesFolder?: string | undefined;
  /** Called when work on a stage begins, or its result is found from an earlier run. */
  readonly onStage?: (name: string, reused: boolean) => void;
}

/**
 * Carries out the stages that the output needs, one after the other, and then the one that makes it.
 * @param text the whole file, which the output carries: its recipe alone names models that are not there
 * @throws as `runMerge`, and WeightsmithError with what planning finds
 */
export async function runStages(staged: StagedRecipe, text: string, options: StageRunOptions): Promise<MergeResult> {
  const folder = resolve(options.stagesFolder ?? `${options.out}.stages`);
  const plan = await planAfterStages({ ...staged, final: { ...staged.final, recipe: { ...staged.final.recipe, text } } }, folder, options);
  options.onStage?.("output", false);
  const result = await runMerge(plan, options);
  if (options.stagesFolder === undefined) await discardStages(folder);
  return result;
}

/**
 * The plan of the final stage, once the results that it needs are in `folder`. A result is kept under a name made from its plan and
 * its inputs' sizes and times, so that a later run uses it if, and only if, nothing it depends on has changed.
 */
export async function planAfterStages(staged: StagedRecipe, folder: string, options: Omit<StageRunOptions, "out" | "stagesFolder">): Promise<MergePlan> {
  const diagnostics: Diagnostic[] = [];
  const produce = async (stage: Stage, open: OpenModel): Promise<Checkpoint> => {
    throwIfCancelled(options.signal);
    const plan = await planOne(staged, stage, open, diagnostics);
    const place = join(resolve(folder), `${safeName(stage)}-${sha256(plan.planHash + (await fingerprintInputs(plan))).slice(0, 16)}`);
    const reused = await holds(place, plan);
    options.onStage?.(stage.name ?? "output", reused);
    await mkdir(folder, { recursive: true });
    if (!reused) await runMerge(plan, { ...options, out: place, overwrite: false });
    return openCheckpoint(place, options.signal === undefined ? {} : { signal: options.signal });
  };
  return planOne(staged, staged.final, stageOpener(staged, produce), diagnostics).catch((error: unknown) => {
    const errors = diagnostics.filter(({ severity }) => severity === "error");
    throw errors.length > 0 ? new WeightsmithError(errors) : error;
  });
}

/** Deletes what bears a name that stages' results are given here, and the folder if that was all. */
async function discardStages(folder: string): Promise<void> {
  const names = existsSync(folder) ? await readdir(folder) : [];
  for (const name of names) if (/-[0-9a-f]{16}(\.partial)?$/.test(name)) await rm(join(folder, name), { recursive: true });
  await rmdir(folder).catch(() => undefined);
}

/** A finished folder appears whole, by one rename; its manifest says of what plan it is. */
async function holds(place: string, { planHash }: MergePlan): Promise<boolean> {
  if (!existsSync(place)) return false;
  return (await readManifest(place)).planHash === planHash;
}
