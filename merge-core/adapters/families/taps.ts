// TAPS (Wallingford et al., 2022): whole layers are trained, but only those whose score stays above a threshold that a
// penalty presses them below.
import { defineFamily } from "../define-family.ts";
import { nativeType, numberOf, trained } from "../family.ts";
import { part } from "../family-math.ts";
import { filled, zeros } from "../family-training.ts";

const THRESHOLD = 0.1;
const FIRST_SCORE = 0.15;

export const taps = defineFamily({
  type: nativeType("taps"),
  title: "TAPS",
  paper: { title: "Task Adaptive Parameter Sharing for Multi-Task Learning", year: 2022, url: "https://arxiv.org/abs/2203.16708" },
  formula: "W + [score >= 0.1] delta",
  settings: [{ name: "penalty", default: 1, doc: "of the mean score, added to the loss" }],
  tensors: trained("taps_delta", "taps_score"),
  shared: [],
  needsBase: false,
  foldable: "exact",
  shapes: ({ inFeatures, outFeatures }) => ({ taps_delta: [outFeatures, inFeatures], taps_score: [1] }),
  math: {
    weight(m, p, weight) {
      const score = part(p, "taps_score");
      const open = (m.valuesOf(score)[0] as number) >= THRESHOLD ? 1 : 0;
      // Zero or one, with the gradient of the score itself.
      const gate = m.add(m.sub(score, m.detach(score)), m.constant([open], [1]));
      return m.add(weight, m.mul(part(p, "taps_delta"), gate));
    },
    penalty(m, p) {
      const score = part(p, "taps_score");
      const size = m.add(m.relu(score), m.relu(m.scale(score, -1)));
      return m.scale(size, numberOf(p.settings, "penalty"));
    },
  },
  training: {
    start: ({ layer }) => ({ taps_delta: zeros(layer.outFeatures, layer.inFeatures), taps_score: filled(FIRST_SCORE, 1) }),
    // Layers that were not chosen are the base's.
    stored: (settings, { tensors }) => ({ settings, tensors: (tensors.taps_score?.values[0] ?? 0) >= THRESHOLD ? tensors : {} }),
  },
});
