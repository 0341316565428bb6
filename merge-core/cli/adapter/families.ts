// weightsmith adapter families: the catalogue, generated from the registry.
import type { AdapterFamily } from "../../adapters/family.ts";
import { families as registry } from "../../adapters/registry.ts";
import type { Command } from "../command.ts";
import { positionals } from "../options.ts";
import { formatTable } from "../output.ts";

export const families: Command = {
  name: "adapter families",
  summary: "list adapter families",
  usage: "",
  help: `
Lists every adapter family: its type, whether it can be trained here and folded into weights (per-task: for one task or
preference at a time; no: it depends on the input), by what adapters of it merge (factors need no base model, nor does the
mean that stays in the family), what it makes of a weight W, the settings that bear on it, and the paper. Types that begin
with x-weightsmith are not PEFT's.

  weightsmith adapter families
  weightsmith adapter families --json`,
  options: [],
  async run(args, { output }) {
    positionals(args, []);
    output.result(registry.map(describe), formatTable(["type", "family", "trains", "folds", "merges by", "settings", "formula"], registry.map(row)));
  },
};

/** The description as data: everything but the computation itself. */
function describe({ type, title, paper, formula, settings, tensors, shared, needsBase, foldable, neutral, factors, training }: AdapterFamily) {
  const trains = training !== undefined;
  return {
    type,
    title,
    paper,
    formula,
    settings,
    trainingSettings: training?.settings ?? [],
    tensors,
    shared,
    trains,
    foldable,
    needsBase,
    lowRank: factors !== undefined,
    averages: neutral !== undefined,
  };
}

const row = ({ type, title, settings, factors, foldable, neutral, formula, training }: AdapterFamily): string[] => [
  type,
  title,
  training === undefined ? "no" : "yes",
  foldable,
  `${factors !== undefined ? "factors" : foldable === "exact" ? "folding" : "expanding"}${neutral === undefined ? "" : ", mean"}`,
  settings.map(({ name }) => name).join(", "),
  formula,
];
