// MoLoRA and MoV (Zadouri et al., 2023): for each token a router mixes the changes of several experts, LoRAs or IA3 vectors;
// and a mixture of which only the likeliest LoRAs count, whose experts can be merged into one afterwards.

import type { Algebra } from "../algebra/algebra.ts";
import { defineFamily } from "../define-family.ts";
import { type FamilySetting, frozen, nativeType, numberOf, type Settings, trained } from "../family.ts";
import { largestOf, type Part, part } from "../family-math.ts";
import { filled, type Site, type Start, tensor, zeros } from "../family-training.ts";

const PAPER = {
  title: "Pushing Mixture of Experts to the Limit: Extremely Parameter Efficient MoE for Instruction Tuning",
  year: 2023,
  url: "https://arxiv.org/abs/2309.05444",
};
const EXPERTS: FamilySetting = { name: "n_experts", default: 10, count: true, doc: "experts of each layer" };
const RANK: FamilySetting = { name: "r", default: 4, count: true, doc: "rank of each expert", pattern: "rank_pattern" };
const ALPHA: FamilySetting = { name: "lora_alpha", default: 16, doc: "scale times r", pattern: "alpha_pattern" };

export const molora = defineFamily({
  type: nativeType("molora"),
  title: "MoLoRA",
  paper: PAPER,
  formula: "y + (alpha / r) sum_e p_e B_e A_e x, p = softmax(router x)",
  settings: [RANK, ALPHA, EXPERTS],
  tensors: trained("molora_A", "molora_B", "molora_router"),
  shared: [],
  needsBase: false,
  foldable: "no",
  shapes: expertShapes,
  math: {
    forward: (m, p, x, linear) => m.add(linear(x), throughExperts(m, p, x, routed(m, p, x))),
    chosen: (m, p, choice) => merged(m, p, choice, undefined),
  },
  training: { start: startExperts },
});

export const mixtureOfLoras = defineFamily({
  type: nativeType("mol"),
  title: "mixture of LoRAs",
  paper: { title: "Improving Recursive Transformers with Mixture of LoRAs", year: 2025, url: "https://arxiv.org/abs/2512.12880" },
  formula: "y + (alpha / r) sum p_e B_e A_e x over the top_k largest p = softmax(router x); expert merging: fixed p_e for all inputs",
  settings: [RANK, ALPHA, { ...EXPERTS, default: 4 }, { name: "top_k", default: 2, count: true, doc: "experts of each token" }],
  tensors: [...trained("molora_A", "molora_B", "molora_router"), ...frozen("molora_usage")],
  shared: [],
  needsBase: false,
  foldable: "no",
  shapes: (layer, settings) => ({ ...expertShapes(layer, settings), molora_usage: [numberOf(settings, "n_experts")] }),
  math: {
    forward(m, p, x, linear, { observe }) {
      const weights = largestOf(m, routed(m, p, x), numberOf(p.settings, "top_k"));
      if (observe !== undefined) observe(p.module, "molora_usage", meanOfRows(m.valuesOf(weights), numberOf(p.settings, "n_experts")));
      return m.add(linear(x), throughExperts(m, p, x, weights));
    },
    chosen: (m, p, choice) => merged(m, p, choice, "molora_usage"),
  },
  training: {
    start: (site) => ({ ...startExperts(site), molora_usage: filled(1 / numberOf(site.settings, "n_experts"), numberOf(site.settings, "n_experts")) }),
  },
});

export const mov = defineFamily({
  type: nativeType("mov"),
  title: "MoV",
  paper: PAPER,
  formula: "y * sum_e p_e l_e, p = softmax(router x)",
  settings: [EXPERTS],
  tensors: trained("mov_l", "molora_router"),
  shared: [],
  needsBase: false,
  foldable: "no",
  shapes({ inFeatures, outFeatures }, settings) {
    const experts = numberOf(settings, "n_experts");
    return { mov_l: [experts, outFeatures], molora_router: [experts, inFeatures] };
  },
  math: { forward: (m, p, x, linear) => m.mul(linear(x), m.matMul(routed(m, p, x), part(p, "mov_l"))) },
  training: {
    start({ layer, settings, random }) {
      const experts = numberOf(settings, "n_experts");
      return { mov_l: filled(1, experts, layer.outFeatures), molora_router: startRouter(random, experts, layer.inFeatures) };
    },
  },
});

function expertShapes({ inFeatures, outFeatures }: Site["layer"], settings: Settings) {
  const [r, experts] = [numberOf(settings, "r"), numberOf(settings, "n_experts")];
  return { molora_A: [experts, r, inFeatures], molora_B: [outFeatures, experts, r], molora_router: [experts, inFeatures] };
}

function startExperts({ layer, settings, random }: Site): Start {
  const [r, experts] = [numberOf(settings, "r"), numberOf(settings, "n_experts")];
  return {
    molora_A: tensor(random.normal("molora_A", experts * r * layer.inFeatures, 0.02), experts, r, layer.inFeatures),
    molora_B: zeros(layer.outFeatures, experts, r),
    molora_router: startRouter(random, experts, layer.inFeatures),
  };
}

const startRouter = (random: Site["random"], experts: number, inputs: number) =>
  tensor(random.normal("molora_router", experts * inputs, 0.02), experts, inputs);

/** How likely each expert is for each row [rows, experts]. */
const routed = <T>(m: Algebra<T>, p: Part<T>, x: T): T => m.softmax(m.matMul(x, part(p, "molora_router"), { transposeB: true }));

const scaleOf = ({ settings }: Part<unknown>): number => numberOf(settings, "lora_alpha") / numberOf(settings, "r");

/** The experts' changes, each row's weighted by `weights` [rows, experts]. */
function throughExperts<T>(m: Algebra<T>, p: Part<T>, x: T, weights: T): T {
  const [experts = 0, r = 0, inputs = 0] = m.shapeOf(part(p, "molora_A"));
  const rows = m.shapeOf(x)[0] ?? 0;
  const low = m.reshape(m.matMul(x, m.reshape(part(p, "molora_A"), [experts * r, inputs]), { transposeB: true }), [rows, experts, r]);
  const weighted = m.reshape(m.mul(low, m.reshape(weights, [rows, experts, 1])), [rows, experts * r]);
  return m.scale(m.matMul(weighted, m.reshape(part(p, "molora_B"), [p.layer.outFeatures, experts * r]), { transposeB: true }), scaleOf(p));
}

/** One LoRA with the experts in fixed shares: alike (`uniform`), or as much as training used them (`usage`). */
function merged<T>(m: Algebra<T>, p: Part<T>, choice: string, usage: string | undefined) {
  const [experts = 0, r = 0, inputs = 0] = m.shapeOf(part(p, "molora_A"));
  if (choice !== "uniform" && (choice !== "usage" || usage === undefined)) throw new RangeError(usage === undefined ? "uniform" : "uniform, usage");
  const shares = choice === "usage" && usage !== undefined ? part(p, usage) : m.constant(new Float32Array(experts).fill(1 / experts), [experts]);
  const b = m.mul(part(p, "molora_B"), m.reshape(shares, [1, experts, 1]));
  return { a: m.reshape(part(p, "molora_A"), [experts * r, inputs]), b: m.reshape(b, [p.layer.outFeatures, experts * r]), scale: scaleOf(p) };
}

function meanOfRows(values: ArrayLike<number>, width: number): number[] {
  const sums = new Array<number>(width).fill(0);
  for (let at = 0; at < values.length; at++) sums[at % width] = (sums[at % width] as number) + (values[at] as number);
  return sums.map((sum) => (sum * width) / values.length);
}
