// GraLoRA (Jung et al., 2025): the weight is cut into k x k blocks, each with a low-rank change of its own. Read as PEFT writes it.
import { type AdapterFamily, numberOf, optional, suffixed, trained, valuesOf } from "../family.ts";

export const gralora: AdapterFamily = {
  type: "GRALORA",
  title: "GraLoRA",
  paper: { title: "GraLoRA: Granular Low-Rank Adaptation for Parameter-Efficient Fine-Tuning", year: 2025, url: "https://arxiv.org/abs/2505.20355" },
  formula: "W_jn + s B_jn A_nj for each of k x k blocks, s = alpha / (r + hybrid_r); hybrid_r: + s B A besides",
  settings: [
    { name: "r", default: 32, count: true, doc: "rank of a row of blocks" },
    { name: "hybrid_r", default: 0, doc: "rank of the change of the whole weight" },
    { name: "alpha", default: 64, doc: "scale times the ranks" },
    { name: "gralora_k", default: 2, count: true, doc: "blocks on a side" },
  ],
  tensors: [...trained("gralora_A", "gralora_B"), ...optional(suffixed(trained("gralora_A_general", "gralora_B_general")))],
  shared: [],
  needsBase: false,
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings) {
    const [r, k, general] = [numberOf(settings, "r"), numberOf(settings, "gralora_k"), numberOf(settings, "hybrid_r")];
    return {
      gralora_A: [k, inFeatures / k, r],
      gralora_B: [k, r, outFeatures / k],
      ...(general > 0 ? { gralora_A_general: [general, inFeatures], gralora_B_general: [outFeatures, general] } : {}),
    };
  },
  open(module) {
    const { settings, layer } = module;
    const [r, k, general] = [numberOf(settings, "r"), numberOf(settings, "gralora_k"), numberOf(settings, "hybrid_r")];
    const [q, inputs, outputs] = [r / k, layer.inFeatures / k, layer.outFeatures / k];
    const [a, b] = [valuesOf(module, "gralora_A"), valuesOf(module, "gralora_B")];
    const [wideA, wideB] = general > 0 ? [valuesOf(module, "gralora_A_general"), valuesOf(module, "gralora_B_general")] : [[], []];
    const scale = numberOf(settings, "alpha") / (r + general);
    return (row, o) => {
      const j = Math.floor(o / outputs);
      for (let i = 0; i < row.length; i++) {
        const n = Math.floor(i / inputs);
        let sum = 0;
        for (let c = 0; c < q; c++) sum += (a[i * r + j * q + c] as number) * (b[(j * r + n * q + c) * outputs + (o % outputs)] as number);
        for (let c = 0; c < general; c++) sum += (wideA[c * row.length + i] as number) * (wideB[o * general + c] as number);
        row[i] = (row[i] as number) + scale * sum;
      }
    };
  },
};
