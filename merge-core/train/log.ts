// The loss log: one JSON object per step. Node only.
import { appendFile, readFile, writeFile } from "node:fs/promises";

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
  append(record: LogRecord): Promise<void>;
}

/** Opens a log for a run that goes on after `step`: what a killed run wrote beyond it is cut off, a half-written line too. */
export async function openLog(file: string, step: number): Promise<TrainLog> {
  const lines = step === 0 ? [] : (await readFile(file, "utf8")).split("\n").slice(0, step);
  await writeFile(file, lines.map((line) => `${line}\n`).join(""));
  return {
    kept: lines.filter((line) => line !== "").map((line) => JSON.parse(line) as LogRecord),
    append: (record) => appendFile(file, `${JSON.stringify(record)}\n`),
  };
}
