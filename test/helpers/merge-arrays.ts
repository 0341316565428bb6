// Runs one merge method on arrays in memory, through the plain TypeScript engine.
import { createReferenceEngine } from "../../merge-core/compute/reference.ts";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import type { MergeInput, MergeTask } from "../../merge-core/methods/method.ts";
import { findMethod } from "../../merge-core/methods/registry.ts";

export interface ArrayModel {
  readonly values: readonly number[] | Float32Array;
  readonly isBase?: boolean;
  readonly parameters?: Readonly<Record<string, number | null>>;
}

export interface ArrayMerge {
  readonly shape?: readonly number[];
  readonly seed?: number;
  readonly name?: string;
  readonly parameters?: Readonly<Record<string, number>>;
  readonly inputsAlongRows?: boolean;
}

/** The task as a run would build it, with defaults for every parameter not given. */
export function arrayTask(id: string, models: readonly ArrayModel[], options: ArrayMerge = {}, warnings: Omit<Diagnostic, "severity">[] = []): MergeTask {
  const method = findMethod(id);
  if (method === undefined) throw new RangeError(`no method ${id}`);
  const defaults = (scope: "global" | "model") =>
    Object.fromEntries(method.parameters.flatMap((p) => (p.scope === scope && p.default !== undefined ? [[p.name, p.default]] : [])));
  const inputs = models.map(
    ({ isBase = false, parameters }, i): MergeInput => ({
      index: i,
      model: `model ${i}`,
      modelIndex: i,
      isBase,
      parameters: { ...defaults("model"), ...parameters },
    }),
  );
  return {
    name: options.name ?? "x",
    shape: options.shape ?? [models[0]?.values.length ?? 0],
    inputs,
    base: inputs.find((i) => i.isBase),
    others: inputs.filter((i) => !i.isBase),
    parameters: { ...defaults("global"), ...options.parameters },
    ...(options.inputsAlongRows === undefined ? {} : { inputsAlongRows: options.inputsAlongRows }),
    warn: (d) => void warnings.push(d),
  };
}

/** The merged values. */
export async function mergeArrays(
  id: string,
  models: readonly ArrayModel[],
  options: ArrayMerge = {},
  warnings: Omit<Diagnostic, "severity">[] = [],
): Promise<Float32Array> {
  const task = arrayTask(id, models, options, warnings);
  const inputs = models.map(({ values }) => Float32Array.from(values));
  const engine = createReferenceEngine({ name: task.name, shape: task.shape, seed: options.seed ?? 0, inputs });
  return engine.write(await (findMethod(id) as NonNullable<ReturnType<typeof findMethod>>).merge(task, engine));
}
