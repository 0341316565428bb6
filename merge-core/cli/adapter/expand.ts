// weightsmith adapter expand: an adapter of another family as a plain LoRA.
import { modelOpener } from "../../plan/open-model.ts";
import { modelReference } from "../../recipe/model-reference.ts";
import { expandAdapter } from "../../run/expand-adapter.ts";
import type { Command } from "../command.ts";
import { DOWNLOAD, openerOptions } from "../load-plan.ts";
import { flag, OVERWRITE, positionals, text } from "../options.ts";
import { DTYPES } from "./merge.ts";

export const expand: Command = {
  name: "adapter expand",
  summary: "write an adapter of another family as a plain LoRA",
  usage: "ADAPTER OUT [--choice C] [--base MODEL]",
  help: `
Writes the change that each module makes as a LoRA that PEFT loads, where it is a product of low rank: pools (ShareLoRA,
ASLoRA, MoS, VB-LoRA, VeRA), LoHa, LoRETTA, MiSS, PSOFT and the like. Nothing is lost; the file grows.

Families that are many LoRAs need a choice: a task's number, or mean, for Polytropon and MHR; a preference such as 0.3,0.7
for PaLoRA; uniform or usage, how a mixture's experts are merged; joint for MoSA. --base names the model where the files do
not tell the sides of layers, or the change follows from its weights.

  weightsmith adapter expand ./mos ./lora --base ./base
  weightsmith adapter expand ./poly ./task-2 --choice 2 --base ./base`,
  options: [
    { name: "choice", type: "string", value: "C", doc: "which of several LoRAs" },
    { name: "base", type: "string", value: "MODEL", doc: "the base model" },
    { name: "dtype", type: "string", value: "DTYPE", choices: Object.keys(DTYPES), doc: "of the factors (default: float32)" },
    OVERWRITE,
    DOWNLOAD,
  ],
  async run(args, context) {
    const [adapter = "", out = ""] = positionals(args, ["ADAPTER", "OUT"]);
    const { output, signal } = context;
    const base = text(args, "base");
    const range = { line: 0, column: 0, endLine: 0, endColumn: 0, offset: 0, end: 0 };
    const model = base === undefined ? undefined : await modelOpener(".", openerOptions(args, context))(modelReference({ path: base }, undefined, range));
    const result = await expandAdapter({
      adapter,
      out,
      base: model,
      choice: text(args, "choice"),
      dtype: DTYPES[text(args, "dtype") ?? "float32"] ?? "F32",
      overwrite: flag(args, "overwrite"),
      signal,
      onProgress: (done, total, module) => output.progress({ stage: "expand", done, total, unit: "items", detail: module }),
    });
    output.diagnostics(result.warnings);
    const ranks = [...new Set(result.modules.map(({ rank }) => rank))].join(", ");
    output.result(result, `${out}: LoRA of rank ${ranks} on ${result.modules.length} modules, ${result.parameters.toLocaleString("en")} parameters`);
  },
};
