// LoRA (Hu et al., 2021): W' = W + s B A, s = alpha / r; rank-stabilised (Kalajdzievski, 2023): s = alpha / sqrt(r);
// with a magnitude (DoRA, Liu et al., 2024) each output's weights are then brought to that norm.
import { type AdapterFamily, type AdapterModule, addLowRank, type LowRank, lowRankOf, numberOf, RANK, type Settings, trained, valuesOf } from "../family.ts";

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
  tensors: trained("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector"),
  shared: [],
  needsBase: false,
  shapes({ inFeatures, outFeatures }, settings, held) {
    const r = numberOf(settings, "r");
    const infix = "lora_embedding_A" in held || "lora_embedding_B" in held ? "embedding_" : "";
    const factors = { [`lora_${infix}A`]: [r, inFeatures], [`lora_${infix}B`]: [outFeatures, r] };
    return settings.use_dora === true ? { ...factors, lora_magnitude_vector: [outFeatures] } : factors;
  },
  open(module) {
    const add = addLowRank(loraFactors(module));
    if (module.settings.use_dora !== true) return add;
    const magnitude = valuesOf(module, "lora_magnitude_vector");
    return (row, o) => {
      add(row, o);
      const norm = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
      for (let i = 0; i < row.length; i++) row[i] = ((row[i] as number) * (magnitude[o] as number)) / norm;
    };
  },
  factors: loraFactors,
};

function loraFactors(module: AdapterModule): LowRank {
  const infix = "lora_embedding_A" in module.tensors ? "embedding_" : "";
  return lowRankOf(module, `lora_${infix}A`, `lora_${infix}B`, loraScaleOf(module.settings));
}

export function loraScaleOf(settings: Settings): number {
  const r = numberOf(settings, "r");
  return numberOf(settings, "lora_alpha") / (settings.use_rslora === true ? Math.sqrt(r) : r);
}
