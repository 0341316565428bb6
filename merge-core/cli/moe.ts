// weightsmith moe CONFIG OUT.
import { GATE_MODES } from "../moe/config.ts";
import { LAYOUTS } from "../moe/layouts.ts";
import { makeMoe } from "../moe/make-moe.ts";
import { modelOpener } from "../plan/open-model.ts";
import type { Command } from "./command.ts";
import { openerOptions, PLAN_OPTIONS, planOptions, readRecipe } from "./load-plan.ts";
import { flag, OVERWRITE, positionals, THREADS, threads } from "./options.ts";
import { formatBytes, formatDuration } from "./output.ts";

export const moe: Command = {
  name: "moe",
  summary: "make a mixture of experts from dense models",
  usage: "CONFIG OUT",
  help: `
Takes the feed-forward parts of several models of one size as experts and all else from a base model. CONFIG is
mergekit-moe's: base_model, experts (source_model, positive_prompts, negative_prompts, residual_scale, noise_scale),
shared_experts, gate_mode, experts_per_token, dtype, architecture.

gate_mode is one of ${GATE_MODES.join(", ")}. The result is one of ${LAYOUTS.map(({ name }) => name).join(", ")}:
the first that fits the models, or the one that architecture names. Tensors are streamed as in a merge, and for the
gates of the hidden modes one layer of the base is in memory at a time. A run that was stopped goes on where it was.

  weightsmith moe moe.yml ./mixture
  weightsmith moe moe.yml ./mixture --seed 7 --threads 4`,
  options: [...PLAN_OPTIONS, THREADS, OVERWRITE, { name: "allow-same", type: "flag", doc: "all experts may be the same model, to be trained apart later" }],
  async run(args, context) {
    const [file = "", out = ""] = positionals(args, ["CONFIG", "OUT"]);
    const { output, signal } = context;
    const { seed = 0, memoryBytes, shardBytes } = planOptions(args);
    const request = {
      text: await readRecipe(file),
      file,
      open: modelOpener(file, openerOptions(args, context)),
      seed,
      memoryBytes,
      shardBytes,
      gates: `${out}.gates.safetensors`,
      allowSame: flag(args, "allow-same"),
      threads: threads(args),
      signal,
      onGates: (done: number, total: number) => output.progress({ stage: "gates", done, total, unit: "steps", detail: `layer ${done}` }),
    };
    const result = await makeMoe(request, {
      out,
      memoryBytes,
      threads: threads(args),
      overwrite: flag(args, "overwrite"),
      signal,
      onProgress: (p) => output.progress({ stage: "moe", done: p.bytesDone, total: p.bytesTotal, unit: "bytes", detail: p.tensor }),
    });
    output.diagnostics(result.warnings);
    output.result(result, `${out}: ${result.layout}, ${result.tensors} tensors, ${formatBytes(result.bytesWritten)} in ${formatDuration(result.seconds)}`);
  },
};
