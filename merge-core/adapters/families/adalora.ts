// AdaLoRA (Zhang et al., 2023): a singular value decomposition whose rank was pruned while training.
import { type AdapterFamily, type AdapterModule, addLowRank, type LowRank, numberOf, tensorOf, trained, valuesOf } from "../family.ts";

/** PEFT's guard against a division by a rank of zero; part of the scale. */
const RANK_GUARD = 1e-5;

export const adalora: AdapterFamily = {
  type: "ADALORA",
  title: "AdaLoRA",
  paper: { title: "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", year: 2023, url: "https://arxiv.org/abs/2303.10512" },
  formula: "W + (alpha / init_r) B diag(E) A",
  settings: [
    { name: "init_r", default: 12, doc: "rank before pruning; the scale is alpha divided by it" },
    { name: "lora_alpha", default: 8, doc: "scale times init_r" },
  ],
  tensors: trained("lora_A", "lora_B", "lora_E"),
  shared: [],
  needsBase: false,
  foldable: "exact",
  // What is left of the rank is told by the tensors alone.
  shapes: ({ inFeatures, outFeatures }, _, { lora_E: [k = 0] = [] }) => ({ lora_A: [k, inFeatures], lora_B: [outFeatures, k], lora_E: [k, 1] }),
  open: (module) => addLowRank(factors(module)),
  factors,
};

function factors(module: AdapterModule): LowRank {
  const { inFeatures } = module.layer;
  const singular = tensorOf(module, "lora_E");
  const a = Float64Array.from(valuesOf(module, "lora_A"), (x, i) => x * (singular.values[Math.floor(i / inFeatures)] as number));
  const scale = numberOf(module.settings, "lora_alpha") / (numberOf(module.settings, "init_r") + RANK_GUARD);
  return { ...module.layer, r: singular.shape[0] ?? 0, a, b: Float64Array.from(valuesOf(module, "lora_B")), scale };
}
