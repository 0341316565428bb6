// LoRA-Pro with AdamW over a run's parameters; what is no factor of a LoRA is left to AdamW.
import type * as tf from "@tensorflow/tfjs-core";
import { allLiveValues, liveValues } from "../nn/storage.ts";
import { factorPairs } from "./factor-pairs.ts";
import { move } from "./optimisers/adam-direction.ts";
import { type FullMoments, loraProAdamW } from "./optimisers/lora-pro-adamw.ts";
import { decay, type StateArray } from "./optimisers/rule.ts";
import type { OptimizerSettings } from "./optimizer-config.ts";
import type { Optimizer, OptimizerStep } from "./run-optimizer.ts";

type Tensors = ReadonlyMap<string, tf.Tensor>;

/** @param scale what the product of the factors is multiplied by @param makeRest makes the optimiser of all other parameters */
export function loraProOptimizer(parameters: Tensors, settings: OptimizerSettings, scale: number, makeRest: (rest: Tensors) => Optimizer): Optimizer {
  const found = factorPairs(parameters, scale);
  const moments = new Map<string, FullMoments>(
    found.map(({ nameA, pair: { inputs, outputs } }) => [nameA, { m: new Float32Array(inputs * outputs), v: new Float32Array(inputs * outputs) }]),
  );
  const inPairs = new Set(found.flatMap(({ nameA, nameB }) => [nameA, nameB]));
  const rest = makeRest(new Map([...parameters].filter(([name]) => !inPairs.has(name))));
  const named = [...moments].flatMap(([name, { m, v }]): [string, StateArray][] => [
    [`lora-pro.m/${name}`, m],
    [`lora-pro.v/${name}`, v],
  ]);
  return {
    state: new Map([...named, ...rest.state]),
    step(gradients, at) {
      // Anew in each step: the same arrays, which a device takes what is written to next.
      for (const { nameA, nameB, pair } of factorPairs(parameters, scale)) {
        const [gradA, gradB] = [nameA, nameB].map((name) => scaled(gradients.get(name), at.gradientScale));
        const own = moments.get(nameA);
        if (gradA === undefined || gradB === undefined || own === undefined) continue;
        loraProAdamW(pair, gradA, gradB, own, at.step, settings);
        descend(parameters.get(nameA), gradA, nameA, settings, at);
        descend(parameters.get(nameB), gradB, nameB, settings, at);
      }
      rest.step(gradients, at);
    },
    dispose: () => rest.dispose(),
  };
}

const scaled = (gradient: tf.Tensor | undefined, scale: number): Float32Array | undefined =>
  gradient === undefined ? undefined : liveValues(gradient).map((x) => x * scale);

function descend(tensor: tf.Tensor | undefined, direction: Float32Array, name: string, { weightDecay }: OptimizerSettings, at: OptimizerStep): void {
  const theta = tensor === undefined ? undefined : allLiveValues([tensor])[0];
  if (theta === undefined) return;
  const step = { lr: at.lr * at.rateOf(name), weightDecay, step: at.step, seed: 0 };
  decay(theta, step);
  move(theta, direction, step);
}
