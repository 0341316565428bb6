// weightsmith adapter fold: the same merge as a recipe of one model+adapter, without writing the recipe.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { adaptCheckpoint } from "../../adapters/adapted-checkpoint.ts";
import { otherBase } from "../../adapters/common-ground.ts";
import { CONFIG, readAdapterConfig } from "../../adapters/peft-config.ts";
import type { Checkpoint } from "../../checkpoints/checkpoint.ts";
import { modelOpener } from "../../plan/open-model.ts";
import { modelReference } from "../../recipe/model-reference.ts";
import { runMerge } from "../../run/execute.ts";
import type { Command, CommandContext } from "../command.ts";
import { openerOptions, PLAN_OPTIONS, planOptions, planText } from "../load-plan.ts";
import { type Arguments, flag, OVERWRITE, positionals, THREADS, threads } from "../options.ts";
import { formatBytes, formatDuration } from "../output.ts";

const NOWHERE = { line: 0, column: 0, endLine: 0, endColumn: 0, offset: 0, end: 0 };

const openBase = (path: string, args: Arguments, context: CommandContext): Promise<Checkpoint> =>
  modelOpener(".", openerOptions(args, context))(modelReference({ path }, undefined, NOWHERE));

export const fold: Command = {
  name: "adapter fold",
  summary: "write a model with its adapter folded in",
  usage: "BASE ADAPTER OUT",
  help: `
Adds an adapter to its base model and writes the model folder OUT: each weight is computed in float32 or better and
rounded once to the base's dtype, one tensor at a time; the others are copied. OUT appears when it is complete: stop it
at any time, and the same command takes it up again and gives the same bytes.

  weightsmith adapter fold ./base ./adapter ./model`,
  options: [...PLAN_OPTIONS, THREADS, OVERWRITE],
  async run(args, context) {
    const [base = "", adapter = "", out = ""] = positionals(args, ["BASE", "ADAPTER", "OUT"]);
    const { output, signal } = context;
    // Problems of the adapter are told by the names of its own files, not by that of a recipe which nobody wrote.
    if (existsSync(adapter)) {
      const config = join(adapter, CONFIG);
      await adaptCheckpoint(await openBase(base, args, context), adapter, { signal });
      output.diagnostics(otherBase(await readAdapterConfig(config), base, config));
    }
    // JSON strings are YAML, and the map form takes paths as they are.
    const [path, lora] = [base, adapter].map((text) => JSON.stringify(text));
    const recipe = `merge_method: passthrough\nmodels:\n  - model: { model: { path: ${path} }, lora: { path: ${lora} } }\n`;
    const options = planOptions(args);
    const { plan, diagnostics } = await planText(recipe, "fold.yml", modelOpener("fold.yml", openerOptions(args, context)), options);
    output.diagnostics(diagnostics.filter(({ code }) => code !== "adapter-base-other"));
    const result = await runMerge(plan, {
      out,
      memoryBytes: options.memoryBytes,
      threads: threads(args),
      overwrite: flag(args, "overwrite"),
      signal,
      onProgress: (p) => output.progress({ stage: "fold", done: p.bytesDone, total: p.bytesTotal, unit: "bytes", detail: p.tensor }),
    });
    output.diagnostics(result.warnings.filter((warning) => !plan.findings.includes(warning)));
    const adapted = plan.jobs.filter((job) => job.kind === "merge").length;
    const lines = `${out}: ${adapted} of ${result.tensors} tensors adapted, ${formatBytes(result.bytesWritten)} in ${formatDuration(result.seconds)}`;
    output.result({ ...result, adaptedTensors: adapted }, lines);
  },
};
