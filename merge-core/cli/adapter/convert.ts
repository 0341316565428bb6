// weightsmith adapter convert: a LoRA under the names of another program.
import { DIALECTS } from "../../adapters/dialects/dialect.ts";
import { inputError } from "../../diagnostics.ts";
import { modelOpener } from "../../plan/open-model.ts";
import { modelReference } from "../../recipe/model-reference.ts";
import { convertAdapter } from "../../run/convert-adapter.ts";
import type { Command } from "../command.ts";
import { DOWNLOAD, openerOptions } from "../load-plan.ts";
import { flag, OVERWRITE, positionals, text } from "../options.ts";

export const convert: Command = {
  name: "adapter convert",
  summary: "rename a LoRA for PEFT, kohya's programs or diffusers",
  usage: "IN OUT --to peft|kohya|diffusers",
  help: `
Reads a LoRA as PEFT, kohya's sd-scripts or diffusers name it (a folder or a .safetensors file) and writes the folder OUT
as one of them does. Numbers stay as they are, to the bit; alpha goes where the other program looks for it, and DoRA's
magnitudes go along.

kohya's names have underscores for dots. Those of Stable Diffusion, its text encoders and the usual decoders are known; for
others --base names a model whose modules decide. --component chooses one of several models of a file for PEFT, and says
what a PEFT adapter is for.

  weightsmith adapter convert lora.safetensors ./peft --to peft --component unet
  weightsmith adapter convert ./peft ./diffusers --to diffusers --component text_encoder`,
  options: [
    { name: "to", type: "string", value: "NAMES", choices: DIALECTS, doc: "whose names to write" },
    { name: "component", type: "string", value: "C", doc: "unet, transformer, text_encoder or text_encoder_2" },
    { name: "base", type: "string", value: "MODEL", doc: "a model with the modules' names" },
    OVERWRITE,
    DOWNLOAD,
  ],
  async run(args, context) {
    const [adapter = "", out = ""] = positionals(args, ["IN", "OUT"]);
    const { output, signal } = context;
    const to = DIALECTS.find((dialect) => dialect === text(args, "to"));
    if (to === undefined) throw inputError("usage", "whose names are to be written?", { expected: DIALECTS.join(", "), remedy: "pass --to" });
    const base = text(args, "base");
    const range = { line: 0, column: 0, endLine: 0, endColumn: 0, offset: 0, end: 0 };
    const model = base === undefined ? undefined : await modelOpener(".", openerOptions(args, context))(modelReference({ path: base }, undefined, range));
    const component = text(args, "component");
    const result = await convertAdapter({ adapter, out, to, base: model, component, overwrite: flag(args, "overwrite"), signal });
    output.diagnostics(result.warnings);
    const parts = Object.entries(result.components).map(([name, modules]) => `${name} (${modules} modules)`);
    output.result(result, `${out}: ${to}, ${parts.join(", ")}, rank ${result.ranks.join(", ")}`);
  },
};
