// From what a config asks for to what is trained. Node only.
import type { Settings } from "../adapters/family.ts";
import { findFamily } from "../adapters/registry.ts";
import { fisherDiagonal } from "../evaluate/statistics/fisher.ts";
import type { TokenRow } from "../nn/data.ts";
import type { Model } from "../nn/model.ts";
import { adapterTrainable } from "./adapter-trainable.ts";
import { planBatches } from "./batches.ts";
import type { AdapterSettings, LoraSettings, TrainConfig } from "./config.ts";
import { fullTrainable, type Trainable } from "./trainable.ts";

/** Rows from which families choose what to train. */
const FISHER_ROWS = 1024;

/** @param rows the training data */
export async function makeTrainable(model: Model, config: TrainConfig, rows: readonly TokenRow[], signal?: AbortSignal): Promise<Trainable> {
  const { method } = config;
  if (method.kind === "full") return fullTrainable(model, config);
  const adapter = adapterSettings(method);
  const needsFisher = findFamily(adapter.family)?.training?.needsFisher === true;
  const options = { mode: "empirical" as const, batchSize: config.batchSize, ...(signal === undefined ? {} : { signal }) };
  const fisher = needsFisher ? await fisherDiagonal(model.decoder, rows.slice(0, FISHER_ROWS), options) : undefined;
  const { totalSteps } = planBatches(config, rows);
  return adapterTrainable(model.decoder, adapter, config, { fisher, totalSteps });
}

/** Plain LoRA is one family among others. */
export const adapterSettings = (method: Exclude<TrainConfig["method"], { kind: "full" }>): AdapterSettings =>
  method.kind === "lora" ? plainLora(method) : method;

function plainLora({ r, alpha, dropout, targetModules }: LoraSettings): AdapterSettings {
  return { family: "LORA", targetModules, dropout, settings: { ...defaultSettings("LORA"), r, lora_alpha: alpha } };
}

/** Of a family and its training. */
export function defaultSettings(type: string): Settings {
  const family = findFamily(type);
  return Object.fromEntries([...(family?.settings ?? []), ...(family?.training?.settings ?? [])].map((setting) => [setting.name, setting.default]));
}
