// weightsmith tokens MODEL DONOR OUT.
import { inputError } from "../diagnostics.ts";
import { modelOpener } from "../plan/open-model.ts";
import { makeTransplant, type TransplantRequest } from "../transplant/make-transplant.ts";
import { DEFAULTS, MATCHES, METHODS, SUBWORDS, type TransplantSettings, WEIGHTS } from "../transplant/settings.ts";
import type { Command, CommandContext } from "./command.ts";
import { DOWNLOAD, openerOptions, planOptions } from "./load-plan.ts";
import { type Arguments, flag, MEMORY, number, OVERWRITE, positionals, THREADS, text, threads } from "./options.ts";
import { formatBytes, formatDuration } from "./output.ts";

const choice = (name: string, choices: readonly string[], fallback: string, doc: string) =>
  ({ name, type: "string", value: "NAME", choices, doc: `${doc}: ${choices.join(", ")} (default: ${fallback})` }) as const;

export const tokens: Command = {
  name: "tokens",
  summary: "put another model's tokenizer on a model",
  usage: "MODEL DONOR OUT",
  help: `
Writes MODEL with DONOR's tokenizer. Rows of tokens that both know move to their new place. For the others a combination of
shared tokens is looked for in DONOR's embedding, and the same combination of MODEL's rows is the new row: by orthogonal
matching pursuit (omp), or of the k nearest (common_interpolation). subword and mean need no rows of DONOR.
These are the methods of mergekit-tokensurgeon.

  weightsmith tokens ./model ./donor ./out
  weightsmith tokens ./model ./donor ./out --method subword --subword weighted_mean`,
  options: [
    choice("method", METHODS, DEFAULTS.method, "how new rows are made"),
    { name: "k", type: "integer", value: "N", doc: `shared tokens that a new row is put together from (default: ${DEFAULTS.k})` },
    choice("weights", WEIGHTS, DEFAULTS.weights, "for common_interpolation"),
    { name: "cosine", type: "flag", doc: "for common_interpolation: nearest by angle, not by distance" },
    choice("subword", SUBWORDS, DEFAULTS.subword, "for subword"),
    choice("byte-match", MATCHES, DEFAULTS.byteMatch, "where tokens of one byte match its letter"),
    choice("prefix-match", MATCHES, DEFAULTS.prefixMatch, "where tokens take the row of the longest token that they begin with"),
    DOWNLOAD,
    MEMORY,
    { name: "shard-size", type: "size", value: "SIZE", doc: "most bytes of one output file (default: 5GB)" },
    THREADS,
    OVERWRITE,
  ],
  async run(args, context) {
    const [model = "", donor = "", out = ""] = positionals(args, ["MODEL", "DONOR", "OUT"]);
    await transplant({ model, donor, out, settings: settingsOf(args) }, args, context);
  },
};

/** Makes a transplant, told of on the way, and prints what became of each matrix. */
export async function transplant(
  { model, donor, out, settings }: Pick<TransplantRequest, "model" | "donor" | "settings"> & { readonly out: string },
  args: Arguments,
  context: CommandContext,
): Promise<void> {
  const { output, signal } = context;
  const { memoryBytes, shardBytes } = planOptions(args);
  const request = {
    ...{ model, donor, settings: settings ?? {}, memoryBytes, shardBytes, threads: threads(args), signal },
    open: modelOpener("tokens", openerOptions(args, context)),
    scratch: `${out}.rows.safetensors`,
    onRows: (done: number, total: number) => output.progress({ stage: "tokens", done, total, unit: "items" }),
  };
  const { matrices, ...result } = await makeTransplant(request, {
    ...{ out, memoryBytes, threads: threads(args), overwrite: flag(args, "overwrite"), signal },
    onProgress: (p) => output.progress({ stage: "write", done: p.bytesDone, total: p.bytesTotal, unit: "bytes", detail: p.tensor }),
  });
  output.diagnostics(result.warnings);
  const counts = matrices.map(({ own, counts: { exact, byte, prefix }, missing }) => ({ tensor: own.name, exact, byte, prefix, new: missing.length }));
  const lines = counts.map((c) => `${c.tensor}: ${c.exact + c.byte + c.prefix} rows kept, ${c.new} new`);
  const written = `${out}: ${result.tensors} tensors, ${formatBytes(result.bytesWritten)} in ${formatDuration(result.seconds)}`;
  output.result({ ...result, matrices: counts }, [...lines, written].join("\n"));
}

function settingsOf(args: Arguments): TransplantSettings {
  const pick = <T extends string>(name: string, fallback: T): T => (text(args, name) as T | undefined) ?? fallback;
  const k = number(args, "k") ?? DEFAULTS.k;
  if (k < 1) throw inputError("usage", "--k is at least 1", { found: String(k) });
  return {
    method: pick("method", DEFAULTS.method),
    k,
    weights: pick("weights", DEFAULTS.weights),
    cosine: flag(args, "cosine"),
    subword: pick("subword", DEFAULTS.subword),
    byteMatch: pick("byte-match", DEFAULTS.byteMatch),
    prefixMatch: pick("prefix-match", DEFAULTS.prefixMatch),
  };
}
