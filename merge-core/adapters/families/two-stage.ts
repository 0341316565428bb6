// Two-stage tuning (2023): first the norms alone, then, of each layer, the few channels that matter most for the task. The paper's
// parametrisation of channels is not published: here each chosen output is multiplied by a trained factor, and its
// importance is the first-order Taylor estimate of Molchanov et al. (2019), the sum of (gradient weight)^2 over its weights.

import type { Algebra } from "../algebra/algebra.ts";
import { defineFamily } from "../define-family.ts";
import { indices, nativeType, numberOf, tensorOf, trained } from "../family.ts";
import { indexOf, type Part, part } from "../family-math.ts";
import { type Site, tensor, zeros } from "../family-training.ts";

export const twoStage = defineFamily({
  type: nativeType("two-stage"),
  title: "two-stage tuning",
  paper: { title: "Revisit Parameter-Efficient Transfer Learning: A Two-Stage Paradigm", year: 2023, url: "https://arxiv.org/abs/2303.07910" },
  formula: "trained norms, and diag(1 + scale at the chosen channels) (W x + b)",
  settings: [{ name: "channels", default: 8, count: true, doc: "outputs of each layer that are trained" }],
  tensors: [...trained("twostage_scale"), ...indices("twostage_places")],
  shared: [],
  needsBase: true,
  foldable: "exact",
  replaces: "ln_tuning_layers",
  shapes(_, settings) {
    const count = numberOf(settings, "channels");
    return { twostage_scale: [count, 1], twostage_places: [count] };
  },
  biasFactor(module) {
    const factors = new Float64Array(module.layer.outFeatures).fill(1);
    const [scales, places] = [tensorOf(module, "twostage_scale").values, tensorOf(module, "twostage_places").values];
    for (let k = 0; k < places.length; k++) factors[places[k] as number] = 1 + (scales[k] as number);
    return factors;
  },
  math: {
    forward: (m, p, x, linear) => m.mul(linear(x), m.reshape(factors(m, p), [1, p.layer.outFeatures])),
    weight: (m, p, weight) => m.mul(weight, m.reshape(factors(m, p), [p.layer.outFeatures, 1])),
  },
  training: {
    needsFisher: true,
    settings: [{ name: "first_stage", default: 0.5, doc: "share of the steps that train norms, before those that train channels" }],
    start(site) {
      const count = numberOf(site.settings, "channels");
      return { twostage_scale: zeros(count, 1), twostage_places: tensor(Int32Array.from(importantChannels(site, count)), count) };
    },
    rates(settings, progress) {
      const first = progress < numberOf(settings, "first_stage");
      return { weight: first ? 1 : 0, twostage_scale: first ? 0 : 1 };
    },
  },
});

function factors<T>(m: Algebra<T>, p: Part<T>): T {
  const scales = part(p, "twostage_scale");
  const [count = 0] = m.shapeOf(scales);
  const change = m.scatter(m.reshape(scales, [count]), indexOf(p, "twostage_places"), p.layer.outFeatures);
  return m.add(change, m.constant([1], [1]));
}

function importantChannels({ layer: { inFeatures, outFeatures }, weight, fisher, place }: Site, count: number): number[] {
  const squares = fisher?.[place] ?? [];
  const importance = new Float64Array(outFeatures);
  for (let at = 0; at < squares.length; at++) {
    const o = Math.floor(at / inFeatures);
    importance[o] = (importance[o] as number) + (squares[at] as number) * (weight[at] as number) ** 2;
  }
  return Array.from({ length: outFeatures }, (_, o) => o)
    .sort((a, b) => (importance[b] as number) - (importance[a] as number) || a - b)
    .slice(0, count)
    .sort((a, b) => a - b);
}
