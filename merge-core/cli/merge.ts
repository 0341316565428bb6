// weightsmith merge RECIPE OUT.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { formatDiagnostic } from "../diagnostics.ts";
import { modelOpener } from "../plan/open-model.ts";
import { parseModelReference } from "../recipe/model-reference.ts";
import { type MergeResult, type RunOptions, runMerge } from "../run/execute.ts";
import { runStages } from "../run/stages.ts";
import { checkOutput } from "../run/work-folder.ts";
import type { Command, CommandContext } from "./command.ts";
import { chooseDevice, DEVICE } from "./device.ts";
import { loadPlan, loadStages, openerOptions, PLAN_OPTIONS, planAll, planOptions } from "./load-plan.ts";
import { type Arguments, flag, OVERWRITE, positionals, THREADS, text, threads, usage } from "./options.ts";
import { formatBytes, formatDuration } from "./output.ts";

export const merge: Command = {
  name: "merge",
  summary: "merge models as a recipe says",
  usage: "RECIPE OUT",
  help: `
Runs a recipe (mergekit's YAML) and writes the model folder OUT. Work goes to OUT.partial and OUT appears when it is
complete: stop it at any time, and the same command takes it up again and gives the same bytes. The result depends on
the recipe, the models and the seed alone, never on threads, memory or machine, unless --device lets this machine's own
linear algebra compute whole matrices, which weightsmith.json then says.

A file may hold several recipes between --- lines, each but one with a name, which others use in place of a model: the
one without a name makes OUT, what it needs is merged first and deleted in the end, or kept in --stages.

With --tokens-from the merge goes to OUT.merged (or to merged in --stages, which keeps it), and OUT is made of that by
weightsmith tokens, with its defaults.

  weightsmith merge recipe.yml ./merged
  weightsmith merge recipe.yml ./merged --memory 512MiB --threads 4 --overwrite
  weightsmith merge recipe.yml ./merged --tokens-from ./donor`,
  options: [
    ...PLAN_OPTIONS,
    THREADS,
    OVERWRITE,
    DEVICE,
    { name: "stages", type: "string", value: "FOLDER", doc: "keep the results of a file's named recipes here, and use them again while nothing changes" },
    { name: "tokens-from", type: "string", value: "DONOR", doc: "put this model's tokenizer on the result; rows of new tokens are made of those it shares" },
  ],
  async run(args, context) {
    const [file = "", out = ""] = positionals(args, ["RECIPE", "OUT"]);
    const { output, signal } = context;
    const donor = text(args, "tokens-from");
    const merged = donor === undefined ? out : placeBefore(out, text(args, "stages"));
    if (donor !== undefined) await checkTransplant(donor, merged, out, args, context);
    const options: RunOptions = {
      out: merged,
      memoryBytes: planOptions(args).memoryBytes,
      threads: threads(args),
      overwrite: donor !== undefined || flag(args, "overwrite"),
      signal,
      onProgress: ({ bytesDone, bytesTotal, tensor, bytesRead, values, shard }) =>
        output.progress({ stage: "merge", done: bytesDone, total: bytesTotal, unit: "bytes", detail: tensor, bytesRead, values, ...(shard && { shard }) }),
    };
    const result = await mergeFile(file, args, context, options).catch((error: unknown) => {
      if (signal.aborted) output.note(`the work done so far is in ${merged}.partial; the same command goes on from there`);
      throw error;
    });
    if (donor === undefined) return output.result(result, report(result));
    output.note(report(result));
    const { transplant } = await import("./tokens.ts");
    await transplant({ model: merged, donor, out }, args, context);
    if (text(args, "stages") === undefined) await rm(merged, { recursive: true });
  },
};

const MERGED = "merged";

/** Where a merge goes whose tokenizer is then replaced: kept with other results between, or beside the output until that is there. */
const placeBefore = (out: string, stages: string | undefined): string => (stages === undefined ? `${out}.${MERGED}` : join(stages, MERGED));

/** Finds out before the merge whether there is a tokenizer to take, and a place for the result that can be named as a model. */
async function checkTransplant(donor: string, merged: string, out: string, args: Arguments, context: CommandContext): Promise<void> {
  const remedy = "choose an output whose path has neither + nor @";
  if (parseModelReference(merged)?.path !== merged) throw usage("the merge before the transplant would have no usable name", { found: merged, remedy });
  const { openParty } = await import("../transplant/make-transplant.ts");
  const { checkpoint } = await openParty(donor, modelOpener("tokens", openerOptions(args, context)));
  await checkOutput({ out, overwrite: flag(args, "overwrite"), inputs: checkpoint.shards.map(({ file }) => file) });
}

/** Merges a file of one recipe or of several; what is noticed on the way goes to stderr. */
async function mergeFile(file: string, args: Arguments, context: CommandContext, options: RunOptions): Promise<MergeResult> {
  const { output } = context;
  const loaded = await loadStages(file, args, context);
  if (loaded === undefined) {
    const { plan } = await loadPlan(file, args, context);
    const devices = await chooseDevice(args, [plan], context);
    const result = await runMerge(plan, { ...options, ...devices }).finally(() => devices.gpu?.close());
    output.diagnostics(result.warnings.filter((warning) => !plan.findings.includes(warning)));
    return result;
  }
  const stagesFolder = text(args, "stages");
  // All of it is planned before any of it is run: what can be known to fail in the last stage fails before the first.
  const { plans } = await planAll(loaded.staged, stagesFolder ?? `${options.out}.stages`, context);
  const told = new Set(plans.flatMap(({ plan }) => plan.findings.map(formatDiagnostic)));
  const onStage = (name: string, reused: boolean) => output.note(reused ? `${name}: kept from an earlier run` : `${name}:`);
  const devices = await chooseDevice(
    args,
    plans.map(({ plan }) => plan),
    context,
  );
  const result = await runStages(loaded.staged, loaded.text, { ...options, ...devices, stagesFolder, onStage }).finally(() => devices.gpu?.close());
  output.diagnostics(result.warnings.filter((warning) => !told.has(formatDiagnostic(warning))));
  return result;
}

function report(r: MergeResult): string {
  const resumed = r.resumedTensors > 0 ? ` (${r.resumedTensors} from an unfinished run)` : "";
  const warnings = r.warnings.length > 0 ? `, ${r.warnings.length} warning${r.warnings.length === 1 ? "" : "s"}` : "";
  return `${r.out}: ${r.tensors} tensors${resumed}, ${formatBytes(r.bytesWritten)} in ${formatDuration(r.seconds)}${warnings}`;
}
