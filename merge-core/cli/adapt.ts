// weightsmith adapt and weightsmith freeze: merges that are learned on unlabelled data.
import type { RoutedSummary } from "../adapt/routed.ts";
import type { AdaptationResult } from "../adapt/run-adaptation.ts";
import type { Command, CommandContext } from "./command.ts";
import { readRecipe } from "./load-plan.ts";
import { type Arguments, flag, list, number, type OptionSpec, OVERWRITE, positionals, SEED, THREADS, text, threads, usage } from "./options.ts";
import { formatBytes } from "./output.ts";

const DTYPE: OptionSpec = {
  name: "dtype",
  type: "string",
  value: "DTYPE",
  choices: ["float32", "bfloat16", "float16"],
  doc: "of models without a recipe (default: bfloat16)",
};
const DTYPES = { float32: "F32", bfloat16: "BF16", float16: "F16" } as const;

export const adapt: Command = {
  name: "adapt",
  summary: "learn how to merge on unlabelled data",
  usage: "RECIPE OUT --data FILE... [--method NAME]",
  help: `
Takes base_model and models of the recipe, and one JSONL file for each model, in their order ({"prompt": ...} or
{"text": ...}; answers are not looked at). A merge_method and weights need not be in the recipe, and have no effect. Learns what makes
the merge surest of its next token, and writes OUT.

  base_model: ./base
  models: [{ model: ./math }, { model: ./code }]

  --method adamerging            a coefficient for each tensor of each model, or --per task (default)
  --method adamerging++          the same of what TIES leaves of each model's change
  --method concrete              one mask over the weights, shared by all models
  --method concrete_adamerging   both
  --method dawin                 coefficients from how sure each expert is, on any number of files; of one expert, between base and
                                 expert. --components K for K merges, in OUT/1 to OUT/K, with the examples of each in OUT/assignments.json
  --method wemoe                 routers that choose among the experts' MLPs for each input; eval runs the result
  --method e_wemoe               the same with one router for all layers, and nine tenths of each MLP's change dropped
  --method one_bit               each expert's change packed to one bit per weight, and a router that chooses one of them for a
                                 prompt; eval runs the result. What the router learns is which file a prompt is from

A run that was stopped or killed goes on when it is started again: what it has learned is in OUT.learning until it ends.

Defaults are those of the papers' code, for models of a hundred million parameters and more: AdaMerging 500 steps at 1e-3,
masks 2000 steps at 1e-3 with an inner rate of 1 and temperature 0.5 and then 1000 of AdaMerging, WEMoE 1000 steps at 1e-4.

AdaMerging and DaWin write a plain recipe, which merges to the same bytes again. The others write adapt.json.

  weightsmith adapt recipe.yml ./merged --data math.jsonl --data code.jsonl --steps 200 --lr 0.01`,
  options: [
    { name: "data", type: "list", value: "FILE", doc: "JSONL file of one model; as many as there are models" },
    {
      name: "method",
      type: "string",
      value: "NAME",
      choices: ["adamerging", "adamerging++", "concrete", "concrete_adamerging", "dawin", "wemoe", "e_wemoe", "one_bit"],
      doc: "what is learned",
    },
    { name: "per", type: "string", value: "WHAT", choices: ["task", "layer"], doc: "a coefficient per model, or per model and tensor (default: layer)" },
    { name: "steps", type: "integer", value: "N", doc: "steps of learning (default: 500; wemoe and concrete_adamerging: 1000)" },
    { name: "mask-steps", type: "integer", value: "N", doc: "steps of learning a mask (default: 2000)" },
    { name: "lr", type: "string", value: "X", doc: "learning rate (default: 1e-3; wemoe: 1e-4)" },
    { name: "clamp", type: "flag", doc: "hold coefficients in [0, 1], as the authors of AdaMerging do" },
    { name: "mask-lr", type: "string", value: "X", doc: "learning rate of a mask (default: 1e-3)" },
    { name: "inner-lr", type: "string", value: "X", doc: "of the inner step of concrete_adamerging (default: 1)" },
    { name: "temperature", type: "string", value: "X", doc: "of a mask's draws (default: 0.5)" },
    { name: "prune", type: "string", value: "SHARE", doc: "share of the MLPs' changes that e_wemoe drops (default: 0.9)" },
    { name: "compress", type: "string", value: "LAYERS", choices: ["attention", "mlp", "both"], doc: "what one_bit packs (default: both)" },
    { name: "init", type: "string", value: "X", doc: "first coefficient (default: 0.3)" },
    { name: "batch-size", type: "integer", value: "N", doc: "examples of each file in a step (default: 16)" },
    { name: "components", type: "integer", value: "K", doc: "merges of dawin (default: 1)" },
    { name: "limit", type: "integer", value: "N", least: 1, doc: "only the first N examples of each file" },
    DTYPE,
    SEED,
    THREADS,
    OVERWRITE,
  ],
  async run(args, context) {
    const [file = "", out = ""] = positionals(args, ["RECIPE", "OUT"]);
    if (text(args, "method") === "one_bit") return route(file, out, args, context);
    const { output, signal } = context;
    const { ADAPTATIONS, runAdaptation } = await import("../adapt/run-adaptation.ts");
    const method = ADAPTATIONS.find((known) => known === (text(args, "method") ?? "adamerging")) ?? "adamerging";
    const per = text(args, "per");
    const optional = {
      steps: number(args, "steps"),
      maskSteps: number(args, "mask-steps"),
      lr: positive(args, "lr"),
      init: positive(args, "init"),
      maskLr: positive(args, "mask-lr"),
      innerLr: positive(args, "inner-lr"),
      temperature: positive(args, "temperature"),
      prune: share(args, "prune"),
      clamp: flag(args, "clamp") || undefined,
      batchSize: count(args, "batch-size"),
      components: count(args, "components"),
      limit: number(args, "limit"),
      dtype: dtypeOf(args),
    };
    const given = Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined));
    const result = await runAdaptation({
      ...given,
      ...(per === "task" || per === "layer" ? { per } : {}),
      method,
      recipe: { text: await readRecipe(file), file },
      data: list(args, "data"),
      out,
      overwrite: flag(args, "overwrite"),
      threads: threads(args),
      seed: number(args, "seed") ?? 0,
      signal,
      onStep: (done, total, loss) => output.progress({ stage: "adapt", done, total, unit: "steps", detail: `entropy ${loss.toFixed(4)}` }),
    });
    output.result(result, report(result));
  },
};

