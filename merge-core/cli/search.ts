// weightsmith search and weightsmith soup: the best of many merges by a metric, written as one merge.
import type { ParameterChoices, WeightChoices } from "../evaluate/search/candidates.ts";
import type { SearchOutcome, Trial } from "../evaluate/search/search.ts";
import type { Command, CommandContext } from "./command.ts";
import { readRecipe } from "./load-plan.ts";
import { type Arguments, flag, list, number, type OptionSpec, OVERWRITE, positionals, SEED, THREADS, text, threads, usage } from "./options.ts";
import { formatTable } from "./output.ts";

const SHARED: readonly OptionSpec[] = [
  { name: "data", type: "list", value: "FILE", doc: "JSONL file that chooses; the mean counts where several are given" },
  { name: "metric", type: "string", value: "NAME", doc: "what is measured, as in eval (default: loss)" },
  { name: "limit", type: "integer", value: "N", least: 1, doc: "only the first N examples of each file" },
  { name: "report", type: "list", value: "FILE", doc: "JSONL file that the chosen merge is reported on" },
  { name: "same-data", type: "flag", doc: "allow one file to choose and to report" },
  { name: "cache", type: "string", value: "FILE", doc: "measured numbers; a killed search goes on from them (default: OUT.scores.jsonl)" },
  SEED,
  THREADS,
  OVERWRITE,
];

export const search: Command = {
  name: "search",
  summary: "choose a recipe's weights and parameters on validation data",
  usage: "RECIPE OUT --data FILE... [--weights grid|dirichlet] [--set NAME=A,B,...]",
  help: `
Tries the recipe with every combination of the values given, measures each merge in memory, and merges the best into OUT.
A trial that fails is marked and the search goes on. The same command goes on after a kill.

  --set NAME=A,B,...      values of one parameter: of all models but the base, or of the recipe; may be given several times
  --weights grid          two models' weights at 51 even steps from (1, 0) to (0, 1); --trials for another number
  --weights dirichlet     --trials points drawn evenly among weights that sum to 1

  weightsmith search ties.yml ./merged --data validation.jsonl --metric exact_match --set weight=0.2,0.4,0.6 --set density=0.2,0.5
  weightsmith search fisher.yml ./merged --data validation.jsonl --weights dirichlet --trials 50 --report test.jsonl`,
  options: [
    ...SHARED,
    { name: "set", type: "list", value: "NAME=A,B,...", doc: "values of a parameter to try" },
    { name: "weights", type: "string", value: "KIND", choices: ["grid", "dirichlet"], doc: "weights of the models to try" },
    { name: "trials", type: "integer", value: "N", doc: "weights to try (default: 51)" },
  ],
  async run(args, context) {
    const [file = "", out = ""] = positionals(args, ["RECIPE", "OUT"]);
    const recipe = await readRecipe(file);
    const [{ candidateRecipes, GRID_POINTS }, { searchRecipes }] = await Promise.all([
      import("../evaluate/search/candidates.ts"),
      import("../evaluate/search/search.ts"),
    ]);
    const points = number(args, "trials") ?? GRID_POINTS;
    const kind = text(args, "weights");
    const weights: WeightChoices | undefined =
      kind === "dirichlet" ? { kind, points, seed: number(args, "seed") ?? 0 } : kind === "grid" ? { kind, points } : undefined;
    const candidates = candidateRecipes(recipe, file, weights, list(args, "set").map(parseChoices));
    const { metrics, options } = await settings(args, out, context);
    await finish(await searchRecipes(candidates, file, metrics, options), { file, out, args }, context);
  },
};

