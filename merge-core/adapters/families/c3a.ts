// C3A (Chen et al., 2024): the change is made of circulant blocks.
import { type AdapterFamily, numberOf, trained, valuesOf } from "../family.ts";
import { part } from "../family-math.ts";
import { zeros } from "../family-training.ts";

export const c3a: AdapterFamily = {
  type: "C3A",
  title: "C3A",
  paper: { title: "Parameter-Efficient Fine-Tuning via Circular Convolution", year: 2024, url: "https://arxiv.org/abs/2407.19342" },
  formula: "W + circulant(kernel_MN) / in for each b x b part of W",
  settings: [{ name: "block_size", default: 256, divides: "both", doc: "side b of a block", pattern: "rank_pattern" }],
  tensors: trained("c3a_kernel"),
  shared: [],
  needsBase: false,
  foldable: "exact",
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
  math: {
    weight(m, p, weight) {
      const { inFeatures, outFeatures } = p.layer;
      const b = numberOf(p.settings, "block_size");
      const across = inFeatures / b;
      const places = Int32Array.from({ length: inFeatures * outFeatures }, (_, at) => {
        const [o, i] = [Math.floor(at / inFeatures), at % inFeatures];
        return (Math.floor(o / b) * across + Math.floor(i / b)) * b + ((((i - o) % b) + b) % b);
      });
      const kernel = m.reshape(part(p, "c3a_kernel"), [outFeatures * across, 1]);
      return m.add(weight, m.scale(m.reshape(m.rows(kernel, places), [outFeatures, inFeatures]), 1 / inFeatures));
    },
  },
  training: {
    start({ layer: { inFeatures, outFeatures }, settings }) {
      const b = numberOf(settings, "block_size");
      return { c3a_kernel: zeros(outFeatures / b, inFeatures / b, b) };
    },
  },
};
