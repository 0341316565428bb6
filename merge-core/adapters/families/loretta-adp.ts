// LoRETTA (Yang et al., 2024), the variant with adapters: a bottleneck behind the layer whose two matrices are tensor trains.
import { defineFamily } from "../define-family.ts";
import { nativeType, numberOf, type Settings, trained } from "../family.ts";
import { part } from "../family-math.ts";
import { checkChoice, zeros } from "../family-training.ts";
import { contractTrain, coresOf, startTrain, trainSize } from "./tensor-train.ts";

const ACTIVATIONS = ["tanh", "relu"];

export const lorettaAdp = defineFamily({
  type: nativeType("loretta-adp"),
  title: "LoRETTA adapters",
  paper: {
    title: "LoRETTA: Low-Rank Economic Tensor-Train Adaptation for Ultra-Low-Parameter Fine-Tuning of Large Language Models",
    year: 2024,
    url: "https://arxiv.org/abs/2402.11417",
  },
  formula: "y + up activation(down y + b) + c, down and up contracted from tensor trains of rank tensor_rank",
  settings: [
    { name: "bottleneck", default: 64, count: true, doc: "width between down and up" },
    { name: "tensor_rank", default: 5, count: true, doc: "inner sides of the trains' cores" },
    { name: "activation", default: "tanh", doc: "tanh or relu" },
  ],
  tensors: trained("loretta_down", "loretta_up", "loretta_down_bias", "loretta_up_bias"),
  shared: [],
  needsBase: false,
  foldable: "no",
  shapes({ outFeatures }, settings) {
    const train = [trainSize(trainOf(settings, outFeatures))];
    return { loretta_down: train, loretta_up: train, loretta_down_bias: [numberOf(settings, "bottleneck")], loretta_up_bias: [outFeatures] };
  },
  math: {
    forward(m, p, x, linear) {
      const [width, { outFeatures }] = [numberOf(p.settings, "bottleneck"), p.layer];
      const cores = trainOf(p.settings, outFeatures);
      const down = m.reshape(contractTrain(m, part(p, "loretta_down"), cores), [width, outFeatures]);
      const up = m.reshape(contractTrain(m, part(p, "loretta_up"), cores), [outFeatures, width]);
      const y = linear(x);
      const inner = m.add(m.matMul(y, down, { transposeB: true }), part(p, "loretta_down_bias"));
      const active = p.settings.activation === "relu" ? m.relu(inner) : m.tanh(inner);
      return m.add(y, m.add(m.matMul(active, up, { transposeB: true }), part(p, "loretta_up_bias")));
    },
  },
  training: {
    start(site) {
      const { layer, settings } = site;
      checkChoice(settings, "activation", ACTIVATIONS);
      const width = numberOf(settings, "bottleneck");
      const side = (name: string) => startTrain(site, name, trainOf(settings, layer.outFeatures), Math.sqrt(1 / (width + layer.outFeatures)));
      return { loretta_down: side("loretta_down"), loretta_up: side("loretta_up"), loretta_down_bias: zeros(width), loretta_up_bias: zeros(layer.outFeatures) };
    },
  },
});

const trainOf = (settings: Settings, width: number) => coresOf(numberOf(settings, "bottleneck"), width, numberOf(settings, "tensor_rank"));
