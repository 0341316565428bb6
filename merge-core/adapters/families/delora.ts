// DeLoRA (Bini et al., 2025): directions and strength of the change are trained apart.
import { type AdapterFamily, type AdapterModule, addLowRank, type FamilyTensor, frozen, type LowRank, numberOf, RANK, trained, valuesOf } from "../family.ts";
import { part } from "../family-math.ts";
import { filled, kaiming, tensor, zeros } from "../family-training.ts";

const LEAST_NORM = 1e-4;
/** Keeps the gradient of a norm finite where all its numbers are zero; far below what float32 could show. */
const TINY = 1e-20;
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
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings) {
    const r = numberOf(settings, "r");
    return { delora_A: [r, inFeatures], delora_B: [outFeatures, r], delora_lambda: [1], delora_w_norm: [inFeatures] };
  },
  open: (module) => addLowRank(factors(module)),
  factors,
  math: {
    lowRank(m, p) {
      const r = numberOf(p.settings, "r");
      const least = m.constant([LEAST_NORM], [1]);
      const length = (x: Parameters<typeof m.sqrt>[0], axis: number) =>
        m.add(m.relu(m.sub(m.sqrt(m.add(m.sum(m.mul(x, x), axis), m.constant([TINY], [1]))), least)), least);
      const [a, b] = [part(p, "delora_A"), part(p, "delora_B")];
      const strength = m.scale(m.div(part(p, "delora_lambda"), m.mul(length(a, 1), m.reshape(length(b, 0), [r, 1]))), 1 / r);
      return { a: m.mul(m.mul(a, strength), m.reshape(part(p, "delora_w_norm"), [1, p.layer.inFeatures])), b, scale: 1 };
    },
  },
  training: {
    settings: [{ name: "delora_lambda", default: 15, doc: "strength that training starts with" }],
    start(site) {
      const [r, { inFeatures, outFeatures }] = [numberOf(site.settings, "r"), site.layer];
      const norms = new Float64Array(inFeatures);
      for (let at = 0; at < site.weight.length; at++) norms[at % inFeatures] = (norms[at % inFeatures] as number) + (site.weight[at] as number) ** 2;
      return {
        delora_A: kaiming(site, "delora_A", r, inFeatures),
        delora_B: zeros(outFeatures, r),
        delora_lambda: filled(numberOf(site.settings, "delora_lambda"), 1),
        delora_w_norm: tensor(Float32Array.from(norms, Math.sqrt), inFeatures),
      };
    },
  },
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
