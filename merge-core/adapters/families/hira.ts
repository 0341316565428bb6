// HiRA (Huang et al., 2025): the weight is multiplied, element by element, by one plus a low-rank product.
import { type AdapterFamily, numberOf, tensorOf, trained, valuesOf } from "../family.ts";
import { part } from "../family-math.ts";
import { kaiming, zeros } from "../family-training.ts";

export const hira: AdapterFamily = {
  type: "HIRA",
  title: "HiRA",
  paper: {
    title: "HiRA: Parameter-Efficient Hadamard High-Rank Adaptation for Large Language Models",
    year: 2025,
    url: "https://openreview.net/forum?id=TwJrTz9cRS",
  },
  formula: "W * (1 + B A)",
  settings: [{ name: "r", default: 32, count: true, doc: "rank", pattern: "rank_pattern" }],
  tensors: trained("hira_A", "hira_B"),
  shared: [],
  needsBase: true,
  foldable: "exact",
  shapes: ({ inFeatures, outFeatures }, settings) => ({ hira_A: [numberOf(settings, "r"), inFeatures], hira_B: [outFeatures, numberOf(settings, "r")] }),
  open(module) {
    const [a, b] = [valuesOf(module, "hira_A"), valuesOf(module, "hira_B")];
    const r = tensorOf(module, "hira_A").shape[0] ?? 0;
    return (row, o) => {
      for (let i = 0; i < row.length; i++) {
        let factor = 1;
        for (let k = 0; k < r; k++) factor += (b[o * r + k] as number) * (a[k * row.length + i] as number);
        row[i] = (row[i] as number) * factor;
      }
    };
  },
  math: {
    weight: (m, p, weight) => m.add(weight, m.mul(weight, m.matMul(part(p, "hira_B"), part(p, "hira_A")))),
  },
  training: {
    start(site) {
      const r = numberOf(site.settings, "r");
      return { hira_A: kaiming(site, "hira_A", r, site.layer.inFeatures), hira_B: zeros(site.layer.outFeatures, r) };
    },
  },
};
