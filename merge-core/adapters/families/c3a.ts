// C3A (Chen et al., 2024): the change is made of circulant blocks.
import { type AdapterFamily, numberOf, trained, valuesOf } from "../family.ts";

export const c3a: AdapterFamily = {
  type: "C3A",
  title: "C3A",
  paper: { title: "Parameter-Efficient Fine-Tuning via Circular Convolution", year: 2024, url: "https://arxiv.org/abs/2407.19342" },
  formula: "W + circulant(kernel_MN) / in for each b x b part of W",
  settings: [{ name: "block_size", default: 256, doc: "side b of a block", pattern: "rank_pattern" }],
  tensors: trained("c3a_kernel"),
  shared: [],
  needsBase: false,
  shapes({ inFeatures, outFeatures }, settings) {
    const b = numberOf(settings, "block_size");
    return { c3a_kernel: [outFeatures / b, inFeatures / b, b] };
  },
  open(module) {
    const kernel = valuesOf(module, "c3a_kernel");
    const b = numberOf(module.settings, "block_size");
    const across = module.layer.inFeatures / b;
    return (row, o) => {
      const first = Math.floor(o / b) * across;
      for (let i = 0; i < row.length; i++) {
        const turn = (((i - o) % b) + b) % b;
        row[i] = (row[i] as number) + (kernel[(first + Math.floor(i / b)) * b + turn] as number) / row.length;
      }
    };
  },
};
