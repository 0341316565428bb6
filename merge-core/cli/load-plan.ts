// What merge and plan share: from a recipe file to a plan, problems printed on the way.
import { readFile, stat } from "node:fs/promises";
import { openError } from "../bytes/file-source.ts";
import { type Diagnostic, inputError, WeightsmithError } from "../diagnostics.ts";
import { modelOpener, type OpenerOptions, type OpenModel } from "../plan/open-model.ts";
import type { MergePlan } from "../plan/plan.ts";
import { type PlanOptions, planMerge } from "../plan/plan-merge.ts";
import { parseRecipe } from "../recipe/parse-recipe.ts";
import { hasStages, parseStages } from "../recipe/stages.ts";
import { defaultMemoryBytes } from "../run/memory.ts";
import { type PlannedStage, planStages, type StagedRecipe } from "../run/plan-stages.ts";
import type { CommandContext } from "./command.ts";
import { type Arguments, flag, MEMORY, number, type OptionSpec, SEED } from "./options.ts";

/** Recipes are written by hand or by small programs; the largest known have some thousand lines. */
const MAX_RECIPE_BYTES = 4_000_000;

export const DOWNLOAD: OptionSpec = { name: "download", type: "flag", doc: "fetch hub models that are neither on disk nor in the hub's cache" };

/** How models are opened: from the network only under --download, with progress. */
export function openerOptions(args: Arguments, { output, signal }: CommandContext): OpenerOptions {
  const onDownload = (detail: string, done: number, total: number) => output.progress({ stage: "download", done, total, unit: "bytes", detail });
  return { signal, download: flag(args, "download"), onDownload };
}

export const PLAN_OPTIONS: readonly OptionSpec[] = [
  MEMORY,
  SEED,
  DOWNLOAD,
  { name: "shard-size", type: "size", value: "SIZE", doc: "most bytes of one output file (default: 5GB)" },
];

/** Plans the recipe; warnings go to stderr. @throws WeightsmithError with every error found, in the recipe or in the models' headers */
export async function loadPlan(file: string, args: Arguments, { output, signal }: CommandContext): Promise<{ plan: MergePlan; memoryBytes: number }> {
  const options = planOptions(args);
  const { plan, diagnostics } = await planText(await readRecipe(file), file, modelOpener(file, openerOptions(args, { output, signal })), options);
  output.diagnostics(diagnostics);
  return { plan, memoryBytes: options.memoryBytes };
}

/** What the command line says of planning. */
export function planOptions(args: Arguments): PlanOptions & { readonly memoryBytes: number } {
  const shardBytes = number(args, "shard-size");
  const memoryBytes = number(args, "memory") ?? defaultMemoryBytes();
  return { seed: number(args, "seed") ?? 0, memoryBytes, ...(shardBytes === undefined ? {} : { shardBytes }) };
}

/** A file of several recipes, read; undefined for a file of one. @throws WeightsmithError with every error in the file */
export async function loadStages(
  file: string,
  args: Arguments,
  context: CommandContext,
): Promise<{ staged: StagedRecipe; text: string; diagnostics: readonly Diagnostic[] } | undefined> {
  const text = await readRecipe(file);
  if (!hasStages(text)) return undefined;
  const { stages, final, diagnostics } = parseStages(text, file);
  if (stages === undefined || final === undefined) throw new WeightsmithError(diagnostics);
  context.output.diagnostics(diagnostics);
  const open = modelOpener(file, openerOptions(args, context));
  return { staged: { stages, final, open, options: planOptions(args) }, text, diagnostics };
}

/** Plans all stages; warnings go to stderr. @throws WeightsmithError with every error found */
export async function planAll(
  staged: StagedRecipe,
  folder: string,
  { output }: CommandContext,
): Promise<{ plans: readonly PlannedStage[]; diagnostics: readonly Diagnostic[] }> {
  const { plans, diagnostics } = await planStages(staged, folder);
  if (plans === undefined) throw new WeightsmithError(diagnostics);
  output.diagnostics(diagnostics);
  return { plans, diagnostics };
}

/** Plans the text of a recipe; findings are those of the text too. @throws WeightsmithError with every error found, before what is no error */
export async function planText(
  text: string,
  file: string,
  open: OpenModel,
  options: PlanOptions,
): Promise<{ plan: MergePlan; diagnostics: readonly Diagnostic[] }> {
  const { recipe, diagnostics } = parseRecipe(text, file);
  if (recipe === undefined) throw new WeightsmithError(diagnostics);
  const planned = await planMerge(recipe, open, options);
  const all = [...diagnostics, ...planned.diagnostics];
  if (planned.plan === undefined) throw new WeightsmithError([...all.filter((d) => d.severity === "error"), ...all.filter((d) => d.severity !== "error")]);
  return { plan: { ...planned.plan, findings: all }, diagnostics: all };
}

/** The text of a recipe file. @throws WeightsmithError `recipe-too-large`, `file-missing` */
export async function readRecipe(file: string): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size > MAX_RECIPE_BYTES)
      throw inputError("recipe-too-large", "too large for a recipe", { file, found: `${size} bytes`, expected: `at most ${MAX_RECIPE_BYTES}` });
    return decodeText(await readFile(file), file);
  } catch (error) {
    throw error instanceof WeightsmithError ? error : openError(file, error);
  }
}

/** UTF-8, or UTF-16 with its mark, as some editors and shells of Windows write. */
function decodeText(bytes: Uint8Array, file: string): string {
  const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    throw inputError("recipe-encoding", "the recipe is not text", { file, expected: "UTF-8", remedy: "save the file as UTF-8; is it a recipe at all?" });
  }
}
