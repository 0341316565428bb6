// The loss on the straight line between two models (linear mode connectivity), measured in memory.
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { evaluate } from "../evaluate/evaluate.ts";
import { narrowFromFloat32, widenToFloat32 } from "../formats/dtype-codecs.ts";
import { isFloat } from "../formats/dtypes.ts";
import { initBackend } from "../nn/backend.ts";
import { readExamples } from "../nn/data.ts";
import { disposeDecoder, type TensorData } from "../nn/load.ts";
import { modelFromTensors, readTensors } from "../nn/model.ts";

export interface BarrierOptions {
  readonly points: number;
  readonly limit?: number | undefined;
  readonly threads?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onPoint?: (done: number, total: number) => void;
}

export interface LossLine {
  /** Nats per token at evenly spaced points from the first model to the second. */
  readonly losses: readonly number[];
  /** Most that the loss rises above the line between the losses of both ends; not below 0. */
  readonly barrier: number;
}

/** One line from A to each of `others`. @throws WeightsmithError `data-*`, `model-*`, `unsupported-*`, `cancelled` */
export async function lossLines(
  a: Checkpoint,
  others: readonly Checkpoint[],
  dataFiles: readonly string[],
  options: BarrierOptions,
): Promise<readonly LossLine[]> {
  const examples = (await Promise.all(dataFiles.map((file) => readExamples(file)))).flat();
  await initBackend(options.threads === undefined ? {} : { threads: options.threads });
  const signalled = options.signal === undefined ? {} : { signal: options.signal };
  const from = await readTensors(a, signalled);
  const lines: LossLine[] = [];
  const total = others.length * options.points;
  for (const other of others) {
    const to = await readTensors(other, signalled);
    const losses: number[] = [];
    for (let i = 0; i < options.points; i++) {
      throwIfCancelled(options.signal);
      options.onPoint?.(lines.length * options.points + i, total);
      const model = await modelFromTensors(a.folder, between(from, to, i / (options.points - 1)));
      try {
        const limit = options.limit === undefined ? {} : { limit: options.limit };
        const { loss } = await evaluate(model, examples, { metrics: ["loss"], ...limit, ...signalled });
        if (loss === undefined) throw inputError("data-no-tokens", "the data gives this model nothing to predict", { file: dataFiles.join(", ") });
        losses.push(loss);
      } finally {
        disposeDecoder(model.decoder);
      }
    }
    lines.push({ losses, barrier: barrierOf(losses) });
  }
  return lines;
}

/** max over lambda of L(between) - ((1 - lambda) L(first) + lambda L(last)). */
export function barrierOf(losses: readonly number[]): number {
  const [first = 0, last = 0] = [losses[0], losses.at(-1)];
  const steps = Math.max(1, losses.length - 1);
  return Math.max(...losses.map((loss, i) => loss - ((1 - i / steps) * first + (i / steps) * last)));
}

function between(a: ReadonlyMap<string, TensorData>, b: ReadonlyMap<string, TensorData>, share: number): Map<string, TensorData> {
  const mixed = new Map<string, TensorData>();
  for (const [name, x] of a) {
    const y = b.get(name);
    mixed.set(name, y === undefined || !isFloat(x.dtype) || !isFloat(y.dtype) ? x : { dtype: "F32", shape: x.shape, data: mix(x, y, share) });
  }
  return mixed;
}

function mix(x: TensorData, y: TensorData, share: number): Uint8Array {
  if (!isFloat(x.dtype) || !isFloat(y.dtype)) throw new TypeError("only floats have a middle");
  const [from, to] = [widenToFloat32(x.dtype, x.data), widenToFloat32(y.dtype, y.data)];
  return narrowFromFloat32(
    "F32",
    from.map((value, i) => (1 - share) * value + share * (to[i] as number)),
  );
}
