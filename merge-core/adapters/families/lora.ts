// LoRA (Hu et al., 2021): W' = W + s B A, s = alpha / r; rank-stabilised (Kalajdzievski, 2023): s = alpha / sqrt(r);
// with a magnitude (DoRA, Liu et al., 2024) each output's weights are then brought to that norm.
import { elementCount } from "../../formats/dtypes.ts";
import type { Algebra } from "../algebra/algebra.ts";
import {
  type AdapterFamily,
  type AdapterModule,
  addLowRank,
  type LowRank,
  lowRankOf,
  numberOf,
  optional,
  RANK,
  type RowChange,
  type Settings,
  suffixed,
  trained,
  valuesOf,
} from "../family.ts";
import { type Factors, type Part, part } from "../family-math.ts";
import { elasticFactors } from "./elastic.ts";
import { startLora, storedLora, takenOffBase } from "./lora-start.ts";
import { ROWS } from "./trainable-tokens.ts";

export const lora: AdapterFamily = {
  type: "LORA",
  title: "LoRA, rsLoRA, DoRA",
  paper: { title: "LoRA: Low-Rank Adaptation of Large Language Models", year: 2021, url: "https://arxiv.org/abs/2106.09685" },
  formula: "W + (alpha / r) B A; use_rslora: W + (alpha / sqrt(r)) B A; use_dora: m * V / |V| by rows, V = W + s B A",
  settings: [
    RANK,
    { name: "lora_alpha", default: 8, doc: "scale times r", pattern: "alpha_pattern" },
    { name: "use_rslora", default: false, doc: "divide alpha by sqrt(r) instead of r (2312.03732)" },
    { name: "use_dora", default: false, doc: "train magnitudes too (2402.09353)" },
  ],
  tensors: [
    ...suffixed(trained("lora_A", "lora_B")),
    ...trained("lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector"),
    ...optional(trained("lora_B.bias", ROWS)),
  ],
  shared: [],
  needsBase: false,
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings, held) {
    const r = numberOf(settings, "r");
    const infix = "lora_embedding_A" in held || "lora_embedding_B" in held ? "embedding_" : "";
    // Inputs of a convolution are all places of its kernel.
    const kernel = held.lora_A?.slice(2) ?? [];
    const a = [r, inFeatures / elementCount(kernel), ...kernel];
    const b = [outFeatures, r, ...kernel.map(() => 1)];
    const factors = { [`lora_${infix}A`]: a, [`lora_${infix}B`]: b };
    const magnitude = kernel.length > 0 ? [1, outFeatures, ...kernel.map(() => 1)] : [outFeatures];
    return settings.use_dora === true ? { ...factors, lora_magnitude_vector: magnitude } : factors;
  },
  open(module, weight) {
    const add = inBase(module, addLowRank(loraFactors(module)), weight);
    if (module.settings.use_dora !== true) return add;
    const magnitude = valuesOf(module, "lora_magnitude_vector");
    return (row, o) => {
      add(row, o);
      const norm = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
      for (let i = 0; i < row.length; i++) row[i] = ((row[i] as number) * (magnitude[o] as number)) / norm;
    };
  },
  factors: loraFactors,
  biasShift(module) {
    const scale = loraScaleOf(module.settings);
    return Float64Array.from(valuesOf(module, "lora_B.bias"), (x) => scale * x);
  },
  math: {
    isLowRank: ({ use_dora }) => use_dora !== true,
    lowRank: (m, p, pass) => elasticFactors(m, p, factorsOf(m, p), pass),
    weight(m, p, weight) {
      const { a, b, scale } = factorsOf(m, p);
      const sum = m.add(weight, m.scale(m.matMul(b, a), scale));
      // As in the paper's section 4.3 and in PEFT, no gradient flows through the norm.
      const norms = m.detach(m.sqrt(m.sum(m.mul(sum, sum), 1)));
      return m.mul(sum, m.div(m.reshape(part(p, "lora_magnitude_vector"), [p.layer.outFeatures, 1]), norms));
    },
  },
  training: {
    settings: [
      { name: "init_lora_weights", default: "default", doc: "default, gaussian, pissa (2404.02948) or olora (2406.01775)" },
      { name: "lora_plus_ratio", default: 1, doc: "learning rate of B as a multiple of A's (2402.12354, which suggests 16)" },
      { name: "search_evaluations", default: 0, doc: "validation losses spent on choosing ranks after training with elastic ones; 0 takes the middle of them" },
      { name: "elastic_ranks", default: "", doc: "ranks that steps draw from, such as 8,6,4; a step trains the first rows of A and columns of B" },
    ],
    start: (site) => startLora(site, loraScaleOf(site.settings)),
    stored: storedLora,
    rates: (settings) => ({ lora_B: numberOf(settings, "lora_plus_ratio") }),
    fileConfig: () => ({ bias: "none", fan_in_fan_out: false, init_lora_weights: true }),
  },
};

/** Of the change since training began: PiSSA and OLoRA start with factors that the base loses what they hold of. */
function factorsOf<T>(m: Algebra<T>, p: Part<T>): Factors<T> {
  const [a, b, scale] = [part(p, "lora_A"), part(p, "lora_B"), loraScaleOf(p.settings)];
  const [a0, b0] = [p.tensors.lora_A0, p.tensors.lora_B0];
  return a0 === undefined || b0 === undefined ? { a, b, scale } : { a: m.concat([a, a0], 0), b: m.concat([b, m.scale(b0, -1)], 1), scale };
}

/** PEFT trains PiSSA and OLoRA on a base that has lost what the factors start as: that is done first. */
function inBase({ layer, settings, tensors }: AdapterModule, add: RowChange, weight: (() => ArrayLike<number>) | undefined): RowChange {
  const { taken_off_base: start } = settings;
  if (weight === undefined || (start !== "pissa" && start !== "olora")) return add;
  const lost = takenOffBase(weight(), layer, start, tensors.lora_A?.shape[0] ?? 0, loraScaleOf(settings));
  const take = addLowRank({ ...lost, scale: -lost.scale });
  return (row, o) => {
    take(row, o);
    add(row, o);
  };
}

function loraFactors(module: AdapterModule): LowRank {
  const infix = "lora_embedding_A" in module.tensors ? "embedding_" : "";
  return lowRankOf(module, `lora_${infix}A`, `lora_${infix}B`, loraScaleOf(module.settings));
}

export function loraScaleOf(settings: Settings): number {
  const r = numberOf(settings, "r");
  return numberOf(settings, "lora_alpha") / (settings.use_rslora === true ? Math.sqrt(r) : r);
}
