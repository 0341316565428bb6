// From settings to an optimiser over a run's parameters: AdamW on all threads, every other rule on plain arrays.
import type * as tf from "@tensorflow/tfjs-core";
import { liveValues } from "../nn/storage.ts";
import { loraProOptimizer } from "./lora-pro-optimizer.ts";
import { adamW8bitRule } from "./optimisers/adamw-8bit.ts";
import { apolloRule } from "./optimisers/apollo.ts";
import { frugalRule } from "./optimisers/frugal.ts";
import { galoreRule } from "./optimisers/galore.ts";
import { lionRule } from "./optimisers/lion.ts";
import type { Parameter, Rule, State } from "./optimisers/rule.ts";
import { sgdRule } from "./optimisers/sgd.ts";
import { adamW, createAdamState, disposeAdamState } from "./optimizer.ts";
import type { OptimizerSettings } from "./optimizer-config.ts";
import type { Optimizer } from "./run-optimizer.ts";

type Tensors = ReadonlyMap<string, tf.Tensor>;

export type { Optimizer, OptimizerStep } from "./run-optimizer.ts";

/**
 * @param seed of what rules draw
 * @param factorScale what the product of LoRA's factors is multiplied by, where such are trained
 */
export function makeOptimizer(parameters: Tensors, settings: OptimizerSettings, seed: number, factorScale = 1): Optimizer {
  if (settings.rule?.name === "lora_pro_adamw") return loraProOptimizer(parameters, settings, factorScale, (rest) => adamWOptimizer(rest, settings));
  const rule = ruleOf(settings);
  return rule === undefined ? adamWOptimizer(parameters, settings) : ruleOptimizer(parameters, rule, settings.weightDecay, seed);
}

/** Undefined for AdamW, and for what takes no gradients. */
function ruleOf({ rule, betas, eps }: OptimizerSettings): Rule | undefined {
  if (rule === undefined || rule.name === "mezo" || rule.name === "lora_pro_adamw") return undefined;
  if (rule.name === "lion") return lionRule({ betas });
  if (rule.name === "sgd") return sgdRule;
  if (rule.name === "galore") return galoreRule({ betas, eps, ...rule });
  if (rule.name === "apollo") return apolloRule({ betas, eps, ...rule });
  return rule.name === "frugal" ? frugalRule({ betas, eps, ...rule }) : adamW8bitRule({ betas, eps });
}

function adamWOptimizer(parameters: Tensors, settings: OptimizerSettings): Optimizer {
  const adam = createAdamState(parameters);
  const named = (kind: string, tensors: Tensors) => [...tensors].map(([name, tensor]) => [`adam.${kind}/${name}`, liveValues(tensor)] as const);
  return {
    state: new Map([...named("m", adam.m), ...named("v", adam.v)]),
    step: (gradients, at) => adamW(parameters, gradients, adam, { ...settings, ...at }),
    dispose: () => disposeAdamState(adam),
  };
}

function ruleOptimizer(tensors: Tensors, rule: Rule, weightDecay: number, seed: number): Optimizer {
  const parameters = [...tensors].map(([name, { shape, size }]): Parameter => ({ name, shape, size }));
  const states = new Map<string, State>(parameters.map((parameter) => [parameter.name, rule.start(parameter)]));
  return {
    state: new Map([...states].flatMap(([name, state]) => Object.entries(state).map(([kind, array]) => [`optimizer.${kind}/${name}`, array]))),
    step(gradients, { lr, step, gradientScale, rateOf }) {
      for (const parameter of parameters) {
        const { name, shape } = parameter;
        const [tensor, gradient] = [tensors.get(name), gradients.get(name)];
        if (tensor === undefined || gradient === undefined) continue;
        const g = liveValues(gradient);
        const scaled = gradientScale === 1 ? g : g.map((x) => x * gradientScale);
        // As with AdamW: decaying norms and biases towards zero regularises nothing.
        const at = { lr: lr * rateOf(name), step, seed, weightDecay: shape.length > 1 ? weightDecay : 0 };
        rule.step(liveValues(tensor), scaled, states.get(name) ?? {}, parameter, at);
      }
    },
    dispose() {},
  };
}
