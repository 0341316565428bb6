// DeLoRA (Bini et al., 2025): directions and strength of the change are trained apart.
import { type AdapterFamily, type AdapterModule, addLowRank, type FamilyTensor, frozen, type LowRank, numberOf, RANK, trained, valuesOf } from "../family.ts";

const LEAST_NORM = 1e-4;
const TENSORS: readonly FamilyTensor[] = [...trained("delora_A", "delora_B", "delora_lambda"), ...frozen("delora_w_norm")];

export const delora: AdapterFamily = {
  type: "DELORA",
  title: "DeLoRA",
  paper: { title: "Decoupling Angles and Strength in Low-rank Adaptation", year: 2025, url: "https://arxiv.org/abs/2503.18225" },
  formula: "W + B diag(lambda / (r |a_k| |b_k|)) A diag(norms of the columns of W when training began)",
  settings: [RANK],
  tensors: TENSORS,
  shared: [],
  needsBase: false,
  shapes({ inFeatures, outFeatures }, settings) {
    const r = numberOf(settings, "r");
    return { delora_A: [r, inFeatures], delora_B: [outFeatures, r], delora_lambda: [1], delora_w_norm: [inFeatures] };
  },
  open: (module) => addLowRank(factors(module)),
  factors,
};

function factors(module: AdapterModule): LowRank {
  const { inFeatures, outFeatures } = module.layer;
  const r = numberOf(module.settings, "r");
  const [a, b, norms] = [valuesOf(module, "delora_A"), valuesOf(module, "delora_B"), valuesOf(module, "delora_w_norm")];
  const strength = (valuesOf(module, "delora_lambda")[0] as number) / r;
  const lengthOf = (count: number, at: (i: number) => number) =>
    Math.max(LEAST_NORM, Math.sqrt(Array.from({ length: count }, (_, i) => at(i) ** 2).reduce((sum, x) => sum + x, 0)));
  const factor = Array.from({ length: r }, (_, k) => {
    const lengthA = lengthOf(inFeatures, (i) => a[k * inFeatures + i] as number);
    return strength / (lengthA * lengthOf(outFeatures, (o) => b[o * r + k] as number));
  });
  const scaled = Float64Array.from(a, (x, at) => x * (factor[Math.floor(at / inFeatures)] as number) * (norms[at % inFeatures] as number));
  return { ...module.layer, r, a: scaled, b: Float64Array.from(b), scale: 1 };
}
