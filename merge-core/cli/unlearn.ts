// weightsmith unlearn CONFIG OUT
import type { UnlearnReport } from "../unlearn/unlearn.ts";
import type { Command } from "./command.ts";
import { flag, OVERWRITE, positionals, THREADS, threads } from "./options.ts";
import { formatTable } from "./output.ts";

export const unlearn: Command = {
  name: "unlearn",
  summary: "take a skill or data out of a model, and measure what that costs",
  usage: "CONFIG OUT",
  help: `
Edits a model's weights so that it forgets what the data of forget teaches, tries several strengths, and writes to OUT/model
the edit that forgets most while retain and control keep at least the share floor of what they were. OUT/unlearn.json tells
all that was tried, and forget, retain and control before and after, on the test data.

  method: ssd       # Fisher ratio dampening (arXiv 2308.07707): thresholds alpha by strengths
          slug      # one gradient, one tensor, a search for the step (SLUG, ICML 2025)
          negate    # a negated task vector (arXiv 2212.04089): needs expert, and base if that is not model; lambda by strengths

  model: ./model
  method: ssd
  forget: { train: secret.train.jsonl, validation: secret.validation.jsonl, test: secret.test.jsonl }
  retain: { train: other.train.jsonl, validation: other.validation.jsonl, test: other.test.jsonl }
  control: general.jsonl       # default: as retain
  metric: exact_match          # or loss, multiple_choice
  floor: 0.95
  strengths: [5, 10, 50]       # lambdas of negate, default 0.05 to 1; alphas of ssd, default 1 to 1000, the larger the less is changed
  lambda: 1                    # of ssd: smaller dampens more
  target: 0                    # of slug: forget metric at which a step is long enough; layers: 4 and tries: 10 tensors and steps
  limit: 500                   # only the first so many examples of each

SSD weighs forget.train against retain.train; its authors take all training data for the latter, forget.train included.
A run that was stopped or killed goes on when it is started again.

  weightsmith unlearn unlearn.yml ./forgetful`,
  options: [THREADS, OVERWRITE],
  async run(args, { output, signal }) {
    const [file = "", out = ""] = positionals(args, ["CONFIG", "OUT"]);
    const [{ readUnlearnConfig }, { unlearn: run }] = await Promise.all([import("../unlearn/config.ts"), import("../unlearn/unlearn.ts")]);
    const report = await run(await readUnlearnConfig(file), out, {
      threads: threads(args),
      overwrite: flag(args, "overwrite"),
      signal,
      onProgress: ({ done, total, detail }) => output.progress({ stage: "unlearn", done, total, unit: "items", detail }),
    });
    output.result({ out, ...report }, page(out, report));
  },
};

const ADVICE: Readonly<Record<string, string>> = {
  ssd: "Larger strengths change less.",
  negate: "Smaller strengths change less.",
  slug: "More layers or a nearer target may do better.",
};

function page(out: string, { method, metric, before, after, chosen, keeps, floor, candidates, sameSplit }: UnlearnReport): string {
  const shown = (value: number) => Number(value.toPrecision(4)).toString();
  const rows = (["forget", "retain", "control"] as const).map((name) => [name, shown(before[name]), shown(after[name])]);
  return [
    formatTable([metric, "before", "after"], rows, [1, 2]),
    "",
    `${chosen}, of ${candidates.length} edits.${keeps ? "" : ` None kept ${floor} of retain and control; this one has the best balance. ${ADVICE[method] ?? ""}`}`,
    ...(sameSplit ? ["Some of the test data also chose the edit, which flatters it: give validation and test files of their own."] : []),
    `${out}/model, ${out}/unlearn.json`,
  ].join("\n");
}
