// IA3 (Liu et al., 2022): outputs, or inputs of feed-forward layers, are multiplied by a trained vector.
import { type AdapterFamily, type AdapterModule, type Settings, tensorOf, trained } from "../family.ts";
import { part } from "../family-math.ts";
import { filled } from "../family-training.ts";

export const ia3: AdapterFamily = {
  type: "IA3",
  title: "IA3",
  paper: {
    title: "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
    year: 2022,
    url: "https://arxiv.org/abs/2205.05638",
  },
  formula: "diag(l) W and diag(l) b; feed-forward layers: W diag(l)",
  settings: [],
  tensors: trained("ia3_l"),
  shared: [],
  needsBase: true,
  foldable: "exact",
  neutral: { ia3_l: 1 },
  // feedforward_modules chose a side when the adapter was made; the vector's shape says which.
  shapes: ({ inFeatures, outFeatures }, _, { ia3_l }) => ({ ia3_l: ia3_l?.[0] === 1 && outFeatures !== 1 ? [1, inFeatures] : [outFeatures, 1] }),
  open(module) {
    const { values } = tensorOf(module, "ia3_l");
    const byInput = scalesInputs(module);
    return (row, o) => {
      for (let i = 0; i < row.length; i++) row[i] = (row[i] as number) * (values[byInput ? i : o] as number);
    };
  },
  biasFactor: (module) => (scalesInputs(module) ? undefined : tensorOf(module, "ia3_l").values),
  math: {
    forward(m, p, x, linear) {
      const scales = part(p, "ia3_l");
      const byInput = m.shapeOf(scales)[1] !== 1;
      const row = m.reshape(scales, [1, byInput ? p.layer.inFeatures : p.layer.outFeatures]);
      return byInput ? linear(m.mul(x, row)) : m.mul(linear(x), row);
    },
  },
  training: {
    settings: [{ name: "feedforward_modules", default: "down_proj", doc: "kinds of modules whose inputs are multiplied, separated by commas" }],
    start: ({ kind, layer, settings }) => ({ ia3_l: isFeedForward(kind, settings) ? filled(1, 1, layer.inFeatures) : filled(1, layer.outFeatures, 1) }),
    fileConfig: (settings, targets) => ({ feedforward_modules: targets.filter((target) => isFeedForward(target, settings)) }),
  },
};

const scalesInputs = (module: AdapterModule): boolean => tensorOf(module, "ia3_l").shape[1] !== 1;

const isFeedForward = (kind: string, { feedforward_modules: kinds }: Settings): boolean =>
  String(kinds)
    .split(/[\s,]+/)
    .includes(kind);
