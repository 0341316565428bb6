// weightsmith adapter merge: several adapters into one LoRA.
import { COMBINATIONS, type Combination, isOfRecipes } from "../../adapters/combine.ts";
import { inputError } from "../../diagnostics.ts";
import type { FloatDType } from "../../formats/dtypes.ts";
import { metricWeights } from "../../methods/mwa.ts";
import { findMethod } from "../../methods/registry.ts";
import { modelOpener } from "../../plan/open-model.ts";
import { modelReference } from "../../recipe/model-reference.ts";
import { type CombineResult, combineAdapters, type WeighedBy } from "../../run/combine-adapters.ts";
import type { Command } from "../command.ts";
import { DOWNLOAD, openerOptions } from "../load-plan.ts";
import { type Arguments, flag, MEMORY, number, OVERWRITE, SEED, THREADS, text, threads } from "../options.ts";
import { formatDuration, formatTable } from "../output.ts";

export const DTYPES: Readonly<Record<string, FloatDType>> = { float32: "F32", bfloat16: "BF16", float16: "F16" };

export const merge: Command = {
  name: "adapter merge",
  summary: "merge adapters into one LoRA",
  usage: "ADAPTER ADAPTER... -o OUT",
  help: `
Merges adapters into one LoRA that PEFT loads, module by module and without the dense matrices of their changes.

exact adds the changes up. Without --rank nothing is lost and ranks add up; with it each module gets the best
approximation of that rank, and how much it loses is told. All families that are low-rank products can take part. Others
that fold (OFT, HRA, DoRA, IA3, ...) can too with --base, by exact, the svd methods, knots and pcb: the change of each is
what it makes of the untouched base, less the base; LoKr, C3A and sparse ones need the base only for the sides of layers
that no other adapter tells. Give --rank then, or the result has the ranks of whole matrices. A bias that IA3 changes is
in the result as PEFT's bias: lora_only has it. See weightsmith adapter compare for what to expect of a merge.

The others give the numbers of PEFT's add_weighted_adapter: cat and svd are sums too; linear, ties, dare_linear,
dare_ties and magnitude_prune work on the factors one by one, which mixes one adapter's A with another's B; the same
names with _svd work on the changes themselves. For each the distance from the exact sum is told. linear of IA3 adapters
alone is the sum of their vectors, as in PEFT.

average of adapters that are all OFT, PSOFT, IA3 or norms makes one of the same family, by the means of what they turn or
scale by: the mean of rotations turns too, which their sum does not. It needs no base, and the same settings in all. Of
LoRA, average takes the means of the factors, which is right for checkpoints of one training run; mwa does too, and those
of lower --loss or of later --step weigh more: by the share of (1 / loss)^penalty or step^penalty, or with --softmax by
the softmax of penalty times the z-scores, as the recipes' method of that name has it. With another method --loss and
--step give the same weights: exact with --rank is then the mean of the changes themselves. copa prunes factors and scales
ranks against each other (CoPA-Merging), as the paper has it; copa_released as its released code, which mixes factors of
different adapters.

compose makes one adapter of several OFT or several HRA adapters that does what they do one after another, in the order given:
it multiplies their rotations, or lists their mirrors. Rotations made by a series (use_cayley_neumann) are none exactly: how far
the result is from the product is told.

knots and pcb are the recipes' methods of these names, on the changes of the adapters as if they were models' differences
from a base of zeros: --parameters has what recipes call alpha, elect, ratio, ... (see weightsmith methods knots). knots
goes without dense matrices and keeps all of its directions unless --rank is given; pcb makes one module's changes dense at
a time, and its result is cut to --rank.

  weightsmith adapter merge ./math ./code -o ./both
  weightsmith adapter merge ./math ./code --weights 0.7,0.3 --rank 16 -o ./both
  weightsmith adapter merge ./math ./code --method ties --density 0.5 -o ./both
  weightsmith adapter merge ./math ./code --method knots --parameters density=0.3,alpha=1 -o ./both
  weightsmith adapter merge ./oft-first ./oft-second --method compose -o ./both
  weightsmith adapter merge ./run/step-500 ./run/step-1000 --method mwa --loss 0.92,0.87 -o ./mean`,
  options: [
    { name: "out", short: "o", type: "string", value: "OUT", doc: "the folder to make" },
    { name: "weights", type: "string", value: "W,W,...", doc: "one for each adapter (default: 1 each, 2 for copa, 1.2 for pcb, the mean for average)" },
    { name: "method", type: "string", value: "NAME", choices: COMBINATIONS, doc: `${COMBINATIONS.join(", ")} (default: exact)` },
    { name: "rank", type: "integer", value: "R", doc: "rank of the result, for exact, the svd methods, knots and pcb" },
    { name: "density", type: "string", value: "SHARE", doc: "share of elements that ties, dare, magnitude_prune and copa keep (default: 1, 0.2 for copa)" },
    { name: "parameters", type: "string", value: "NAME=X,...", doc: "of knots and pcb, as recipes name them (default: as in recipes)" },
    { name: "loss", type: "string", value: "L,L,...", doc: "training loss of each checkpoint, in place of weights" },
    { name: "step", type: "string", value: "S,S,...", doc: "step of each checkpoint, in place of weights" },
    { name: "penalty", type: "string", value: "P", doc: "how much losses or steps count: 0 weighs all alike (default: 1)" },
    { name: "softmax", type: "flag", doc: "weigh by the softmax of the z-scores of losses or steps instead of by their powers" },
    { name: "majority", type: "string", value: "RULE", choices: ["total", "frequency"], doc: "how ties elects signs: by sums or by counts (default: total)" },
    {
      name: "base",
      type: "string",
      value: "MODEL",
      doc: "the base model, for families that are no low-rank products or do not tell the sides of their layers",
    },
    { name: "dtype", type: "string", value: "DTYPE", choices: Object.keys(DTYPES), doc: "of the result (default: float32)" },
    SEED,
    MEMORY,
    THREADS,
    OVERWRITE,
    DOWNLOAD,
  ],
  async run(args, context) {
    const { output, signal } = context;
    const adapters = args.positionals;
    if (adapters.length === 0) throw inputError("usage", "no adapters to merge", { expected: "ADAPTER ADAPTER... -o OUT", remedy: "see --help" });
    const method = (text(args, "method") ?? "exact") as Combination;
    const result = await combineAdapters({
      adapters,
      ...weighed(args, method),
      method,
      out: outOf(args),
      rank: rankOf(args),
      density: shareOf(args, "density", isCopa(method) ? 0.2 : 1),
      ...parametersOf(args, method),
      majority: text(args, "majority") === "frequency" ? "frequency" : "total",
      seed: number(args, "seed") ?? 0,
      base: await openBase(args, context),
      dtype: DTYPES[text(args, "dtype") ?? "float32"] ?? "F32",
      overwrite: flag(args, "overwrite"),
      threads: threads(args),
      ...(number(args, "memory") === undefined ? {} : { memoryBytes: number(args, "memory") as number }),
      signal,
      onProgress: (done, total, detail) => output.progress({ stage: "merge", done, total, unit: "items", detail }),
    });
    output.diagnostics(result.warnings);
    output.result(result, report(result));
  },
};

