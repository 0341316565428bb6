// PSOFT (Wu et al., 2025): a scaled rotation inside the subspace of the base's largest singular directions.
import { cayley, identity, skew } from "../algebra/algebra.ts";
import { defineFamily } from "../define-family.ts";
import { nativeType, numberOf, trained } from "../family.ts";
import { part } from "../family-math.ts";
import { filled, tensor, zeros } from "../family-training.ts";
import { leadingTriplets } from "../svd-of-base.ts";

export const psoft = defineFamily({
  // Not PEFT's own type: its files leave the signs of singular vectors to whichever library decomposes the base.
  type: nativeType("psoft"),
  title: "PSOFT",
  paper: { title: "Efficient Orthogonal Fine-Tuning with Principal Subspace Adaptation", year: 2025, url: "https://arxiv.org/abs/2505.11235" },
  formula: "W + B (R - I) A, B A the r largest singular triplets of W, R = diag(b) (I + Q)(I - Q)^-1 diag(a)",
  settings: [{ name: "r", default: 32, count: true, doc: "dimension of the subspace", pattern: "rank_pattern" }],
  tensors: trained("psoft_R", "psoft_vector_a", "psoft_vector_b"),
  shared: [],
  needsBase: true,
  foldable: "exact",
  neutral: { psoft_R: 0, psoft_vector_a: 1, psoft_vector_b: 1 },
  shapes(_, settings) {
    const r = numberOf(settings, "r");
    return { psoft_R: [(r * (r - 1)) / 2], psoft_vector_a: [r], psoft_vector_b: [r] };
  },
  derive(weight, layer, settings) {
    const r = numberOf(settings, "r");
    const { left, values, right } = leadingTriplets(weight, layer, r);
    const b = Float64Array.from(
      { length: layer.outFeatures * r },
      (_, at) => (values[at % r] as number) * (left[(at % r) * layer.outFeatures + Math.floor(at / r)] as number),
    );
    return { psoft_A: tensor(right, r, layer.inFeatures), psoft_B: tensor(b, layer.outFeatures, r) };
  },
  math: {
    lowRank(m, p) {
      const r = numberOf(p.settings, "r");
      const q = skew(m, m.reshape(part(p, "psoft_R"), [1, (r * (r - 1)) / 2]), r);
      const turn = m.reshape(cayley(m, m.scale(q, -1)), [r, r]);
      const scaled = m.mul(m.mul(turn, m.reshape(part(p, "psoft_vector_b"), [r, 1])), m.reshape(part(p, "psoft_vector_a"), [1, r]));
      return { a: part(p, "psoft_A"), b: m.matMul(part(p, "psoft_B"), m.sub(scaled, identity(m, r))), scale: 1 };
    },
  },
  training: {
    start({ settings }) {
      const r = numberOf(settings, "r");
      return { psoft_R: zeros((r * (r - 1)) / 2), psoft_vector_a: filled(1, r), psoft_vector_b: filled(1, r) };
    },
  },
});
