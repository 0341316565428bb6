// weightsmith eval MODEL --data F.jsonl...
import type { Diagnostic } from "../diagnostics.ts";
import type { EvaluateProgress, Evaluation } from "../evaluate/evaluate.ts";
import type { MetricSpec, Scores } from "../evaluate/evaluators.ts";
import type { Command, CommandContext } from "./command.ts";
import { readRecipe } from "./load-plan.ts";
import { type Arguments, list, number, positionals, SEED, THREADS, text, threads, usage } from "./options.ts";
import { formatTable } from "./output.ts";
import { chooseTrainingEngine, TRAINING_DEVICE } from "./training-device.ts";

export const evaluateCommand: Command = {
  name: "eval",
  summary: "measure a model on data",
  usage: "MODEL|RECIPE --data FILE... [--metric NAME...]",
  help: `
Measures a decoder model (a Hugging Face folder) on JSONL data: {"prompt": ..., "completion": ...} gives loss, perplexity
and exact match of the greedy continuation, {"text": ...} gives loss and perplexity. Several files are measured one by one.

With --adapter FOLDER, an adapter of any family runs beside the weights, as it does in training; a LoRA needs no such thing, it
can be folded (weightsmith adapter fold).

With --ensemble MODEL, once for each further model, what is measured is the mean of all models' scores, token by token.

What adapt --method one_bit wrote is measured by the expert that its router chooses for each example.

With --metric, --harness or --command it measures what is named, of a model or of a recipe (.yml): a recipe is merged in
memory, and written to a temporary folder only for other programs. Metrics of ours, on each --data file:

  loss, perplexity, exact_match      as above
  multiple_choice                    lines {"prompt": ..., "choices": [...], "answer": index}, the likeliest choice counts
  multiple_choice_norm               the same, likelihood per byte
  entropy                            nats; of the next token after each {"prompt": ...}, or everywhere in each {"text": ...}

A command prints a number on its last line; {model} in it stands for the model's folder. It goes through the shell. The
harness is lm-evaluation-harness; its lm_eval must be on the PATH.

  weightsmith eval ./merged --data test.jsonl
  weightsmith eval ./merged --data a.jsonl --data b.jsonl --json
  weightsmith eval recipe.yml --data test.jsonl --metric exact_match --metric entropy --cache scores.jsonl
  weightsmith eval ./merged --harness arc_easy:acc_norm --command "python score.py {model}" --timeout 600`,
  options: [
    { name: "data", type: "list", value: "FILE", doc: "JSONL file; may be given several times" },
    { name: "adapter", type: "string", value: "FOLDER", doc: "an adapter to run beside the model's weights" },
    { name: "ensemble", type: "list", value: "MODEL", doc: "a model whose scores are averaged with MODEL's; may be given several times" },
    { name: "metric", type: "list", value: "NAME", doc: "one of our metrics; may be given several times" },
    { name: "harness", type: "list", value: "TASK[:MEASURE]", doc: "a task of lm-evaluation-harness (measure: acc,none)" },
    { name: "command", type: "list", value: "LINE", doc: "a shell line that prints a number" },
    { name: "timeout", type: "integer", value: "SECONDS", doc: "time limit of a harness task or command (default: 3600)" },
    { name: "cache", type: "string", value: "FILE", doc: "keep measured numbers here, by weights, data and metric" },
    { name: "limit", type: "integer", value: "N", least: 1, doc: "only the first N examples of each file" },
    { name: "batch-size", type: "integer", value: "N", doc: "sequences computed together (default: 64)" },
    { name: "max-new-tokens", type: "integer", value: "N", doc: "most tokens generated (default: two more than the longest answer)" },
    SEED,
    THREADS,
    TRAINING_DEVICE,
  ],
  async run(args, context) {
    const [path = ""] = positionals(args, ["MODEL|RECIPE"]);
    const adapter = text(args, "adapter");
    const named = ["metric", "harness", "command"].some((option) => list(args, option).length > 0) || isRecipe(path);
    if (named && adapter !== undefined)
      throw usage("option --adapter goes with a model and its loss and exact match", { found: "a recipe, --metric, --harness or --command" });
    if (list(args, "ensemble").length > 0 && (named || adapter !== undefined || text(args, "device") !== undefined))
      throw usage("option --ensemble goes with models, their loss and exact match", {
        found: "a recipe, --metric, --harness, --command, --adapter or --device",
      });
    await (named ? measureNamed(path, args, context) : measureModel(path, args, context));
  },
};

const isRecipe = (path: string): boolean => /\.ya?ml$/i.test(path);

