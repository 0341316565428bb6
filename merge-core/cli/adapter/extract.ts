// weightsmith adapter extract: a LoRA from the difference of two models.
import { inputError } from "../../diagnostics.ts";
import { modelOpener } from "../../plan/open-model.ts";
import { modelReference } from "../../recipe/model-reference.ts";
import { type ExtractResult, extractAdapter } from "../../run/extract-adapter.ts";
import { extractOneBit, ONE_BIT_LAYERS, type OneBitResult } from "../../run/extract-one-bit.ts";
import { formatBytes } from "../../units.ts";
import type { Command } from "../command.ts";
import { DOWNLOAD, openerOptions } from "../load-plan.ts";
import { flag, MEMORY, number, OVERWRITE, positionals, THREADS, text, threads } from "../options.ts";
import { formatDuration, formatTable } from "../output.ts";
import { DTYPES, rankOf, shareOf } from "./merge.ts";

export const extract: Command = {
  name: "adapter extract",
  summary: "take a LoRA out of a fine-tuned model",
  usage: "BASE MODEL OUT --rank R | --energy E | --one-bit LAYERS",
  help: `
Subtracts BASE from MODEL tensor by tensor, decomposes each matrix's change by singular values and writes the leading
ones as a LoRA that PEFT loads. Norms, embeddings that are heads too, and vocabularies that have grown are stored whole
(modules_to_save). How much of each change is lost is told.

With --one-bit the changes of attention, MLP or both are packed to their signs and one scale per matrix (1bit-Merging), and
everything else that changed is stored whole: a sixteenth of bfloat16 for what is packed. Only weightsmith reads it: adapter fold
gives the model back, and recipes take it as base+adapter.

  weightsmith adapter extract ./base ./tuned ./adapter --rank 32
  weightsmith adapter extract ./base ./tuned ./adapter --energy 0.95 --rank 128
  weightsmith adapter extract ./base ./chat ./chat-bits --one-bit mlp`,
  options: [
    { name: "rank", type: "integer", value: "R", doc: "rank of every module; with --energy the most a module may have" },
    { name: "energy", type: "string", value: "SHARE", doc: "keep this share of the squared norm of each change, whatever rank that takes" },
    {
      name: "one-bit",
      type: "string",
      value: "LAYERS",
      choices: Object.keys(ONE_BIT_LAYERS),
      doc: "pack the changes of these layers to one bit: attention, mlp or both",
    },
    { name: "dtype", type: "string", value: "DTYPE", choices: Object.keys(DTYPES), doc: "of the factors (default: float32)" },
    MEMORY,
    THREADS,
    OVERWRITE,
    DOWNLOAD,
  ],
  async run(args, context) {
    const [base = "", model = "", out = ""] = positionals(args, ["BASE", "MODEL", "OUT"]);
    const { output, signal } = context;
    const rank = rankOf(args);
    const energy = text(args, "energy") === undefined ? undefined : shareOf(args, "energy", 1);
    const layers = text(args, "one-bit") as keyof typeof ONE_BIT_LAYERS | undefined;
    if (rank === undefined && energy === undefined && layers === undefined)
      throw inputError("usage", "neither a rank nor a share of energy is given", { expected: "--rank R, --energy SHARE or --one-bit LAYERS" });
    if (layers !== undefined && (rank !== undefined || energy !== undefined || text(args, "dtype") !== undefined))
      throw inputError("usage", "--one-bit goes without --rank, --energy and --dtype", { remedy: "leave out one of them" });
    const range = { line: 0, column: 0, endLine: 0, endColumn: 0, offset: 0, end: 0 };
    const open = modelOpener(".", openerOptions(args, context));
    const [first, second] = [await open(modelReference({ path: base }, undefined, range)), await open(modelReference({ path: model }, undefined, range))];
    const onProgress = (done: number, total: number, detail: string) => output.progress({ stage: "extract", done, total, unit: "bytes", detail });
    if (layers !== undefined) {
      const packed = await extractOneBit({ base: first, model: second, out, layers, overwrite: flag(args, "overwrite"), signal, onProgress });
      output.diagnostics(packed.warnings);
      output.result(packed, reportPacked(packed));
      return;
    }
    const memoryBytes = number(args, "memory");
    const result = await extractAdapter({
      base: first,
      model: second,
      out,
      rank,
      energy,
      dtype: DTYPES[text(args, "dtype") ?? "float32"] ?? "F32",
      overwrite: flag(args, "overwrite"),
      threads: threads(args),
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      signal,
      onProgress,
    });
    output.diagnostics(result.warnings);
    output.result(result, report(result));
  },
};

const percent = (share: number): string => (share > 0 && share < 1e-4 ? "< 0.01 %" : `${(share * 100).toFixed(2)} %`);

/** The modules that lose most, and the sum. */
function report({ out, modules, whole, relativeError, parameters, seconds }: ExtractResult): string {
  const worst = [...modules].sort((x, y) => y.relativeError - x.relativeError).slice(0, 5);
  const rows = worst.map(({ module, rank, relativeError: lost, relativeChange }) => [module, String(rank), percent(relativeChange), percent(lost)]);
  const stored = whole.length === 0 ? "" : `, ${whole.length} stored whole`;
  const line = `${out}: ${modules.length} modules${stored}, ${parameters.toLocaleString("en")} parameters, in ${formatDuration(seconds)}; ${percent(relativeError)} of the change is lost`;
  return rows.length === 0 ? line : `${formatTable(["module", "rank", "change", "lost"], rows, [1, 2, 3])}\n\n${line}`;
}

function reportPacked({ out, modules, whole, tensorBytes, modelBytes, seconds }: OneBitResult): string {
  const worst = [...modules].sort((x, y) => y.relativeError - x.relativeError).slice(0, 5);
  const rows = worst.map(({ module, scale, relativeError }) => [module, scale.toExponential(2), percent(relativeError)]);
  const line = `${out}: ${modules.length} matrices packed, ${whole.length} tensors whole, ${formatBytes(tensorBytes)} for ${formatBytes(modelBytes)} of the model, in ${formatDuration(seconds)}`;
  return rows.length === 0 ? line : `${formatTable(["module", "scale", "lost"], rows, [1, 2])}\n\n${line}`;
}
