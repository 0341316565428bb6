// What logs and progress hold, as data; pure.
import type { LogRecord } from "../../merge-core/train/log.ts";
import type { RunSample } from "../../webviews/protocol.ts";

const NUMBERS = ["loss", "lr", "gradNorm", "tokensPerSecond"] as const;

/** Records of a log; lines that are none are passed over: the last may be half written, and the file may be another's. */
export function parseLog(text: string): LogRecord[] {
  return text.split("\n").flatMap((line) => {
    try {
      const record: unknown = JSON.parse(line);
      return isRecord(record) ? [withNumbers(record)] : [];
    } catch {
      return [];
    }
  });
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> & { step: number } =>
  typeof value === "object" && value !== null && "step" in value && typeof value.step === "number";

/** JSON has no NaN: what is missing or null becomes it. */
function withNumbers(record: Readonly<Record<string, unknown>> & { step: number }): LogRecord {
  const number = (key: string) => (typeof record[key] === "number" ? record[key] : Number.NaN);
  const [loss, lr, gradNorm, tokensPerSecond] = NUMBERS.map(number);
  const validation = typeof record.validationLoss === "number" ? { validationLoss: record.validationLoss } : {};
  return {
    step: record.step,
    loss: loss ?? Number.NaN,
    lr: lr ?? Number.NaN,
    gradNorm: gradNorm ?? Number.NaN,
    tokensPerSecond: tokensPerSecond ?? Number.NaN,
    ...validation,
  };
}

const MOST_SAMPLES = 1000;

/** Every other one of too many, the last always: a long run keeps its shape. */
export const thinSamples = (samples: readonly RunSample[]): RunSample[] =>
  samples.length <= MOST_SAMPLES ? [...samples] : samples.filter((_, i) => i % 2 === 0 || i === samples.length - 1);
