// Plans of recipes that use each other's results: each is planned when the first that names it asks for its model.
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { readConfig } from "../checkpoints/open-checkpoint.ts";
import { type Diagnostic, inputError, WeightsmithError } from "../diagnostics.ts";
import type { OpenModel } from "../plan/open-model.ts";
import type { MergePlan } from "../plan/plan.ts";
import { type PlanOptions, planMerge } from "../plan/plan-merge.ts";
import type { Stage } from "../recipe/stages.ts";
import { writeSideFiles } from "./side-files.ts";

export interface StagedRecipe {
  readonly stages: readonly Stage[];
  readonly final: Stage;
  /** Opens models that are no results of stages, adapters included. */
  readonly open: OpenModel;
  readonly options: PlanOptions;
}

export interface PlannedStage {
  readonly name: string | undefined;
  readonly plan: MergePlan;
}

/**
 * Plans every stage that the output needs, in the order in which they run, the final one last; tensor data is not read or written.
 * @param folder where results of stages will be kept; the plans speak of it
 */
export async function planStages(staged: StagedRecipe, folder: string): Promise<{ plans?: readonly PlannedStage[]; diagnostics: readonly Diagnostic[] }> {
  const plans: PlannedStage[] = [];
  const diagnostics: Diagnostic[] = [];
  // Config and tokenizer of each result are made, so that the next stage is planned with what it will find.
  const scratch = await mkdtemp(join(tmpdir(), "weightsmith-plan-"));
  const produce = async (stage: Stage, open: OpenModel): Promise<Checkpoint> => {
    const plan = await planOne(staged, stage, open, diagnostics);
    plans.push({ name: stage.name, plan: { ...plan, ...movedPlaces(plan, scratch, folder) } });
    const place = await mkdtemp(join(scratch, "stage-"));
    await writeSideFiles(plan, place, place);
    return expectedResult(plan, place, join(resolve(folder), safeName(stage)));
  };
  try {
    await produce(staged.final, stageOpener(staged, produce));
    return { plans, diagnostics: [...diagnostics, ...unusedStages(staged, plans)] };
  } catch (error) {
    if (!(error instanceof WeightsmithError) || error.exitCode !== 2) throw error;
    return { diagnostics: diagnostics.some(({ severity }) => severity === "error") ? diagnostics : [...diagnostics, ...error.diagnostics] };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Plans one stage; what is found is added to `diagnostics`. @throws WeightsmithError `stage-failed`, told where the stage is named */
export async function planOne({ options, stages }: StagedRecipe, stage: Stage, open: OpenModel, diagnostics: Diagnostic[]): Promise<MergePlan> {
  const { plan, diagnostics: found } = await planMerge(stage.recipe, open, options);
  // The failure of a stage that this one uses has been told in its own place.
  diagnostics.push(...found.filter(({ code }) => code !== "stage-failed"));
  if (plan !== undefined) return plan;
  throw inputError("stage-failed", `the recipe ${stage.name ?? stages.indexOf(stage) + 1} of this file cannot be carried out`);
}

/** Opens results of stages by their names, each made once, and anything else by `open`. */
export function stageOpener(staged: StagedRecipe, produce: (stage: Stage, open: OpenModel) => Promise<Checkpoint>): OpenModel {
  const made = new Map<Stage, Promise<Checkpoint>>();
  const under = (path: readonly Stage[]): OpenModel => {
    return async (reference) => {
      const stage = staged.stages.find(({ name }) => name !== undefined && name === reference.path);
      if (stage === undefined) return staged.open(reference);
      if (reference.revision !== undefined || reference.lora !== undefined)
        throw inputError("reference-unsupported", "the result of a stage has no revisions, and takes no adapter", {
          found: reference.text,
          remedy: "add the adapter to the models of the stage",
        });
      if (path.includes(stage)) throw cycleError([...path.slice(path.indexOf(stage)), stage]);
      const result = made.get(stage) ?? produce(stage, under([...path, stage]));
      made.set(stage, result);
      return { ...(await result), path: reference.path };
    };
  };
  return under([staged.final]);
}

function cycleError(stages: readonly Stage[]): WeightsmithError {
  return inputError("stage-cycle", "recipes of this file need each other's results", {
    found: stages.map(({ name }) => name).join(" needs "),
    remedy: "break the circle",
  });
}

export const safeName = ({ name }: Stage): string => (name ?? "output").replace(/[^\w.-]+/g, "_").slice(0, 64);

/** A result as it will be opened, from its plan; tensors lie in files that are not there yet. */
async function expectedResult(plan: MergePlan, sideFolder: string, folder: string): Promise<Checkpoint> {
  const names = await readdir(sideFolder);
  const config = await readConfig({ folder: sideFolder, names }, {});
  const shards = plan.shards.map(({ file, sizeBytes, metadata }) => ({ file: join(folder, file), sizeBytes, metadata }));
  const tensors = plan.shards.flatMap(({ tensors: list }, i) => list.map((tensor) => [tensor.name, { ...tensor, file: shards[i]?.file ?? "" }] as const));
  return { path: folder, folder: sideFolder, shards, tensors: new Map(tensors), config, sideFiles: names.filter((name) => name !== "config.json") };
}

function movedPlaces({ models, donor }: MergePlan, from: string, to: string): Pick<MergePlan, "models" | "donor"> {
  const moved = (folder: string, reference: string) => (folder.startsWith(from) ? join(resolve(to), reference) : folder);
  return {
    models: models.map((model) => ({ ...model, folder: moved(model.folder, model.reference) })),
    donor: { ...donor, folder: moved(donor.folder, donor.reference) },
  };
}

function unusedStages({ stages }: StagedRecipe, plans: readonly PlannedStage[]): Diagnostic[] {
  const unused = stages.filter(({ name }) => !plans.some((plan) => plan.name === name));
  return unused.map(({ name, recipe }) => ({
    code: "stage-unused",
    severity: "warning",
    message: `the output does not need the recipe ${name}, so it is not carried out`,
    file: recipe.file,
    range: recipe.methodRange,
    remedy: "only the recipe without a name, else the last, and what it needs are carried out",
  }));
}
