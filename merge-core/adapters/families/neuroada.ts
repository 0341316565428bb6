// NeuroAda (2025): each output trains an addition to the k weights of it that are largest.
import { defineFamily } from "../define-family.ts";
import { indices, nativeType, numberOf, trained } from "../family.ts";
import { indexOf, part } from "../family-math.ts";
import { tensor, zeros } from "../family-training.ts";

export const neuroada = defineFamily({
  type: nativeType("neuroada"),
  title: "NeuroAda",
  paper: { title: "NeuroAda: Activating Each Neuron's Potential for Parameter-Efficient Fine-Tuning", year: 2025, url: "https://arxiv.org/abs/2510.18940" },
  formula: "W[o, column[o, j]] + theta[o, j] for the k largest weights of each output",
  settings: [{ name: "k", default: 1, count: true, doc: "weights of each output" }],
  tensors: [...trained("neuroada_theta"), ...indices("neuroada_columns")],
  shared: [],
  needsBase: false,
  foldable: "exact",
  shapes({ outFeatures }, settings) {
    const k = numberOf(settings, "k");
    return { neuroada_theta: [outFeatures, k], neuroada_columns: [outFeatures, k] };
  },
  math: {
    weight(m, p, weight) {
      const { inFeatures, outFeatures } = p.layer;
      const columns = indexOf(p, "neuroada_columns");
      const k = numberOf(p.settings, "k");
      const places = Int32Array.from({ length: outFeatures * k }, (_, at) => Math.floor(at / k) * inFeatures + (columns[at] as number));
      const change = m.scatter(m.reshape(part(p, "neuroada_theta"), [outFeatures * k]), places, outFeatures * inFeatures);
      return m.add(weight, m.reshape(change, [outFeatures, inFeatures]));
    },
  },
  training: {
    start({ layer: { inFeatures, outFeatures }, settings, weight }) {
      const k = numberOf(settings, "k");
      const columns = Array.from({ length: outFeatures }, (_, o) => largestColumns(weight, o * inFeatures, inFeatures, k)).flat();
      return { neuroada_theta: zeros(outFeatures, k), neuroada_columns: tensor(Int32Array.from(columns), outFeatures, k) };
    },
  },
});

function largestColumns(weight: ArrayLike<number>, first: number, count: number, k: number): number[] {
  const size = (i: number) => Math.abs(weight[first + i] as number);
  return Array.from({ length: count }, (_, i) => i)
    .sort((a, b) => size(b) - size(a) || a - b)
    .slice(0, k)
    .sort((a, b) => a - b);
}