export function outOf(args: Arguments): string {
  const out = text(args, "out");
  if (out !== undefined) return out;
  throw inputError("usage", "option --out is missing", { expected: "-o OUT" });
}

/** Weights by a metric of each adapter, given ones, or the method's own. */
function weighed(args: Arguments, method: Combination): { weights: readonly number[]; weighed?: WeighedBy } {
  const sources = ["weights", "loss", "step"].filter((name) => text(args, name) !== undefined);
  if (sources.length > 1) throw inputError("usage", "weights come from one source", { found: sources.map((name) => `--${name}`).join(" and ") });
  const metric = METRICS.find((name) => text(args, name) !== undefined);
  if (metric !== undefined) return byMetric(args, metric);
  if (method === "mwa")
    throw inputError("usage", "mwa needs the loss of every adapter, or the step of every one", { expected: "--loss L,L,... or --step S,S,..." });
  const given = numbersOf(args, "weights", "such as 0.7,0.3; --weights=-1,1 where the first is negative");
  const weights = given ?? args.positionals.map(() => defaultWeight(method));
  return { weights: method === "average" ? sharesOf(weights) : weights };
}

/** The authors'. */
function defaultWeight(method: Combination): number {
  if (isOfRecipes(method)) return findMethod(method)?.parameters.find(({ name }) => name === "weight")?.default ?? 1;
  return isCopa(method) ? 2 : 1;
}

