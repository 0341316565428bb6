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
Lists every adapter family that can be read: PEFT's name for it, what it makes of a weight W, the settings that bear on
it, whether adapters of it merge without the base model, and the paper. All of them can be folded into their base.

  weightsmith adapter families
  weightsmith adapter families --json`,
  options: [],
  async run(args, { output }) {
    positionals(args, []);
    output.result(registry.map(describe), formatTable(["type", "family", "settings", "merges by", "formula"], registry.map(row)));
  },
};

/** The description as data: everything but the computation itself. */
function describe({ type, title, paper, formula, settings, tensors, shared, needsBase, factors }: AdapterFamily) {
  return { type, title, paper, formula, settings, tensors, shared, foldable: "exact", needsBase, lowRank: factors !== undefined };
}

const row = ({ type, title, settings, factors, formula }: AdapterFamily): string[] => [
  type,
  title,
  settings.map(({ name }) => name).join(", "),
  factors === undefined ? "folding" : "factors",
  formula,
];
