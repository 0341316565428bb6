// weightsmith adapter transfer: a LoRA for another base model, without the data that the first one was trained on.
import { TRANSFER_DEFAULTS, type TransferResult } from "../../transfer/request.ts";
import type { Command } from "../command.ts";
import { type Arguments, flag, number, OVERWRITE, positionals, SEED, THREADS, text, threads, usage } from "../options.ts";
import { chooseTrainingEngine, TRAINING_DEVICE } from "../training-device.ts";
import { DTYPES, outOf } from "./merge.ts";

const DEFAULTS = TRANSFER_DEFAULTS;

export const transfer: Command = {
  name: "adapter transfer",
  summary: "train an adapter for another base to do what this one does",
  usage: "ADAPTER --from OLD --to NEW --seeds F -o OUT",
  help: `
Moves an adapter to another base model without the data that it was trained on (Trans-LoRA). A few real prompts, the seeds,
are enough: NEW learns to write more of the kind; OLD learns to tell drawn prompts from real ones, and those that it takes
for real are kept; OLD with the adapter answers them; and a LoRA of the same rank on the same kinds of layers is trained on
NEW to give these answers. Tokenizers and sizes of the two bases may differ. The adapter can be of any family.

Seeds are JSONL, {"prompt": "..."} or {"prompt": "...", "completion": "..."}; completions only measure the result. OUT holds
the adapter, the data that it learned from (generated.jsonl) and a report. A run that was stopped goes on when it is started again.

  weightsmith adapter transfer ./adapter --from ./llama-2 --to ./llama-3 --seeds seeds.jsonl -o ./moved
  weightsmith adapter transfer ./adapter --from ./gpt2 --to ./llama --seeds seeds.jsonl --targets q_proj,v_proj -o ./moved`,
  options: [
    { name: "from", type: "string", value: "MODEL", doc: "the base that the adapter is for" },
    { name: "to", type: "string", value: "MODEL", doc: "the base that it is to be for" },
    { name: "seeds", type: "string", value: "FILE", doc: "real prompts of the task, 5 or more" },
    { name: "out", short: "o", type: "string", value: "OUT", doc: "the folder to make" },
    { name: "examples", type: "integer", value: "N", doc: `prompts to learn from (default: ${DEFAULTS.examples})` },
    { name: "epochs", type: "integer", value: "N", doc: `times that each is learned from (default: ${DEFAULTS.epochs})` },
    { name: "lr", type: "string", value: "RATE", doc: `learning rate of all three trainings (default: ${DEFAULTS.lr})` },
    { name: "batch-size", type: "integer", value: "N", doc: `examples of a step (default: ${DEFAULTS.batchSize})` },
    { name: "rank", type: "integer", value: "R", doc: "of the new adapter (default: the old one's)" },
    { name: "targets", type: "string", value: "KIND,...", doc: "kinds of layers of NEW (default: those of the old adapter)" },
    { name: "temperature", type: "string", value: "T", doc: `of drawing prompts (default: ${DEFAULTS.temperature})` },
    { name: "threshold", type: "string", value: "P", doc: `least probability of being real, 0 to keep all (default: ${DEFAULTS.threshold})` },
    { name: "generator-steps", type: "integer", value: "N", doc: `steps of learning to write prompts (default: ${DEFAULTS.generatorSteps})` },
    { name: "discriminator-steps", type: "integer", value: "N", doc: `steps of learning to judge them (default: ${DEFAULTS.discriminatorSteps})` },
    { name: "max-new-tokens", type: "integer", value: "N", doc: "of an answer (default: twice the longest of the seeds, or 256)" },
    { name: "dtype", type: "string", value: "DTYPE", choices: Object.keys(DTYPES), doc: "of the result (default: float32)" },
    SEED,
    THREADS,
    TRAINING_DEVICE,
    OVERWRITE,
  ],
  async run(args, context) {
    const { output, signal } = context;
    const [adapter = ""] = positionals(args, ["ADAPTER"]);
    const request = { adapter, from: required(args, "from"), to: required(args, "to"), seeds: required(args, "seeds"), out: outOf(args) };
    const settings = settingsOf(args);
    const engine = await chooseTrainingEngine(args, context);
    const { transferAdapter } = await import("../../transfer/transfer.ts");
    const result = await transferAdapter({
      ...request,
      settings,
      threads: threads(args),
      ...engine,
      overwrite: flag(args, "overwrite"),
      signal,
      onProgress: (progress) => output.progress(progress),
      onWarning: (warning) => output.diagnostics([warning]),
    });
    output.diagnostics(result.warnings);
    output.result(result, report(result));
  },
};

function required(args: Arguments, name: string): string {
  const value = text(args, name);
  if (value !== undefined) return value;
  throw usage(`option --${name} is missing`, { expected: transfer.usage, remedy: "see --help" });
}

function settingsOf(args: Arguments): typeof DEFAULTS {
  const whole = (name: string, fallback: number) => {
    const value = number(args, name) ?? fallback;
    if (value >= 1) return value;
    throw usage(`option --${name} is not usable`, { found: String(value), expected: "a whole number of at least 1" });
  };
  return {
    examples: whole("examples", DEFAULTS.examples),
    epochs: whole("epochs", DEFAULTS.epochs),
    lr: real(args, "lr", DEFAULTS.lr, 1),
    batchSize: whole("batch-size", DEFAULTS.batchSize),
    rank: number(args, "rank") === undefined ? undefined : whole("rank", 1),
    targets: text(args, "targets")?.split(","),
    temperature: real(args, "temperature", DEFAULTS.temperature, 100),
    threshold: text(args, "threshold") === "0" ? 0 : real(args, "threshold", DEFAULTS.threshold, 1),
    generatorSteps: whole("generator-steps", DEFAULTS.generatorSteps),
    discriminatorSteps: whole("discriminator-steps", DEFAULTS.discriminatorSteps),
    maxNewTokens: number(args, "max-new-tokens") === undefined ? undefined : whole("max-new-tokens", 1),
    seed: number(args, "seed") ?? DEFAULTS.seed,
    dtype: DTYPES[text(args, "dtype") ?? "float32"] as typeof DEFAULTS.dtype,
  };
}

function real(args: Arguments, name: string, fallback: number, most: number): number {
  const value = text(args, name) === undefined ? fallback : Number(text(args, name));
  if (value > 0 && value <= most) return value;
  throw usage(`option --${name} is not usable`, { found: text(args, name) ?? "", expected: `a number above 0, at most ${most}` });
}

function report(r: TransferResult): string {
  const validation = r.validationLoss === undefined ? "" : `, ${r.validationLoss.toFixed(4)} on the seeds`;
  return [
    `${r.out}: ${r.parameters.toLocaleString("en")} parameters, loss ${r.trainLoss.toFixed(4)}${validation}`,
    `learned from ${r.answered} answers to ${r.accepted} prompts that passed for real, of ${r.candidates} drawn from ${r.seeds} seeds`,
    `probability of being real: seeds ${r.realness.seeds.toFixed(3)}, drawn prompts ${r.realness.candidates.toFixed(3)}`,
  ].join("\n");
}
