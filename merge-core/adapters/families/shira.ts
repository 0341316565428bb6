// SHiRA (Bhardwaj et al., 2024): a few single weights are trained, the others left alone.
import { type AdapterFamily, frozen, numberOf, trained, valuesOf } from "../family.ts";

export const shira: AdapterFamily = {
  type: "SHIRA",
  title: "SHiRA",
  paper: { title: "Sparse High Rank Adapters", year: 2024, url: "https://arxiv.org/abs/2406.13175" },
  formula: "W[row_n, column_n] + weight_n for r (in + out) chosen places",
  settings: [{ name: "r", default: 32, doc: "as many weights as a LoRA of this rank has" }],
  tensors: [...trained("shira_weight"), ...frozen("shira_indices")],
  shared: [],
  needsBase: false,
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
};
