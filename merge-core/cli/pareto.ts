// weightsmith pareto CONFIG OUT, and weightsmith pareto OUT --at P -o MODEL.

import { inputError } from "../diagnostics.ts";
import type { FrontFile, FrontPoint } from "../pareto/front-file.ts";
import { formatDuration } from "../units.ts";
import type { Command, CommandContext } from "./command.ts";
import { writeFrontPage } from "./front-page.ts";
import { type Arguments, flag, OVERWRITE, positionals, THREADS, text, threads } from "./options.ts";
import { formatTable } from "./output.ts";

export const pareto: Command = {
  name: "pareto",
  summary: "find the best trade-offs between measures, and merge at one of them",
  usage: "CONFIG OUT | OUT --at P,P,... -o MODEL | OUT --evaluate C,C,... | OUT --recipe C,C,...",
  help: `
Measures merges at some settings of their coefficients, fits a quadratic to each objective, lets NSGA-III search these for
trade-offs, and measures what it proposes (MAP, arXiv 2406.07529). Every number in OUT/pareto.json is measured on a real
merge, beside it what was predicted. A killed search goes on by the same command; a trial that fails is noted and passed over.

  base: ./base                 # or recipe: any recipe with {search: [0, 1]} in place of numbers
  models: [./math, ./code]     # one coefficient each, of task arithmetic
  objectives:
    - { name: math, metric: exact_match, data: math.validation.jsonl }
    - { name: code, metric: loss, data: code.validation.jsonl }
    - { name: mine, command: [python, score.py, "{model}"], direction: max, timeout: 600 }   # the number it prints; value: exit for its status
  method: map                  # or bmap, nested_map (with preference: [...]), simplex (weights that sum to 1, spread evenly)
  samples: 30                  # default (n + 1)(n + 2) for n coefficients
  front: 20                    # proposals that are measured

Objectives are metrics as eval knows them, commands that print a number, or the sizes {metric: parameters}, {metric: bytes}.
With --at, writes the merge of the front that serves a preference best, one weight for each objective. With --evaluate,
measures one more setting of the coefficients and adds it to the file; with --recipe, prints the recipe of a setting.

  weightsmith pareto search.yml ./front
  weightsmith pareto ./front --at 0.3,0.7 -o ./merged
  weightsmith pareto ./front --evaluate 0.45,0.5`,
  options: [
    { name: "at", type: "string", value: "P,P,...", doc: "how much each objective counts: writes a merge of the front" },
    { name: "out", short: "o", type: "string", value: "MODEL", doc: "with --at: the folder to make" },
    { name: "evaluate", type: "string", value: "C,C,...", doc: "a setting of the coefficients: measures it and adds it to the file" },
    { name: "recipe", type: "string", value: "C,C,...", doc: "a setting of the coefficients: prints its recipe" },
    THREADS,
    OVERWRITE,
  ],
  async run(args, context) {
    const at = text(args, "at");
    if (at !== undefined) return pick(args, at, context);
    const setting = text(args, "evaluate");
    if (setting !== undefined) return evaluate(args, setting, context);
    const printed = text(args, "recipe");
    if (printed !== undefined) return printRecipe(args, printed, context);
    const [file = "", out = ""] = positionals(args, ["CONFIG", "OUT"]);
    const { output, signal } = context;
    const [{ readParetoConfig }, { runPareto }] = await Promise.all([import("../pareto/pareto-config.ts"), import("../pareto/run-pareto.ts")]);
    const { front, frontFile, resumed, seconds } = await runPareto(await readParetoConfig(file), out, {
      threads: threads(args),
      overwrite: flag(args, "overwrite"),
      signal,
      onProgress: ({ done, total, detail }) => output.progress({ stage: "pareto", done, total, unit: "items", detail }),
    });
    const reportFile = await writeFrontPage(front, frontFile);
    output.result({ ...front, frontFile, reportFile, resumed, seconds }, `${page(front, frontFile, seconds)}\n${reportFile}`);
  },
};

async function pick(args: Arguments, at: string, { output, signal }: CommandContext): Promise<void> {
  const [folder = ""] = positionals(args, ["OUT"]);
  const out = text(args, "out");
  if (out === undefined) throw inputError("usage", "where to write the merge is not said", { expected: "OUT --at P,P,... -o MODEL" });
  const { mergeAtPreference } = await import("../pareto/merge-at.ts");
  const { point, result } = await mergeAtPreference(folder, at, out, { threads: threads(args), overwrite: flag(args, "overwrite"), signal });
  const values = point.values.map((value) => value?.toPrecision(4)).join(", ");
  output.result({ point, ...result }, `${out}: ${point.id} at ${(point.coefficients ?? []).map((c) => c.toPrecision(4)).join(", ")}, measured ${values}`);
}

async function evaluate(args: Arguments, setting: string, { output, signal }: CommandContext): Promise<void> {
  const [folder = ""] = positionals(args, ["OUT"]);
  const { evaluateAt } = await import("../pareto/evaluate-at.ts");
  const { front, point } = await evaluateAt(folder, setting, {
    threads: threads(args),
    signal,
    onProgress: ({ done, total, detail }) => output.progress({ stage: "evaluate", done, total, unit: "items", detail }),
  });
  const values = point.values.map((value, i) => `${front.objectives[i]?.name} ${value?.toPrecision(4)}`).join(", ");
  output.result({ point }, `${point.id}: ${values}${point.onFront ? ", on the front" : ""}`);
}

async function printRecipe(args: Arguments, setting: string, { output }: CommandContext): Promise<void> {
  const [folder = ""] = positionals(args, ["OUT"]);
  const { recipeAt } = await import("../pareto/evaluate-at.ts");
  const recipe = await recipeAt(folder, setting);
  output.result({ recipe }, recipe);
}

function page(front: FrontFile, file: string, seconds: number): string {
  const shown = (value: number | null) => (value === null ? "" : Number(value.toPrecision(5)).toString());
  const row = (point: FrontPoint) => [
    point.id,
    point.label ?? (point.coefficients ?? []).map((c) => c.toFixed(2)).join(" "),
    ...(point.status === "failed" ? [point.error ?? "failed"] : point.values.map(shown)),
  ];
  const header = ["point", front.coefficients.map(({ name }) => name).join(" "), ...front.objectives.map(({ name }) => name)];
  const rows = [...front.points.filter(({ kind }) => kind === "baseline"), ...front.points.filter(({ onFront }) => onFront)].map(row);
  const table = formatTable(
    header,
    rows,
    header.map((_, i) => i).filter((i) => i >= 2),
  );
  const errors = front.surrogates.map(
    ({ objective, fitError, frontError }) => `${objective} ${fitError.toPrecision(2)}${frontError === null ? "" : ` and ${frontError.toPrecision(2)}`}`,
  );
  const failed = front.points.filter(({ status }) => status === "failed").length;
  return [
    table,
    "",
    `Baselines, then the front. Hypervolume ${front.hypervolume.toPrecision(5)} to the reference ${front.reference.map(shown).join(", ")}; knee ${front.knee ?? "none"}.`,
    ...(errors.length === 0 ? [] : [`Error of the surrogates on their samples and on the front: ${errors.join("; ")}.`]),
    ...(failed === 0 ? [] : [`${failed} trials failed; pareto.json says why.`]),
    `${file} (${formatDuration(seconds)})`,
  ].join("\n");
}
