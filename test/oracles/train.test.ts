// Training followed step by step beside torch and PEFT: same data, same order, same start (peft_goldens.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as tf from "@tensorflow/tfjs-core";
import { readPeftLora } from "../../merge-core/adapters/peft-lora.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { parseDecoderConfig } from "../../merge-core/nn/config.ts";
import type { Decoder, LowRank } from "../../merge-core/nn/llama.ts";
import { createDecoder, disposeDecoder } from "../../merge-core/nn/load.ts";
import { ropeTable } from "../../merge-core/nn/rope.ts";
import { stepGradients } from "../../merge-core/train/gradients.ts";
import { adamW, createAdamState, globalNorm } from "../../merge-core/train/optimizer.ts";
import { learningRate } from "../../merge-core/train/schedule.ts";
import { readTensors } from "./read-tensors.ts";

const ORACLES = "test/fixtures/oracles";
/** Both sides are float32 with sums in different orders; over 50 steps the paths may drift apart by this much. */
const LOSS_TOLERANCE = 1e-3;

interface StoredRun {
  readonly base: string;
  readonly settings: { lr: number; weight_decay: number; schedule: "constant" | "cosine"; warmup: number; clip: number; accumulate: number; ignore: number };
  readonly batches: readonly (readonly (readonly number[])[])[];
  readonly losses: readonly number[];
  readonly gradient_norms: readonly number[];
  readonly learning_rates: readonly number[];
}

describe("Training beside torch and PEFT", () => {
  before(() => initBackend({ threads: 1 }));

  for (const name of ["train-constant", "train-scheduled", "train-full"]) {
    it(`gives the same losses and gradient norms over 50 steps: ${name}`, async () => {
      const run = JSON.parse(readFileSync(`${ORACLES}/peft/${name}/run.json`, "utf8")) as StoredRun;
      const { losses, norms } = await follow(run, `${ORACLES}/peft/${name}`, name === "train-full");
      assert.equal(losses.length, 50);
      assert.ok(largestDifference(losses, run.losses) < LOSS_TOLERANCE, `losses ${largestDifference(losses, run.losses)}`);
      assert.ok(largestDifference(norms, run.gradient_norms) < 10 * LOSS_TOLERANCE, `norms ${largestDifference(norms, run.gradient_norms)}`);
    });
  }

  it("warms up and cools down as the stored run does", () => {
    const { settings, learning_rates } = JSON.parse(readFileSync(`${ORACLES}/peft/train-scheduled/run.json`, "utf8")) as StoredRun;
    const schedule = { peak: settings.lr, warmupSteps: settings.warmup, totalSteps: 50, floor: 0 };
    const ours = learning_rates.map((_, i) => learningRate(schedule, i + 1));
    assert.ok(largestDifference(ours, learning_rates) < 1e-12);
  });
});

async function follow(run: StoredRun, folder: string, full: boolean): Promise<{ losses: number[]; norms: number[] }> {
  const base = await loadBase(run.base);
  const lora = full ? undefined : await loadLora(folder);
  const decoder: Decoder = lora === undefined ? base : { ...base, lora };
  const parameters: ReadonlyMap<string, tf.Tensor> =
    lora === undefined
      ? base.weights
      : new Map(
          [...lora].flatMap(([module, { a, b }]) => [
            [`${module}.A`, a],
            [`${module}.B`, b],
          ]),
        );
  const { settings } = run;
  const adam = createAdamState(parameters);
  const table = ropeTable(base.config, run.batches[0]?.[0]?.length ?? 0);
  const losses: number[] = [];
  const norms: number[] = [];
  for (const [i, batch] of run.batches.entries()) {
    const rows = batch.map((tokens) => ({ tokens, lossFrom: Math.max(1, settings.ignore) }));
    const { loss, gradients } = stepGradients(parameters, divide(rows, settings.accumulate), () => decoder, table);
    const norm = globalNorm(gradients);
    const optimizer = { lr: run.learning_rates[i] ?? 0, betas: [0.9, 0.999] as const, eps: 1e-8, weightDecay: settings.weight_decay };
    adamW(parameters, gradients, adam, { ...optimizer, step: i + 1, gradientScale: settings.clip > 0 ? Math.min(1, settings.clip / norm) : 1 });
    tf.dispose([...gradients.values()]);
    losses.push(loss);
    norms.push(norm);
  }
  disposeDecoder(decoder);
  return { losses, norms };
}

async function loadBase(name: string): Promise<Decoder> {
  const config = parseDecoderConfig(JSON.parse(readFileSync(`${ORACLES}/${name}/config.json`, "utf8")));
  return createDecoder(config, await readTensors(`${ORACLES}/${name}/model.safetensors`), name);
}

async function loadLora(folder: string): Promise<Map<string, LowRank>> {
  const { modules } = await readPeftLora(folder);
  return new Map(
    [...modules].map(([module, { r, inFeatures, outFeatures, a, b, scale }]) => [
      module,
      { a: tf.tensor2d(a, [r, inFeatures]), b: tf.tensor2d(b, [outFeatures, r]), scale },
    ]),
  );
}

function divide<T>(rows: readonly T[], parts: number): T[][] {
  const size = rows.length / parts;
  return Array.from({ length: parts }, (_, i) => rows.slice(i * size, (i + 1) * size));
}

function largestDifference(a: readonly number[], b: readonly number[]): number {
  assert.equal(a.length, b.length);
  return Math.max(...a.map((value, i) => Math.abs(value - (b[i] ?? Number.NaN))));
}
