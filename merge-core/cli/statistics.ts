// weightsmith fisher and weightsmith gram: what merging by data needs to know of each model.
import type { StatisticsResult } from "../evaluate/statistics/statistics-file.ts";
import type { Command, CommandContext } from "./command.ts";
import { type Arguments, flag, list, number, type OptionSpec, OVERWRITE, positionals, SEED, THREADS, text, threads, usage } from "./options.ts";
import { formatDuration } from "./output.ts";

const OPTIONS: readonly OptionSpec[] = [
  { name: "data", type: "list", value: "FILE", doc: "JSONL file; may be given several times" },
  { name: "out", type: "string", short: "o", value: "FILE", doc: "safetensors file to make" },
  { name: "limit", type: "integer", value: "N", least: 1, doc: "only the first N examples" },
  { name: "batch-size", type: "integer", value: "N", least: 1, doc: "examples computed together (default: 32)" },
  THREADS,
  OVERWRITE,
];

export const fisher: Command = {
  name: "fisher",
  summary: "measure how much each weight of a model matters on data",
  usage: "MODEL --data FILE... -o FILE",
  help: `
Writes the diagonal of the model's Fisher information: for each weight the mean, over examples, of the squared gradient of
the log-probability of the example's answer (or text). The file has the model's tensor names and shapes, in float32, and
is what merge_method: fisher takes as "fisher: FILE" beside a model. Models: Llama, Mistral, Qwen2 and GPT-2.

  --mode sampled     answers drawn from the model's own distribution: unbiased, labels play no part (default)
  --mode exact       the expectation over the whole vocabulary at every position: for small models
  --mode empirical   the answers of the data

  weightsmith fisher ./math --data math.jsonl -o math.fisher.safetensors --limit 1024
  weightsmith fisher ./math --data math.jsonl -o math.fisher.safetensors --samples 4 --seed 1`,
  options: [
    ...OPTIONS,
    { name: "mode", type: "string", value: "MODE", choices: ["sampled", "exact", "empirical"], doc: "whose answers (default: sampled)" },
    { name: "samples", type: "integer", value: "N", least: 1, doc: "answers drawn per example (default: 1)" },
    SEED,
  ],
  async run(args, context) {
    const { writeFisher } = await import("../evaluate/statistics/statistics-file.ts");
    const { FISHER_MODES } = await import("../evaluate/statistics/fisher.ts");
    const asked = text(args, "mode");
    const mode = FISHER_MODES.find((known) => known === asked);
    const samples = number(args, "samples");
    const more = { ...(mode === undefined ? {} : { mode }), ...(samples === undefined ? {} : { samples }), seed: number(args, "seed") ?? 0 };
    await run("fisher", args, context, (model, data, options) => writeFisher(model, data, { ...options, ...more }));
  },
};

export const gram: Command = {
  name: "gram",
  summary: "measure the inputs of a model's linear layers on data",
  usage: "MODEL --data FILE... -o FILE",
  help: `
Writes the Gram matrix of the inputs of each linear layer, the mean of x x^T over tokens, as [in, in] in float32 under the
name of the layer's weight: what merge_method: regmean takes as "gram: FILE" beside a model. No data can be read from it
but these second moments.

  weightsmith gram ./math --data math.jsonl -o math.gram.safetensors --limit 1024`,
  options: OPTIONS,
  async run(args, context) {
    const { writeGram } = await import("../evaluate/statistics/statistics-file.ts");
    await run("gram", args, context, writeGram);
  },
};

interface WriteOptions {
  readonly out: string;
  readonly overwrite: boolean;
  readonly threads: number;
  readonly signal: AbortSignal;
  readonly limit?: number;
  readonly batchSize?: number;
  readonly onProgress: (done: number, total: number) => void;
}

async function run(
  stage: string,
  args: Arguments,
  { output, signal }: CommandContext,
  write: (model: string, data: readonly string[], options: WriteOptions) => Promise<StatisticsResult>,
): Promise<void> {
  const [model = ""] = positionals(args, ["MODEL"]);
  const out = text(args, "out");
  if (out === undefined) throw usage("option --out is missing", { expected: "a file to write" });
  // Under another name merging would not take it for one.
  if (!out.endsWith(".safetensors")) throw usage("option --out is not the name of a safetensors file", { found: out, expected: `${out}.safetensors` });
  const [limit, batchSize] = [number(args, "limit"), number(args, "batch-size")];
  const result = await write(model, list(args, "data"), {
    out,
    overwrite: flag(args, "overwrite"),
    threads: threads(args),
    signal,
    ...(limit === undefined ? {} : { limit }),
    ...(batchSize === undefined ? {} : { batchSize }),
    onProgress: (done, total) => output.progress({ stage, done, total, unit: "examples" }),
  });
  if (result.tooLong > 0) output.note(`${result.tooLong} examples do not fit into the model's context and were left out`);
  const { tensors, examples, tokens, seconds } = result;
  output.result(result, `${out}: ${tensors} tensors from ${examples} examples, ${tokens} tokens, in ${formatDuration(seconds)}`);
}
