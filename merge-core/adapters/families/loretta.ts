// LoRETTA (Yang et al., 2024), the variant that adapts weights: both factors of a LoRA are tensor trains.
import { defineFamily } from "../define-family.ts";
import { ALPHA, type LayerShape, nativeType, numberOf, RANK, type Settings, trained } from "../family.ts";
import { part } from "../family-math.ts";
import { contractTrain, coresOf, startTrain, trainSize } from "./tensor-train.ts";

export const loretta = defineFamily({
  type: nativeType("loretta"),
  title: "LoRETTA",
  paper: {
    title: "LoRETTA: Low-Rank Economic Tensor-Train Adaptation for Ultra-Low-Parameter Fine-Tuning of Large Language Models",
    year: 2024,
    url: "https://arxiv.org/abs/2402.11417",
  },
  formula: "W + (alpha / r) B A, both factors contracted from tensor trains of rank tensor_rank",
  settings: [RANK, ALPHA, { name: "tensor_rank", default: 5, count: true, doc: "inner sides of the trains' cores" }],
  tensors: trained("loretta_A", "loretta_B"),
  shared: [],
  needsBase: false,
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings) {
    return { loretta_A: [trainSize(trainOf(settings, inFeatures))], loretta_B: [trainSize(trainOf(settings, outFeatures))] };
  },
  math: {
    lowRank(m, p) {
      const r = numberOf(p.settings, "r");
      const a = m.reshape(contractTrain(m, part(p, "loretta_A"), trainOf(p.settings, p.layer.inFeatures)), [r, p.layer.inFeatures]);
      const b = m.reshape(contractTrain(m, part(p, "loretta_B"), trainOf(p.settings, p.layer.outFeatures)), [p.layer.outFeatures, r]);
      return { a, b, scale: numberOf(p.settings, "lora_alpha") / r };
    },
  },
  training: {
    // Each element of the contracted factors has variance about 1 / (in + out).
    start(site) {
      const { layer, settings } = site;
      const side = (name: string, width: number) => startTrain(site, name, trainOf(settings, width), deviationOf(layer));
      return { loretta_A: side("loretta_A", layer.inFeatures), loretta_B: side("loretta_B", layer.outFeatures) };
    },
  },
});

const trainOf = (settings: Settings, width: number) => coresOf(numberOf(settings, "r"), width, numberOf(settings, "tensor_rank"));
const deviationOf = ({ inFeatures, outFeatures }: LayerShape): number => Math.sqrt(1 / (inFeatures + outFeatures));