/** Names and numbers; which of them the method has is its own matter. */
function parametersOf(args: Arguments, method: Combination): { parameters?: Readonly<Record<string, number>> } {
  const given = text(args, "parameters");
  const wrong = (problem: string, found: string, expected: string) => inputError("usage", problem, { found, expected });
  if (isOfRecipes(method) && text(args, "density") !== undefined)
    throw wrong(`${method} takes its shares by --parameters`, "--density", method === "knots" ? "--parameters density=X" : "--parameters ratio=X");
  if (given === undefined) return {};
  if (!isOfRecipes(method)) throw wrong(`${method} takes no --parameters`, given, "--method knots or pcb");
  const pairs = given.split(",").map((word) => /^\s*(\w+)\s*=\s*(\S+)\s*$/.exec(word));
  const numbers = pairs.map((pair) => [pair?.[1] ?? "", Number(pair?.[2] ?? Number.NaN)] as const);
  if (numbers.some(([, value]) => Number.isNaN(value)))
    throw wrong("option --parameters is not a list of names and numbers", given, "such as alpha=1,density=0.3");
  return { parameters: Object.fromEntries(numbers) };
}

const METRICS = ["loss", "step"] as const;
const isCopa = (method: Combination): boolean => method === "copa" || method === "copa_released";

function byMetric(args: Arguments, metric: (typeof METRICS)[number]): { weights: readonly number[]; weighed: WeighedBy } {
  const values = numbersOf(args, metric, metric === "loss" ? "such as 0.92,0.87" : "such as 500,1000") ?? [];
  const penalty = Number(text(args, "penalty") ?? 1);
  if (!(penalty >= 0 && penalty < Number.POSITIVE_INFINITY))
    throw inputError("usage", "option --penalty is not a number of at least 0", { found: text(args, "penalty") ?? "" });
  if (values.length !== args.positionals.length)
    throw inputError("usage", `there must be one ${metric} for each adapter`, { found: String(values.length), expected: String(args.positionals.length) });
  if (values.some((x) => x <= 0)) throw inputError("usage", "losses and steps must be above 0", { found: values.join(", ") });
  const softmax = flag(args, "softmax");
  return { weights: metricWeights(metric, values, penalty, softmax), weighed: { [metric]: values, penalty, softmax } };
}

/** The same in sum 1. */
function sharesOf(weights: readonly number[]): number[] {
  const sum = weights.reduce((a, b) => a + b, 0);
  if (sum === 0) throw inputError("usage", "the weights of an average sum to zero", { found: weights.join(", ") });
  return weights.map((weight) => weight / sum);
}

function numbersOf(args: Arguments, name: string, expected: string): number[] | undefined {
  const given = text(args, name);
  if (given === undefined) return undefined;
  const numbers = given.split(",").map((word) => (word.trim() === "" ? Number.NaN : Number(word)));
  if (numbers.every(Number.isFinite)) return numbers;
  throw inputError("usage", `option --${name} is not a list of numbers`, { found: given, expected });
}

export function rankOf(args: Arguments): number | undefined {
  const rank = number(args, "rank");
  if (rank === 0) throw inputError("usage", "option --rank must be at least 1", { found: "0" });
  return rank;
}

export function shareOf(args: Arguments, name: string, fallback: number): number {
  const given = text(args, name);
  const share = given === undefined ? fallback : Number(given);
  if (share > 0 && share <= 1) return share;
  throw inputError("usage", `option --${name} is not a share`, { found: given ?? "", expected: "a number above 0 and at most 1" });
}

/** The model that --base names. */
export async function openBase(args: Arguments, context: Parameters<Command["run"]>[1]) {
  const path = text(args, "base");
  if (path === undefined) return undefined;
  const range = { line: 0, column: 0, endLine: 0, endColumn: 0, offset: 0, end: 0 };
  return modelOpener(".", openerOptions(args, context))(modelReference({ path }, undefined, range));
}

/** The modules that lose most, and the sum. */
function report({ out, type, modules, averaged, largestError, parameters, seconds, method }: CombineResult): string {
  const worst = [...modules].sort((x, y) => y.relativeError - x.relativeError).slice(0, 5);
  const table = formatTable(
    ["module", "rank", "distance from the exact sum"],
    worst.map(({ module, rank, relativeError }) => [module, String(rank), relativeError.toExponential(2)]),
    [1, 2],
  );
  const line = `${out}: ${(averaged ?? modules).length} modules by ${method}, ${parameters.toLocaleString("en")} parameters, in ${formatDuration(seconds)}`;
  const lost = largestError < 1e-6 ? "" : `; up to ${largestError.toExponential(2)} of the change away from the product`;
  if (averaged !== undefined) return `${line}; ${type}, as the adapters are${lost}`;
  return largestError === 0 ? `${line}; exact` : `${table}\n\n${line}`;
}
