// MWA (2025), averaging checkpoints of one training run by a metric: lower loss or later step, more weight; a penalty shapes the weights. The
// paper's text and code that give the exact weights were not to be had, so the rule is this program's own, by what the abstract says:
// the share of (1 / loss)^penalty, or of step^penalty. Penalty 0 is the plain mean, a large one picks the best. As an alternative
// the softmax of penalty times the metric's z-scores. The loss of a single batch is noise: give a mean over the last batches.
import { input, linear } from "../compute/expr.ts";
import type { MergeMethod } from "./method.ts";
import { flagOf, numberOf } from "./parameters.ts";

export const mwa: MergeMethod = {
  id: "mwa",
  title: "Metrics-weighted averaging",
  kind: "element",
  summary: "Averages checkpoints of one training run, those of lower loss or of later steps weighing more.",
  formula:
    "m_i = 1 / loss_i or step_i;  w_i = m_i^p / sum_j m_j^p, with p the penalty\nor w = softmax(-p z(loss)), softmax(p z(step)) if softmax;  R = sum_i w_i W_i",
  paper: { title: "Parameter-Efficient Checkpoint Merging via Metrics-Weighted Averaging", url: "https://arxiv.org/abs/2504.18580", year: 2025 },
  parameters: [
    { name: "loss", scope: "model", type: "number", default: null, range: { min: 0, minOpen: true }, doc: "Training loss of this checkpoint." },
    {
      name: "step",
      scope: "model",
      type: "number",
      default: null,
      range: { min: 0, minOpen: true },
      doc: "Step at which this checkpoint was taken, if there are no losses.",
    },
    { name: "penalty", scope: "global", type: "number", default: 1, range: { min: 0 }, doc: "0 weighs all alike; the larger, the more the best counts." },
    { name: "softmax", scope: "global", type: "flag", default: 0, doc: "Weigh by the softmax of z-scores instead of by powers." },
  ],
  base: "none",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 1,
  check({ inputs }) {
    const [losses, steps] = (["loss", "step"] as const).map((name) => inputs.filter((model) => typeof model.parameters[name] === "number").length);
    if ((losses === inputs.length && steps === 0) || (steps === inputs.length && losses === 0)) return undefined;
    return {
      code: "metrics-differ",
      message: "mwa needs the loss of every model, or the step of every model",
      found: `${losses} losses and ${steps} steps for ${inputs.length} models`,
      remedy: "give all models the same one of the two",
    };
  },
  merge(task) {
    const metric = task.inputs.some((model) => typeof model.parameters.loss === "number") ? "loss" : "step";
    const values = task.inputs.map((model) => numberOf(model, metric));
    const weights = metricWeights(metric, values, numberOf(task, "penalty"), flagOf(task, "softmax"));
    return linear(task.inputs.map(({ index }, i) => ({ weight: weights[i] as number, x: input(index) })));
  },
};

/** Weights that sum to 1, from values above 0: the larger the lower the loss, or the later the step. */
export function metricWeights(metric: "loss" | "step", values: readonly number[], penalty: number, softmax: boolean): number[] {
  const sign = metric === "loss" ? -1 : 1;
  const scores = softmax ? zScores(values) : values.map(Math.log);
  const exponents = scores.map((x) => sign * penalty * x);
  const most = Math.max(...exponents);
  const shares = exponents.map((x) => Math.exp(x - most));
  const sum = shares.reduce((a, b) => a + b, 0);
  return shares.map((share) => share / sum);
}

/** Deviations from the mean in standard deviations; zeros where all are alike. */
function zScores(values: readonly number[]): number[] {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
  return values.map((x) => (deviation === 0 ? 0 : (x - mean) / deviation));
}
