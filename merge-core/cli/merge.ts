// weightsmith merge RECIPE OUT.
import { type MergeResult, runMerge } from "../run/execute.ts";
import type { Command } from "./command.ts";
import { loadPlan, PLAN_OPTIONS } from "./load-plan.ts";
import { flag, OVERWRITE, positionals, THREADS, threads } from "./options.ts";
import { formatBytes, formatDuration } from "./output.ts";

export const merge: Command = {
  name: "merge",
  summary: "merge models as a recipe says",
  usage: "RECIPE OUT",
  help: `
Runs a recipe (mergekit's YAML) and writes the model folder OUT. Work goes to OUT.partial and OUT appears when it is
complete: stop it at any time, and the same command takes it up again and gives the same bytes. The result depends on
the recipe, the models and the seed alone, never on threads, memory or machine.

  weightsmith merge recipe.yml ./merged
  weightsmith merge recipe.yml ./merged --memory 512MiB --threads 4 --overwrite`,
  options: [...PLAN_OPTIONS, THREADS, OVERWRITE],
  async run(args, context) {
    const [file = "", out = ""] = positionals(args, ["RECIPE", "OUT"]);
    const { output, signal } = context;
    const { plan, memoryBytes } = await loadPlan(file, args, context);
    const result = await runMerge(plan, {
      out,
      memoryBytes,
      threads: threads(args),
      overwrite: flag(args, "overwrite"),
      signal,
      onProgress: (p) => output.progress({ stage: "merge", done: p.bytesDone, total: p.bytesTotal, unit: "bytes", detail: p.tensor }),
    }).catch((error: unknown) => {
      if (signal.aborted) output.note(`the work done so far is in ${out}.partial; the same command goes on from there`);
      throw error;
    });
    output.diagnostics(result.warnings.filter((warning) => !plan.findings.includes(warning)));
    output.result(result, report(result));
  },
};

function report(r: MergeResult): string {
  const resumed = r.resumedTensors > 0 ? ` (${r.resumedTensors} from an unfinished run)` : "";
  const warnings = r.warnings.length > 0 ? `, ${r.warnings.length} warning${r.warnings.length === 1 ? "" : "s"}` : "";
  return `${r.out}: ${r.tensors} tensors${resumed}, ${formatBytes(r.bytesWritten)} in ${formatDuration(r.seconds)}${warnings}`;
}