/** Loss, perplexity and exact match of a checkpoint. */
async function measureModel(path: string, args: Arguments, context: CommandContext): Promise<void> {
  const { output, signal } = context;
  const engine = await chooseTrainingEngine(args, context);
  const files = list(args, "data");
  const adapter = text(args, "adapter");
  const optional = { limit: number(args, "limit"), batchSize: number(args, "batch-size"), maxNewTokens: number(args, "max-new-tokens") };
  const given = Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined));
  const { evaluateCheckpoint } = await import("../evaluate/evaluate.ts");
  const { evaluateRouted, readRouted } = await import("../adapt/routed.ts");
  const { evaluateEnsemble } = await import("../adapt/ensemble.ts");
  const others = list(args, "ensemble");
  const routed = await readRouted(path);
  const results: ({ file: string; routes?: Readonly<Record<string, number>> } & Evaluation)[] = [];
  for (const file of files.length > 0 ? files : [undefined]) {
    const options = {
      ...given,
      threads: threads(args),
      ...engine,
      signal,
      onWarning: (warning: Diagnostic) => output.diagnostics([warning]),
      onProgress: (p: EvaluateProgress) =>
        output.progress({ stage: `eval ${p.metric}`, done: p.done, total: p.total, unit: "examples", ...(file === undefined ? {} : { detail: file }) }),
    };
    const data = file === undefined ? [] : [file];
    if (routed !== undefined && adapter !== undefined) throw usage("option --adapter goes with a model", { found: "packed experts with a router" });
    const beside = adapter === undefined ? options : { ...options, adapter };
    const measure = () => (routed === undefined ? evaluateCheckpoint(path, data, beside) : evaluateRouted(routed, data, options));
    results.push({ file: file ?? "", ...(await (others.length > 0 ? evaluateEnsemble([path, ...others], data, options) : measure())) });
  }
  output.result(results.length === 1 ? { model: path, ...results[0] } : { model: path, results }, page(results));
}

function page(results: readonly ({ file: string; routes?: Readonly<Record<string, number>> } & Evaluation)[]): string {
  const shown = (value: number | undefined, digits: number) => (value === undefined ? "" : value.toFixed(digits));
  const rows = results.map((r) => [r.file, `${r.examples}`, shown(r.loss, 4), shown(r.perplexity, 3), shown(r.exactMatch, 3)]);
  const table = formatTable(["data", "examples", "loss", "perplexity", "exact match"], rows, [1, 2, 3, 4]);
  const routes = results.flatMap(({ file, routes: own = {} }) => Object.entries(own).map(([task, count]) => [file, task, `${count}`]));
  return routes.length === 0 ? table : `${table}\n\n${formatTable(["data", "expert", "examples"], routes, [2])}`;
}

/** The metrics that were asked for, of a checkpoint or of a recipe merged in memory. */
async function measureNamed(path: string, args: Arguments, context: CommandContext): Promise<void> {
  const { output, signal } = context;
  const engine = await chooseTrainingEngine(args, context);
  const { openEvaluator } = await import("../evaluate/evaluators.ts");
  const metrics = await namedMetrics(args);
  const optional = { batchSize: number(args, "batch-size"), cacheFile: text(args, "cache"), seed: number(args, "seed") };
  const given = Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined));
  let done = 0;
  const evaluator = await openEvaluator(metrics, {
    ...given,
    threads: threads(args),
    ...engine,
    signal,
    onWarning: (warning) => output.diagnostics([warning]),
    onMetric: (detail) => output.progress({ stage: "eval", done: done++, total: metrics.length, unit: "items", detail }),
  });
  const scores: Scores = isRecipe(path) ? await evaluator.recipe({ text: await readRecipe(path), file: path }) : await evaluator.model(path);
  const rows = Object.entries(scores).map(([name, value]) => [name, value.toFixed(4)]);
  output.result({ model: path, scores }, formatTable(["metric", "value"], rows, [1]));
}

async function namedMetrics(args: Arguments): Promise<MetricSpec[]> {
  const { builtinMetric, readMetric } = await import("../evaluate/metric-spec.ts");
  const files = list(args, "data");
  const limit = number(args, "limit");
  const asked = list(args, "metric");
  const external = [...list(args, "harness"), ...list(args, "command")].length > 0;
  const metrics = asked.length > 0 || external ? asked : ["loss"];
  const perFile = files.length > 0 ? files.map((file) => [file]) : [[]];
  const builtin = metrics.flatMap((metric) =>
    perFile.map((data) => builtinMetric(metric, data, { name: [metric, ...data].join(" "), ...(limit === undefined ? {} : { limit }) })),
  );
  const time = number(args, "timeout");
  const timeout = time === undefined ? {} : { timeout: time };
  const others = [
    ...list(args, "harness").map((word) => {
      const [harness, metric] = word.split(/:(.*)/s);
      return { name: word, harness, ...(metric === undefined ? {} : { metric }), ...timeout };
    }),
    ...list(args, "command").map((command) => ({ name: command, command, ...timeout })),
  ];
  return [...builtin, ...others.map((other) => readMetric(other, (file) => file, "the command line"))];
}
