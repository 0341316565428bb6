// Exact match of one model on several tasks: one row of the table that merging is judged by. Node only.
import { join } from "node:path";
import { throwIfCancelled } from "../diagnostics.ts";
import { type Example, readExamples } from "../nn/data.ts";
import type { Model } from "../nn/model.ts";
import { evaluate } from "./evaluate.ts";

/** Examples by task. */
export type TaskData = ReadonlyMap<string, readonly Example[]>;

/** Reads `FOLDER/TASK.SPLIT.jsonl` of each task. */
export async function readTaskData(folder: string, tasks: readonly string[], split: "validation" | "test"): Promise<TaskData> {
  return new Map(await Promise.all(tasks.map(async (task) => [task, await readExamples(join(folder, `${task}.${split}.jsonl`))] as const)));
}

/** Fraction of each task's answers that greedy generation gets exactly right. */
export async function measureTasks(model: Model, data: TaskData, options: { readonly signal?: AbortSignal } = {}): Promise<Record<string, number>> {
  const result: Record<string, number> = {};
  for (const [task, examples] of data) {
    throwIfCancelled(options.signal);
    const { exactMatch } = await evaluate(model, examples, { ...options, metrics: ["exactMatch"], batchSize: 256 });
    result[task] = exactMatch ?? Number.NaN;
  }
  return result;
}