export const soup: Command = {
  name: "soup",
  summary: "average the models that help on validation data",
  usage: "MODEL... OUT --data FILE...",
  help: `
Greedy soup: models join the mean in the order of their score, and stay if the score gets strictly better. The result is
written to OUT. --uniform averages all models without asking data.

  weightsmith soup run1 run2 run3 ./soup --data validation.jsonl --metric exact_match --report test.jsonl
  weightsmith soup run1 run2 run3 ./soup --uniform`,
  options: [
    ...SHARED,
    { name: "uniform", type: "flag", doc: "the mean of all models" },
    { name: "dtype", type: "string", value: "DTYPE", doc: "of the result, as in recipes (default: bfloat16)" },
  ],
  async run(args, context) {
    const names = [...args.positionals];
    const out = names.pop();
    if (out === undefined || names.length < 2) throw usage("a soup needs two models or more, and an output", { expected: "MODEL... OUT" });
    const dtype = text(args, "dtype") ?? "bfloat16";
    const file = "soup.yml";
    const { greedySoup, soupRecipe } = await import("../evaluate/search/soup.ts");
    if (flag(args, "uniform")) {
      await merge(soupRecipe(names, dtype), { file, out, args }, context);
      context.output.result({ out, ingredients: names }, `${out}: the mean of ${names.length} models`);
      return;
    }
    const { metrics, options } = await settings(args, out, context);
    await finish(await greedySoup(names, metrics, { ...options, dtype, file }), { file, out, args }, context);
  },
};

function parseChoices(word: string): ParameterChoices {
  const [, name, values] = /^([\w-]+)=(.+)$/.exec(word) ?? [];
  const numbers = values?.split(",").map((value) => (value.trim() === "" ? Number.NaN : Number(value)));
  if (name === undefined || numbers === undefined || !numbers.every(Number.isFinite))
    throw usage("option --set is not a parameter with values", { found: word, expected: "NAME=A,B,..." });
  return { name, values: numbers };
}

async function settings(args: Arguments, out: string, { output, signal }: CommandContext) {
  const { builtinMetric } = await import("../evaluate/metric-spec.ts");
  const { checkOutput } = await import("../run/work-folder.ts");
  await checkOutput({ out, overwrite: flag(args, "overwrite"), inputs: [] });
  const limit = number(args, "limit");
  const metric = text(args, "metric") ?? "loss";
  const specs = (files: readonly string[]) => files.map((file) => builtinMetric(metric, [file], { name: file, ...(limit === undefined ? {} : { limit }) }));
  const files = list(args, "data");
  if (files.length === 0) throw usage("option --data is missing", { expected: "a JSONL file" });
  const options = {
    threads: threads(args),
    signal,
    seed: number(args, "seed") ?? 0,
    cacheFile: text(args, "cache") ?? `${out}.scores.jsonl`,
    report: specs(list(args, "report")),
    sameData: flag(args, "same-data"),
    onTrial: ({ label, score }: Trial, done: number, total: number) =>
      output.progress({ stage: "search", done, total, unit: "items", detail: `${label}: ${score === undefined ? "failed" : score.toFixed(4)}` }),
  };
  return { metrics: specs(files), options };
}

interface Place {
  readonly file: string;
  readonly out: string;
  readonly args: Arguments;
}

async function merge(recipe: string, { file, out, args }: Place, { signal }: CommandContext): Promise<void> {
  const { mergeByRecipe } = await import("../evaluate/recipe-merge.ts");
  const options = { threads: threads(args), seed: number(args, "seed") ?? 0, overwrite: flag(args, "overwrite"), signal };
  await mergeByRecipe({ text: recipe, file }, out, options);
}

async function finish(outcome: SearchOutcome, place: Place, context: CommandContext): Promise<void> {
  await merge(outcome.text, place, context);
  const { trials, best, report = {}, ...more } = outcome;
  const rows = trials.map(({ label, score }, i) => [i === best ? "*" : "", label, score === undefined ? "failed" : score.toFixed(4)]);
  const reported = Object.entries(report).map(([name, value]) => `${name}: ${value.toFixed(4)}`);
  const failed = trials.flatMap(({ label, error }) => (error === undefined ? [] : [`${label}: ${error}`]));
  context.output.result(
    { out: place.out, best: trials[best], trials, report, ...more },
    [formatTable(["", "trial", "score"], rows, [2]), ...failed, "", `${place.out}: ${trials[best]?.label ?? ""}`, ...reported].join("\n"),
  );
}