/** adapt --method one_bit */
async function route(file: string, out: string, args: Arguments, { output, signal }: CommandContext): Promise<void> {
  const { runRouting } = await import("../adapt/run-routing.ts");
  const [limit, compress] = [number(args, "limit"), LAYERS.find((layers) => layers === text(args, "compress"))];
  const summary = await runRouting({
    recipe: { text: await readRecipe(file), file },
    data: list(args, "data"),
    out,
    overwrite: flag(args, "overwrite"),
    threads: threads(args),
    signal,
    ...(limit === undefined ? {} : { limit }),
    ...(compress === undefined ? {} : { compress }),
  });
  output.result({ out, method: "one_bit", ...summary }, reportRouted(out, summary));
}

const LAYERS = ["attention", "mlp", "both"] as const;

function reportRouted(out: string, { routerAccuracy, bytes, wholeBytes }: RoutedSummary): string {
  const sizes = `${formatBytes(bytes)} for ${formatBytes(wholeBytes)} of the experts`;
  return `${out}: ${sizes}; a router that had not seen them sends ${(100 * routerAccuracy).toFixed(1)} % of a fifth of the prompts to the right expert`;
}

export const freeze: Command = {
  name: "freeze",
  summary: "make an ordinary model of a mixture, for one domain",
  usage: "MIXTURE OUT --data FILE",
  help: `
Takes what adapt --method wemoe or e_wemoe wrote, and merges its MLPs by the coefficients that its routers choose on average on
the data. Of what adapt --method one_bit wrote, the expert that most of the data goes to becomes the model.

  weightsmith freeze ./mixture ./for-math --data math.jsonl`,
  options: [
    { name: "data", type: "string", value: "FILE", doc: "JSONL file of the domain" },
    { name: "limit", type: "integer", value: "N", least: 1, doc: "only the first N examples" },
    DTYPE,
    THREADS,
    OVERWRITE,
  ],
  async run(args, { output, signal }) {
    const [mixture = "", out = ""] = positionals(args, ["MIXTURE", "OUT"]);
    const data = text(args, "data");
    if (data === undefined) throw usage("option --data is missing", { expected: "a JSONL file" });
    const { freezeMixture } = await import("../adapt/run-adaptation.ts");
    const [limit, dtype] = [number(args, "limit"), dtypeOf(args)];
    const options = {
      overwrite: flag(args, "overwrite"),
      threads: threads(args),
      ...(limit === undefined ? {} : { limit }),
      ...(dtype === undefined ? {} : { dtype }),
    };
    const { freezeRouted, readRouted } = await import("../adapt/routed.ts");
    const routed = await readRouted(mixture);
    if (routed === undefined) {
      await freezeMixture(mixture, data, out, options);
      output.result({ out }, out);
      return;
    }
    const { task, share: part } = await freezeRouted(routed, data, out, { ...options, signal });
    output.result({ out, task, share: part }, `${out}: ${task}, which ${(100 * part).toFixed(1)} % of the data go to`);
  },
};

function dtypeOf(args: Arguments): "F32" | "BF16" | "F16" | undefined {
  const name = text(args, "dtype");
  return name === undefined ? undefined : DTYPES[name as keyof typeof DTYPES];
}

function positive(args: Arguments, name: string): number | undefined {
  const word = text(args, name);
  const value = Number(word);
  if (word !== undefined && !(value > 0 && Number.isFinite(value)))
    throw usage(`option --${name} is not usable`, { found: word, expected: "a number above 0" });
  return word === undefined ? undefined : value;
}

function share(args: Arguments, name: string): number | undefined {
  const value = text(args, name) === "0" ? 0 : positive(args, name);
  if (value !== undefined && value >= 1)
    throw usage(`option --${name} is not usable`, { found: text(args, name) ?? "", expected: "a number from 0 to below 1" });
  return value;
}

function count(args: Arguments, name: string): number | undefined {
  const value = number(args, name);
  if (value === 0) throw usage(`option --${name} must be at least 1`, { found: "0" });
  return value;
}

function report({ out, entropy, coefficients, samples = [] }: AdaptationResult): string {
  const tenths = "first and last tenth of the steps";
  const learned = entropy === undefined ? "" : `, entropy over all tasks ${entropy[0].toFixed(4)} to ${entropy[1].toFixed(4)} (${tenths})`;
  const parts = samples.length < 2 ? [] : [`examples of each merge: ${samples.map((count, k) => `${out}/${k + 1} ${count}`).join(", ")}`];
  const means = Object.entries(coefficients).map(([task, value]) => `  ${task}: ${value.toFixed(4)}`);
  return [`${out}${learned}`, ...parts, ...(means.length > 0 ? ["mean coefficients", ...means] : [])].join("\n");
}
