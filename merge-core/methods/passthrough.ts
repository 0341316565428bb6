// One model's tensors, unchanged or scaled: the method of layer stacks.
import { input, scale } from "../compute/expr.ts";
import type { MergeMethod } from "./method.ts";

export const passthrough: MergeMethod = {
  id: "passthrough",
  title: "Pass through",
  kind: "element",
  summary: "Takes tensors from one model as they are, to stack layers of several models.",
  formula: "R = scale W, or W itself without a scale",
  paper: undefined,
  parameters: [{ name: "scale", scope: "model", type: "number", default: null, doc: "Factor for the tensors; unset leaves them untouched." }],
  base: "none",
  models: { min: 1, max: 1 },
  passes: 1,
  merge({ inputs: [model] }) {
    if (model === undefined) throw new TypeError("passthrough needs one input");
    const factor = model.parameters.scale ?? null;
    return factor === null ? input(model.index) : scale(input(model.index), factor);
  },
};
