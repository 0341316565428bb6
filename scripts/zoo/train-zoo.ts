// Data, base, experts and adapters, in a working folder.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeMixture, makeSplits, TASKS, type TaskName, toJsonl } from "../../merge-core/evaluate/synthetic-tasks.ts";
import { writeJson } from "../../merge-core/nn/save.ts";
import { TRAIN_DEFAULTS, type TrainConfig } from "../../merge-core/train/config.ts";
import { train } from "../../merge-core/train/train.ts";
import { byteTokenizer, byteTokenizerConfig } from "./byte-tokenizer.ts";
import { ADAPTER_STAGE, BASE_STAGE, CONFIG, CONTEXT, EXPERT_STAGES, LORA, PRACTICE, PRACTICE_SIZE, SEED, SPLITS, type Stage } from "./settings.ts";

export interface ZooTraining {
  readonly work: string;
  readonly threads: number;
  readonly log: (line: string) => void;
}

/** Makes everything under `work`: data/, base/, one folder per task, adapters/. */
export async function trainZoo(run: ZooTraining): Promise<void> {
  await makeData(join(run.work, "data"));
  await makeSkeleton(join(run.work, "skeleton"));
  const base = join(run.work, "base");
  const practice = { train: [join(run.work, "data", "practice.jsonl")], validation: [] };
  await runStage(run, "base", BASE_STAGE, { model: join(run.work, "skeleton"), data: practice, init: "random", method: { kind: "full" } });
  for (const task of TASKS) {
    const shared = { model: base, data: dataOf(run, task), init: "pretrained" as const };
    await runStage(run, task, EXPERT_STAGES[task], { ...shared, method: { kind: "full" } });
    await runStage(run, join("adapters", task), ADAPTER_STAGE, { ...shared, method: LORA });
    await nameBaseModel(join(run.work, "adapters", task));
  }
}

/** Writes the splits, and the mixture that the base practises on. */
export async function makeData(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const heldOut = new Set<string>();
  for (const task of TASKS) {
    const splits = makeSplits(task, SPLITS);
    for (const { prompt } of [...splits.validation, ...splits.test]) heldOut.add(prompt);
    for (const split of ["train", "validation", "test"] as const) await writeFile(join(folder, `${task}.${split}.jsonl`), toJsonl(splits[split]));
  }
  const mixture = makeMixture(PRACTICE, SEED, PRACTICE_SIZE, heldOut);
  await writeFile(join(folder, "practice.jsonl"), toJsonl(mixture));
}

function dataOf({ work }: ZooTraining, task: TaskName): TrainConfig["data"] {
  return { train: [join(work, "data", `${task}.train.jsonl`)], validation: [join(work, "data", `${task}.validation.jsonl`)] };
}

/** A folder with the architecture and the tokenizer, from which training starts at random. */
export async function makeSkeleton(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeJson(join(folder, "config.json"), CONFIG);
  await writeJson(join(folder, "tokenizer.json"), byteTokenizer());
  await writeJson(join(folder, "tokenizer_config.json"), byteTokenizerConfig(CONTEXT));
}

async function runStage(run: ZooTraining, name: string, stage: Stage, rest: Pick<TrainConfig, "model" | "data" | "init" | "method">): Promise<void> {
  const { steps, ...settings } = stage;
  const config: TrainConfig = { ...TRAIN_DEFAULTS, ...settings, ...rest, length: { steps }, seed: SEED, dtype: "BF16" };
  const out = join(run.work, name);
  await mkdir(join(out, ".."), { recursive: true });
  const result = await train(config, out, {
    threads: run.threads,
    onProgress: ({ step, loss }) => {
      if (step % 100 === 0) run.log(`  ${name}: step ${step} of ${steps}, loss ${loss.toFixed(4)}`);
    },
  });
  // The log and the settings name folders of this machine; the zoo's README has what a reader needs.
  for (const file of ["training.json", "training-log.jsonl"]) await rm(join(out, file), { force: true });
  run.log(`${name}: ${result.seconds.toFixed(0)} s, validation loss ${result.validationLoss?.toFixed(4) ?? "not measured"}`);
}

/** The trainer wrote where the base lay while training; in the zoo it lies two folders up. */
async function nameBaseModel(adapter: string): Promise<void> {
  const file = join(adapter, "adapter_config.json");
  const config = JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
  await writeJson(file, { ...config, base_model_name_or_path: "../../base" });
}
