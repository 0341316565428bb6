// weightsmith evolve CONFIG OUT
import type { EvolveOutcome } from "../pareto/run-evolve.ts";
import type { Command } from "./command.ts";
import { flag, OVERWRITE, positionals, THREADS, threads } from "./options.ts";
import { formatDuration, formatTable } from "./output.ts";

export const evolve: Command = {
  name: "evolve",
  summary: "search the numbers of a recipe, or a stack of layers, by evolution",
  usage: "CONFIG OUT",
  help: `
Searches by CMA-ES for the numbers of a recipe that measure best, or for the layers of several models that work best on top
of each other (arXiv 2403.13187). Writes OUT/evolve.json with every trial, and the best merge to OUT/model. A killed search
goes on by the same command; a trial that fails is noted and passed over.

  recipe:                       # any recipe; {search: [low, high]} in place of numbers, log: true for magnitudes
    merge_method: dare_ties
    base_model: ./base
    models:
      - { model: ./math, parameters: { weight: { search: [0, 1] }, density: { search: [0.1, 1] } } }
      - { model: ./code, parameters: { weight: { search: [0, 1] }, density: { search: [0.1, 1] } } }
  # or stack: { models: [./math, ./code], repeats: 2, scale: [0.5, 2] }; scale searches a factor for each layer's input, too
  objectives:                   # as in pareto; weight: sums them up
    - { name: math, metric: exact_match, data: math.validation.jsonl }
    - { name: code, metric: loss, data: code.validation.jsonl, weight: 0.5 }
  report:                       # measured once, on the start and on the best
    - { name: math, metric: exact_match, data: math.test.jsonl }
  trials: 100
  early: { limit: 32, keep: 0.5 }   # all on the first 32 examples, the better half on the whole

Data to report on must not be data that is searched on, copies included; --allow-same-split lets it pass and says so.

  weightsmith evolve evolve.yml ./evolved`,
  options: [{ name: "allow-same-split", type: "flag", doc: "report on data that is searched on" }, THREADS, OVERWRITE],
  async run(args, { output, signal }) {
    const [file = "", out = ""] = positionals(args, ["CONFIG", "OUT"]);
    const [{ readEvolveConfig }, { runEvolve }] = await Promise.all([import("../pareto/evolve-config.ts"), import("../pareto/run-evolve.ts")]);
    const result = await runEvolve(await readEvolveConfig(file), out, {
      threads: threads(args),
      overwrite: flag(args, "overwrite"),
      allowSameSplit: flag(args, "allow-same-split"),
      signal,
      onProgress: ({ done, total, detail }) => output.progress({ stage: "evolve", done, total, unit: "items", detail }),
    });
    const { evolution, ...rest } = result;
    output.result({ ...evolution, ...rest }, page(result));
  },
};

function page({ evolution, model, evolutionFile, seconds }: EvolveOutcome): string {
  const { trials, best, objectives, reported, names, stopped, sameSplit } = evolution;
  const at = (id: number) => trials.find((trial) => trial.id === id);
  const shown = (value: number | undefined) => (value === undefined ? "" : Number(value.toPrecision(5)).toString());
  const searched = objectives.map(({ name }) => [name, "searched", shown(at(1)?.measured[name]), shown(at(best)?.measured[name])]);
  const split = sameSplit ? "reported (split not held out)" : "reported";
  const held = Object.keys(reported?.best ?? {}).map((name) => [name, split, shown(reported?.start[name]), shown(reported?.best[name])]);
  const count = (status: string) => trials.filter((trial) => trial.status === status).length;
  return [
    formatTable(["objective", "data", "start", "best"], [...searched, ...held], [2, 3]),
    "",
    ...(names.length > 16 ? [] : [names.map((name, i) => `${name} ${shown(at(best)?.values[i])}`).join(", ")]),
    `Trial ${best} of ${trials.length} (${count("rejected")} rejected early, ${count("failed")} failed); ended by: ${stopped}.`,
    ...(reported?.error === undefined ? [] : [`The report failed: ${reported.error}`]),
    ...(reported === null ? ["No data to report on: what was searched on flatters the result."] : []),
    `${model}, ${evolutionFile} (${formatDuration(seconds)})`,
  ].join("\n");
}
