// LoHa, the Hadamard product of two low-rank products (FedPara, Hyeon-Woo et al., 2021; LyCORIS, Yeh et al., 2023).
import { type AdapterFamily, type AdapterModule, addLowRank, type LowRank, numberOf, RANK, tensorOf, trained, valuesOf } from "../family.ts";
import { part } from "../family-math.ts";
import { kaiming, zeros } from "../family-training.ts";

export const loha: AdapterFamily = {
  type: "LOHA",
  title: "LoHa",
  paper: { title: "FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning", year: 2021, url: "https://arxiv.org/abs/2108.06098" },
  formula: "W + (alpha / r) (w1_a w1_b) * (w2_a w2_b)",
  settings: [RANK, { name: "alpha", default: 8, doc: "scale times r", pattern: "alpha_pattern" }],
  tensors: trained("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
  shared: [],
  needsBase: false,
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings) {
    const r = numberOf(settings, "r");
    return { hada_w1_a: [outFeatures, r], hada_w1_b: [r, inFeatures], hada_w2_a: [outFeatures, r], hada_w2_b: [r, inFeatures] };
  },
  open: (module) => addLowRank(factors(module)),
  factors,
  math: {
    weight(m, p, weight) {
      const product = (k: number) => m.matMul(part(p, `hada_w${k}_a`), part(p, `hada_w${k}_b`));
      return m.add(weight, m.scale(m.mul(product(1), product(2)), numberOf(p.settings, "alpha") / numberOf(p.settings, "r")));
    },
  },
  training: {
    start(site) {
      const [r, { inFeatures, outFeatures }] = [numberOf(site.settings, "r"), site.layer];
      return {
        hada_w1_a: kaiming(site, "hada_w1_a", outFeatures, r),
        hada_w1_b: kaiming(site, "hada_w1_b", r, inFeatures),
        hada_w2_a: kaiming(site, "hada_w2_a", outFeatures, r),
        hada_w2_b: zeros(r, inFeatures),
      };
    },
  },
};

/** Of rank r^2: (sum_i p_i q_i) * (sum_j s_j t_j) = sum_ij (p_i * s_j)(q_i * t_j). */
function factors(module: AdapterModule): LowRank {
  const { inFeatures, outFeatures } = module.layer;
  const r = tensorOf(module, "hada_w1_a").shape[1] ?? 0;
  const [p, q, s, t] = [valuesOf(module, "hada_w1_a"), valuesOf(module, "hada_w1_b"), valuesOf(module, "hada_w2_a"), valuesOf(module, "hada_w2_b")];
  const rank = r * r;
  const a = new Float64Array(rank * inFeatures);
  const b = new Float64Array(outFeatures * rank);
  for (let k = 0; k < rank; k++) {
    const [i, j] = [Math.floor(k / r), k % r];
    for (let n = 0; n < inFeatures; n++) a[k * inFeatures + n] = (q[i * inFeatures + n] as number) * (t[j * inFeatures + n] as number);
    for (let o = 0; o < outFeatures; o++) b[o * rank + k] = (p[o * r + i] as number) * (s[o * r + j] as number);
  }
  return { ...module.layer, r: rank, a, b, scale: numberOf(module.settings, "alpha") / numberOf(module.settings, "r") };
}
