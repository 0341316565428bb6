// weightsmith plan RECIPE: everything a merge would do, from headers alone.
import { estimateSeconds, type Machine, USUAL_DISK } from "../plan/estimate-time.ts";
import { formatPlan } from "../plan/format-plan.ts";
import type { MergePlan } from "../plan/plan.ts";
import type { Command } from "./command.ts";
import { loadPlan, loadStages, PLAN_OPTIONS, planAll } from "./load-plan.ts";
import { positionals, THREADS, threads } from "./options.ts";

export const plan: Command = {
  name: "plan",
  summary: "check a recipe and show what merging it would do",
  usage: "RECIPE",
  help: `
Reads the recipe and the headers of its models, and no tensor data. Prints the resolved parameters per tensor group,
bytes, peak memory, time and findings; everything that can fail for a reason visible in headers fails here. A file of several
recipes is planned stage by stage.

  weightsmith plan recipe.yml
  weightsmith plan recipe.yml --json`,
  options: [...PLAN_OPTIONS, THREADS],
  async run(args, context) {
    const [file = ""] = positionals(args, ["RECIPE"]);
    const machine = { threads: threads(args), diskBytesPerSecond: USUAL_DISK };
    const loaded = await loadStages(file, args, context);
    if (loaded === undefined) {
      const { plan } = await loadPlan(file, args, context);
      context.output.result(withTime(plan, machine), formatPlan(plan, machine));
      return;
    }
    const { plans: stages, diagnostics } = await planAll(loaded.staged, `${file}.stages`, context);
    const told = stages.map(({ name, plan, ...stage }) => ({ ...stage, name, plan: withTime(plan, machine) }));
    const findings = [...loaded.diagnostics, ...diagnostics];
    context.output.result({ stages: told, findings }, stages.map(({ name, plan }) => `${name ?? "output"}: ${formatPlan(plan, machine)}`).join("\n\n"));
  },
};

/** The time stands beside the plan, not in it: it is of this machine, and a guess. */
const withTime = (plan: MergePlan, machine: Machine) => ({ ...plan, estimatedSeconds: estimateSeconds(plan, machine), estimatedFor: machine });
