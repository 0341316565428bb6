// Norm tuning (Zhao et al., 2023): the weights of normalisation layers themselves are trained.
import type { AdapterFamily } from "../family.ts";

export const lnTuning: AdapterFamily = {
  type: "LN_TUNING",
  title: "LayerNorm tuning",
  paper: { title: "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning", year: 2023, url: "https://arxiv.org/abs/2312.11420" },
  formula: "the trained weight and bias in place of the base's",
  settings: [],
  tensors: [],
  shared: [],
  needsBase: false,
  foldable: "exact",
  neutral: {},
  replaces: "ln_tuning_layers",
  shapes: () => ({}),
  open: () => () => {},
  training: { start: () => ({}) },
};
