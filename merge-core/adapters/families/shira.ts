// SHiRA (Bhardwaj et al., 2024): a few single weights are trained, the others left alone.
import { type AdapterFamily, indices, numberOf, trained, valuesOf } from "../family.ts";
import { indexOf, part } from "../family-math.ts";
import { tensor, zeros } from "../family-training.ts";

export const shira: AdapterFamily = {
  type: "SHIRA",
  title: "SHiRA",
  paper: { title: "Sparse High Rank Adapters", year: 2024, url: "https://arxiv.org/abs/2406.13175" },
  formula: "W[row_n, column_n] + weight_n for r (in + out) chosen places",
  settings: [{ name: "r", default: 32, count: true, doc: "as many weights as a LoRA of this rank has" }],
  tensors: [...trained("shira_weight"), ...indices("shira_indices")],
  shared: [],
  needsBase: false,
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings) {
    const count = numberOf(settings, "r") * (inFeatures + outFeatures);
    return { shira_weight: [count], shira_indices: [2, count] };
  },
  open(module) {
    const [weights, places] = [valuesOf(module, "shira_weight"), valuesOf(module, "shira_indices")];
    const byRow = new Map<number, number[]>();
    for (let n = 0; n < weights.length; n++) {
      const o = places[n] as number;
      byRow.set(o, [...(byRow.get(o) ?? []), n]);
    }
    return (row, o) => {
      for (const n of byRow.get(o) ?? []) {
        const i = places[weights.length + n] as number;
        row[i] = (row[i] as number) + (weights[n] as number);
      }
    };
  },
  math: {
    weight(m, p, weight) {
      const { inFeatures, outFeatures } = p.layer;
      const places = indexOf(p, "shira_indices");
      const count = places.length / 2;
      const flat = Int32Array.from({ length: count }, (_, n) => (places[n] as number) * inFeatures + (places[count + n] as number));
      return m.add(weight, m.reshape(m.scatter(part(p, "shira_weight"), flat, inFeatures * outFeatures), [outFeatures, inFeatures]));
    },
  },
  training: {
    start({ layer: { inFeatures, outFeatures }, settings, random }) {
      const count = numberOf(settings, "r") * (inFeatures + outFeatures);
      const chosen = random
        .order("shira_indices", inFeatures * outFeatures)
        .slice(0, count)
        .sort((a, b) => a - b);
      const places = [...chosen.map((at) => Math.floor(at / inFeatures)), ...chosen.map((at) => at % inFeatures)];
      return { shira_weight: zeros(count), shira_indices: tensor(Int32Array.from(places), 2, count) };
    },
  },
};
