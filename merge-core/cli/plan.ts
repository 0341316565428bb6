// weightsmith plan RECIPE: everything a merge would do, from headers alone.
import { formatPlan } from "../plan/format-plan.ts";
import type { Command } from "./command.ts";
import { loadPlan, loadStages, PLAN_OPTIONS, planAll } from "./load-plan.ts";
import { positionals } from "./options.ts";

export const plan: Command = {
  name: "plan",
  summary: "check a recipe and show what merging it would do",
  usage: "RECIPE",
  help: `
Reads the recipe and the headers of its models, and no tensor data. Prints the resolved parameters per tensor group,
bytes, peak memory and findings; everything that can fail for a reason visible in headers fails here. A file of several
recipes is planned stage by stage.

  weightsmith plan recipe.yml
  weightsmith plan recipe.yml --json`,
  options: PLAN_OPTIONS,
  async run(args, context) {
    const [file = ""] = positionals(args, ["RECIPE"]);
    const loaded = await loadStages(file, args, context);
    if (loaded === undefined) {
      const { plan } = await loadPlan(file, args, context);
      context.output.result(plan, formatPlan(plan));
      return;
    }
    const stages = await planAll(loaded.staged, `${file}.stages`, context);
    context.output.result({ stages }, stages.map(({ name, plan }) => `${name ?? "output"}: ${formatPlan(plan)}`).join("\n\n"));
  },
};
