// weightsmith train CONFIG OUT: full fine-tuning of a decoder model, or an adapter beside it.
import type { TrainResult } from "../train/train.ts";
import type { Command } from "./command.ts";
import { flag, number, OVERWRITE, positionals, SEED, THREADS, threads } from "./options.ts";
import { formatDuration } from "./output.ts";
import { chooseTrainingEngine, TRAINING_DEVICE } from "./training-device.ts";

export const train: Command = {
  name: "train",
  summary: "fine-tune a model, or train an adapter",
  usage: "CONFIG OUT",
  help: `
Trains as the YAML file CONFIG says and writes OUT: a model folder, or for method: lora an adapter as PEFT writes it.
method: adapter trains one of any family; each has settings of its own (weightsmith adapter families --json). Where the
family tells tasks apart, each file of data.train is a task.
The loss of every step goes to OUT's loss log. With save_every a killed run is taken up where it was by the same
command, and ends with the same weights as one that was not interrupted. --device blas lets this machine's own OpenBLAS,
MKL or Accelerate multiply matrices, some two times faster; last digits then depend on it, and OUT's training.json names it.
--device webgpu trains on a GPU, tfjs-node-gpu and tfjs-node with TensorFlow's libraries: weightsmith doctor says what is here.
Where one fails, this processor goes on after the last step that it did.

  model: ./base
  data: { train: train.jsonl, validation: validation.jsonl }   # lines {"prompt": ..., "completion": ...} or {"text": ...}
  method: lora
  lora: { r: 8, alpha: 16, target_modules: [q_proj, v_proj] }
  optimizer: { lr: 1e-3 }
  schedule: { warmup_steps: 20 }
  epochs: 3
  batch_size: 16

  optimizer: { name: lion, lr: 1e-4 }                          # adamw, adamw_8bit, lion, sgd, lora_pro_adamw; for all weights galore, apollo,
                                                               # frugal; from losses alone mezo, sparse_mezo
  optimizer: { lora_pro: true, groups: [{ match: lora_B, rate: 16 }] }
  early_stopping: { patience: 3 }                              # with eval_every: keeps the weights of the lowest validation loss
  gradient_checkpointing: true                                 # less memory, the same gradients
  base_dtype: float32                                          # beside an adapter: the base takes twice the memory of bf16, which is
                                                               # kept as it is stored by default (auto), for the same losses and some speed

  slices: { layers: 1, orders: 3 }                             # each file of data.train can be taken out again, exactly:
                                                               # weightsmith adapter remove-slice (S3T)

  method: adapter                                              # in place of lora
  adapter: { family: vera, r: 64, target_modules: [q_proj, v_proj] }

  weightsmith train lora.yml ./adapter`,
  options: [THREADS, SEED, TRAINING_DEVICE, OVERWRITE],
  async run(args, context) {
    const { output, signal } = context;
    const [file = "", out = ""] = positionals(args, ["CONFIG", "OUT"]);
    // Imported when needed: loading the training code takes longer than most commands run.
    const [{ readTrainConfig }, { runTraining }] = await Promise.all([import("../train/config.ts"), import("../slices/run-training.ts")]);
    const config = await readTrainConfig(file);
    const seed = number(args, "seed");
    const engine = await chooseTrainingEngine(args, context);
    const result = await runTraining(seed === undefined ? config : { ...config, seed }, out, {
      threads: threads(args),
      ...engine,
      overwrite: flag(args, "overwrite"),
      signal,
      onWarning: (warning) => output.diagnostics([warning]),
      onProgress: (p) => output.progress({ stage: "train", done: p.step, total: p.totalSteps, unit: "steps", detail: `loss ${p.loss.toFixed(4)}` }),
    });
    output.result(result, report(result));
  },
};

function report(r: TrainResult): string {
  const resumed = r.resumedFrom > 0 ? `, resumed from step ${r.resumedFrom}` : "";
  const validation = r.validationLoss === undefined ? "" : `, validation loss ${r.validationLoss.toFixed(4)}`;
  return `${r.out}: ${r.steps} steps${resumed} in ${formatDuration(r.seconds)}, ${r.parameters.toLocaleString("en")} trained parameters, loss ${r.trainLoss.toFixed(4)}${validation}`;
}
