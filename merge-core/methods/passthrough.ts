// One model's tensors, unchanged, scaled or with noise added: the method of layer stacks.
import { add, given, input, scale } from "../compute/expr.ts";
import { normalNoise } from "../compute/normal-noise.ts";
import type { MergeMethod } from "./method.ts";

export const passthrough: MergeMethod = {
  id: "passthrough",
  title: "Pass through",
  kind: "element",
  summary: "Takes tensors from one model as they are, to stack layers of several models.",
  formula: "R = scale (W + noise N(0, 1)), or W itself without a scale and noise",
  paper: undefined,
  parameters: [
    { name: "scale", scope: "model", type: "number", default: null, doc: "Factor for the tensors; unset leaves them untouched." },
    { name: "noise", scope: "global", type: "number", default: 0, range: { min: 0 }, doc: "Deviation of normal noise that is added before scaling." },
  ],
  base: "none",
  models: { min: 1, max: 1 },
  passes: 1,
  workingBytes: (shape, _, { noise }) => (noise ? 4 * shape.reduce((a, b) => a * b, 1) : 0),
  merge({ inputs: [model], name, parameters, seed = 0 }, { size }) {
    if (model === undefined) throw new TypeError("passthrough needs one input");
    const noise = parameters.noise ?? 0;
    const weights = input(model.index);
    const noisy = noise === 0 ? weights : add(weights, given(normalNoise(seed, name, model.modelIndex, size, noise)));
    const factor = model.parameters.scale ?? null;
    return factor === null ? noisy : scale(noisy, factor);
  },
};
