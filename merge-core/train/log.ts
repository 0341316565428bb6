// The loss log: one JSON object per step. Node only.
import { appendFile, readFile, truncate, writeFile } from "node:fs/promises";

export interface LogRecord {
  readonly step: number;
  /** Mean over the step's predicted tokens, in nats. */
  readonly loss: number;
  readonly lr: number;
  /** Global norm before clipping. */
  readonly gradNorm: number;
  readonly tokensPerSecond: number;
  readonly validationLoss?: number;
}

export interface TrainLog {
  /** The records that were kept on opening. */
  readonly kept: readonly LogRecord[];
  /** Adds the record of the next step, or puts another in the place of the last step's. */
  put(record: LogRecord): Promise<void>;
}

/** Opens a log for a run that goes on after `step`: what a killed run wrote beyond it is cut off, a half-written line too. */
export async function openLog(file: string, step: number): Promise<TrainLog> {
  const lines = step === 0 ? [] : (await readFile(file, "utf8")).split("\n").slice(0, step);
  const text = lines.map((line) => `${line}\n`);
  await writeFile(file, text.join(""));
  const kept = lines.filter((line) => line !== "").map((line) => JSON.parse(line) as LogRecord);
  let lastStep = kept.at(-1)?.step;
  let size = Buffer.byteLength(text.join(""));
  let lastSize = Buffer.byteLength(text.at(-1) ?? "");
  return {
    kept,
    async put(record) {
      if (record.step === lastStep) {
        size -= lastSize;
        await truncate(file, size);
      }
      const line = `${JSON.stringify(record)}\n`;
      await appendFile(file, line);
      [lastStep, lastSize, size] = [record.step, line.length, size + line.length];
    },
  };
}
