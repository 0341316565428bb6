// Whatever a training file asks for. Node only.
import type { TrainConfig } from "../train/config.ts";
import { type TrainOptions, type TrainResult, train } from "../train/train.ts";
import { trainSlices } from "./train-slices.ts";

export const runTraining = (config: TrainConfig, out: string, options: TrainOptions = {}): Promise<TrainResult> =>
  (config.slices === undefined ? train : trainSlices)(config, out, options);
