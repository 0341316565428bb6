// weightsmith adapter: everything about adapters, one file per subcommand.
import { inputError } from "../diagnostics.ts";
import { compare } from "./adapter/compare.ts";
import { convert } from "./adapter/convert.ts";
import { expand } from "./adapter/expand.ts";
import { extract } from "./adapter/extract.ts";
import { families } from "./adapter/families.ts";
import { fold } from "./adapter/fold.ts";
import { inspect } from "./adapter/inspect.ts";
import { merge } from "./adapter/merge.ts";
import { removeSlice } from "./adapter/remove-slice.ts";
import { transfer } from "./adapter/transfer.ts";
import type { Command } from "./command.ts";

const subcommands: readonly Command[] = [families, inspect, compare, fold, merge, extract, expand, convert, transfer, removeSlice];

export const adapter: Command = {
  name: "adapter",
  summary: "list, inspect, compare, fold, merge, extract, expand, convert and transfer adapters, and take data out of them",
  usage: `${subcommands.map(({ name }) => name.split(" ")[1]).join("|")} ...`,
  help: `
Works on adapters in the files of Hugging Face PEFT, and on those of families that PEFT does not have.

${subcommands.map(({ name, usage, summary }) => `  weightsmith ${`${name} ${usage}`.padEnd(44)} ${summary}`).join("\n")}

  weightsmith adapter inspect --help            options and examples of one of them`,
  options: [],
  subcommands,
  async run() {
    throw inputError("usage", "which adapter command?", { expected: subcommands.map(({ name }) => name).join(", "), remedy: "see weightsmith adapter --help" });
  },
};
