// 1bit-Merging's task vectors (Liu et al., 2025): of each weight's change only the sign is kept, and one scale per matrix. Weightsmith's own
// format, as the authors have published none; what else the model changed lies beside it, whole.
import { type AdapterFamily, frozen, indices, valuesOf } from "../family.ts";

export const oneBit: AdapterFamily = {
  type: "ONE_BIT",
  title: "One-bit task vector",
  paper: { title: "1bit-Merging: Dynamic Quantized Merging for Large Language Models", year: 2025, url: "https://arxiv.org/abs/2502.10743" },
  formula: "W + scale where the bit is 0, W - scale where it is 1",
  settings: [],
  tensors: [...indices("onebit_signs"), ...frozen("onebit_scale")],
  shared: [],
  needsBase: false,
  foldable: "exact",
  shapes: ({ inFeatures, outFeatures }) => ({ onebit_signs: [Math.ceil((inFeatures * outFeatures) / 8)], onebit_scale: [1] }),
  open(module) {
    const signs = valuesOf(module, "onebit_signs");
    const [scale = 0] = Array.from(valuesOf(module, "onebit_scale"));
    const { inFeatures } = module.layer;
    return (row, o) => {
      for (let i = 0; i < inFeatures; i++) row[i] = (row[i] as number) + (bitAt(signs, o * inFeatures + i) ? -scale : scale);
    };
  },
};

/** Bits lie from the lowest of each byte on, in the order of the weight [out, in]. */
const bitAt = (signs: ArrayLike<number>, at: number): boolean => (((signs[at >>> 3] as number) >>> (at & 7)) & 1) === 1;
