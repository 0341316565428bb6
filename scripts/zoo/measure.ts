// Exact match of every model of the zoo on the held-out test splits.
import { join } from "node:path";
import { foldLora } from "../../merge-core/adapters/lora.ts";
import { readPeftLora } from "../../merge-core/adapters/peft-lora.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { measureTasks, readTaskData, type TaskData } from "../../merge-core/evaluate/measure-tasks.ts";
import { TASKS, type TaskName } from "../../merge-core/evaluate/synthetic-tasks.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel, type Model, modelFromTensors, readTensors } from "../../merge-core/nn/model.ts";

export interface Measurement {
  readonly name: string;
  readonly kind: "base" | "expert" | "adapter";
  readonly task?: TaskName;
  readonly exactMatch: Readonly<Record<string, number>>;
}

/** Measures base, experts and folded adapters in `zoo`. */
export async function measureZoo(zoo: string, threads: number): Promise<Measurement[]> {
  await initBackend({ threads });
  const data = await readTaskData(join(zoo, "data"), TASKS, "test");
  const base = join(zoo, "base");
  const results: Measurement[] = [{ name: "base", kind: "base", exactMatch: await measure(await loadModel(base), data) }];
  for (const task of TASKS) results.push({ name: task, kind: "expert", task, exactMatch: await measure(await loadModel(join(zoo, task)), data) });
  const tensors = await readTensors(await openCheckpoint(base));
  for (const task of TASKS) {
    const folder = join(zoo, "adapters", task);
    const model = await modelFromTensors(base, foldLora(tensors, await readPeftLora(folder), folder));
    results.push({ name: `adapters/${task}`, kind: "adapter", task, exactMatch: await measure(model, data) });
  }
  return results;
}

async function measure(model: Model, data: TaskData): Promise<Record<string, number>> {
  try {
    return await measureTasks(model, data);
  } finally {
    disposeDecoder(model.decoder);
  }
}
