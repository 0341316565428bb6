// What the measures of spectra and subspaces mean.
import type { Explanation } from "../comparison.ts";

const ISO = { title: "No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces", url: "https://arxiv.org/abs/2502.04959" };
const LORA = { title: "LoRA: Low-Rank Adaptation of Large Language Models", url: "https://arxiv.org/abs/2106.09685" };
const EFFECTIVE = {
  title: "The Effective Rank: A Measure of Effective Dimensionality",
  url: "https://www.eurasip.org/Proceedings/Eusipco/Eusipco2007/Papers/a5p-h05.pdf",
};
const STABLE = { title: "Sampling from Large Matrices: An Approach through Geometric Functional Analysis", url: "https://arxiv.org/abs/math/0503442" };

export const SPECTRA_EXPLANATIONS: readonly Explanation[] = [
  {
    measure: "effective rank",
    meaning: "exp of the entropy of the singular values' shares of their sum: how many directions a matrix uses.",
    source: EFFECTIVE,
  },
  {
    measure: "stable rank",
    meaning: "Squared Frobenius norm divided by the squared largest singular value: small where one direction dominates.",
    source: STABLE,
  },
  {
    measure: "subspace alignment",
    meaning:
      "Share of the norm of one model's change that lies in the span of the leading left directions of another's, as many as leave at most 5 % of its norm over. It is not symmetric. Unrelated changes have about sqrt(directions / rows), not 0. Groups show the mean over their matrices.",
    source: ISO,
  },
  {
    measure: "principal angles",
    meaning: "Angles in degrees between the spans of the first leading directions of two changes: 0 shared, 90 unrelated.",
    source: LORA,
  },
  {
    measure: "direction overlap",
    meaning: "Mean squared cosine of the principal angles: 1 where the smaller span lies in the other, 0 where they have nothing in common.",
    source: LORA,
  },
];
