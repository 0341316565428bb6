// weightsmith train-front CONFIG OUT
import type { FrontPoint } from "../pareto/front-file.ts";
import type { Command } from "./command.ts";
import { flag, OVERWRITE, positionals, THREADS, threads } from "./options.ts";
import { formatDuration, formatTable } from "./output.ts";
import { chooseTrainingEngine, TRAINING_DEVICE } from "./training-device.ts";

export const trainFront: Command = {
  name: "train-front",
  summary: "train one network for all preferences between tasks",
  usage: "CONFIG OUT",
  help: `
Trains parameters that give a network for every preference between tasks: PaLoRA (shared weights and one low-rank adapter for
each task; preferences move from the middle to the corners) or PaMaL (arXiv 2210.09759; one copy of the weights for each task).
The network of a preference is a weighted mean of what is written, an ordinary merge. The front is measured on the
validation data; then the network of a preference is made by weightsmith pareto OUT/front --at. A run that was stopped or
killed goes on when it is started again, on the --device that it began on or with --device cpu.

  model: ./base
  method: palora               # or pamal
  tasks:
    - { name: math, train: math.train.jsonl, validation: math.validation.jsonl }
    - { name: code, train: code.train.jsonl, validation: code.validation.jsonl }
  steps: 500
  batch_size: 16               # of each task
  rays: 4                      # preferences in a step
  rank: 4                      # of palora; anneal: 5
  regularizer: 0               # of pamal: penalty for losses that rise with their weight
  cosine: 0                    # of palora: penalty for adapters that point the same way
  balance: none                # loss, gradient or full: keeps one task from drowning the others

  weightsmith train-front front.yml ./front-network
  weightsmith pareto ./front-network/front --at 0.3,0.7 -o ./model`,
  options: [THREADS, TRAINING_DEVICE, OVERWRITE],
  async run(args, context) {
    const { output, signal } = context;
    const [file = "", out = ""] = positionals(args, ["CONFIG", "OUT"]);
    const [{ readTrainFrontConfig }, { trainFront: run }] = await Promise.all([import("../pareto/train-front-config.ts"), import("../pareto/train-front.ts")]);
    const config = await readTrainFrontConfig(file);
    const { front, frontFile, seconds } = await run(config, out, {
      threads: threads(args),
      ...(await chooseTrainingEngine(args, context)),
      overwrite: flag(args, "overwrite"),
      signal,
      onProgress: ({ done, total, detail }) => output.progress({ stage: "train-front", done, total, unit: "items", detail }),
    });
    const names = front.objectives.map(({ name }) => name);
    const row = ({ coefficients, values }: FrontPoint) => [
      (coefficients ?? []).map((c) => c.toFixed(2)).join(" "),
      ...values.map((value) => value?.toPrecision(4) ?? "failed"),
    ];
    const table = formatTable(
      ["preference", ...names],
      front.points.map(row),
      names.map((_, i) => i + 1),
    );
    output.result(
      { ...front, frontFile, seconds },
      `${table}\n\nHypervolume ${front.hypervolume.toPrecision(5)} to ${front.reference.map((x) => x.toPrecision(4)).join(", ")}.\n${frontFile} (${formatDuration(seconds)})`,
    );
  },
};
