// What a transfer is asked for and what it tells.
import type { AdapterFile } from "../adapters/read-adapter.ts";
import type { Diagnostic } from "../diagnostics.ts";
import type { FallbackOptions } from "../nn/engine.ts";
import type { TrainConfig } from "../train/config.ts";

/** `threads`, `blas` and `device` say what computes both models. */
export interface TransferRequest extends FallbackOptions {
  readonly adapter: string;
  /** The base that the adapter is for. */
  readonly from: string;
  /** The base that it is to be for. */
  readonly to: string;
  /** JSONL with some prompts of the task; answers, if they are there, only measure the result. */
  readonly seeds: string;
  readonly out: string;
  readonly settings: TransferSettings;
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: TransferProgress) => void;
}

export interface TransferSettings {
  /** Prompts to learn from. */
  readonly examples: number;
  readonly temperature: number;
  /** A prompt is kept if the discriminator gives it at least this probability of being real. */
  readonly threshold: number;
  readonly generatorSteps: number;
  readonly discriminatorSteps: number;
  readonly epochs: number;
  readonly lr: number;
  readonly batchSize: number;
  readonly seed: number;
  readonly dtype: TrainConfig["dtype"];
  /** Default: the source's, or 16 if it is no LoRA. */
  readonly rank?: number | undefined;
  /** Kinds of layers. Default: the source's. */
  readonly targets?: readonly string[] | undefined;
  /** Of an answer. Default: twice the longest that the seeds have, or 256. */
  readonly maxNewTokens?: number | undefined;
}

/** The paper's learning rate. Its 20 epochs are fewer here, as prompts cost less than steps. */
export const TRANSFER_DEFAULTS: TransferSettings = {
  examples: 1000,
  temperature: 1,
  threshold: 0.5,
  generatorSteps: 60,
  discriminatorSteps: 60,
  epochs: 10,
  lr: 2e-4,
  batchSize: 16,
  seed: 0,
  dtype: "F32",
};

export interface TransferProgress {
  readonly stage: "generator" | "discriminator" | "draw" | "answer" | "distil";
  readonly done: number;
  readonly total: number;
  readonly unit: "steps" | "items";
  readonly detail: string;
}

export interface TransferResult {
  readonly out: string;
  readonly seeds: number;
  /** Drawn, without doubles. */
  readonly candidates: number;
  readonly accepted: number;
  /** Accepted prompts that the source answered to the end. */
  readonly answered: number;
  /** Mean probability of being real that the discriminator gives to seeds and to candidates. */
  readonly realness: { readonly seeds: number; readonly candidates: number };
  readonly parameters: number;
  readonly trainLoss: number;
  /** On the seeds' own answers, where they have any. */
  readonly validationLoss: number | undefined;
  readonly warnings: readonly Diagnostic[];
}

/** A real prompt. */
export interface Seed {
  readonly prompt: string;
  readonly completion?: string;
}

/** What all phases know. */
export interface TransferRun {
  readonly request: TransferRequest;
  readonly adapter: AdapterFile;
  readonly seeds: readonly Seed[];
  /** OUT.partial */
  readonly work: string;
}
