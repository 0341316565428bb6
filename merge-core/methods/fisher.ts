// Fisher-weighted merging (Matena and Raffel, 2022): each element is a mean weighted by how sure each model is of it, the diagonal of its
// Fisher information. As the released code has it, where the paper leaves open: Fisher information is divided by its norm over all
// tensors, so that models are comparable whatever their loss; only the first model's is kept above a floor, so that where no model
// cares its value stays; and the floor is of the information before it is divided. Coefficients are searched on validation data.
// Where nothing has weight, 0 / 0 in the code, the first model's value is kept too. A model without any information (all zero)
// cannot be normalised and has its floor alone.
import type { TensorEngine } from "../compute/engine.ts";
import { add, compare, constant, div, type Expr, input, mul, scale, select } from "../compute/expr.ts";
import type { MergeInput, MergeMethod, MergeTask } from "./method.ts";
import { divideBy, flagOf, floatSum, numberOf, weightOf, zeroWeightSum } from "./parameters.ts";

export const fisher: MergeMethod = {
  id: "fisher",
  title: "Fisher merging",
  kind: "model",
  summary: "Averages models element by element, weighted by the diagonal of each model's Fisher information on its data.",
  formula:
    "c_i = w_i / ||F_i|| if normalize, else w_i;  F_1 = max(F_1, floor)\nR = sum_i c_i F_i W_i / sum_i c_i F_i;  tensors without Fisher information: sum_i w_i W_i / sum_i w_i",
  paper: { title: "Merging Models with Fisher-Weighted Averaging", url: "https://arxiv.org/abs/2111.09832", year: 2022 },
  data: "fisher",
  parameters: [
    { name: "weight", scope: "model", type: "number", default: 1, range: { min: 0 }, doc: "Coefficient of this model's Fisher information." },
    { name: "normalize", scope: "global", type: "flag", default: 1, doc: "Divide each model's Fisher information by its norm over all tensors." },
    {
      name: "floor",
      scope: "global",
      type: "number",
      default: 1e-6,
      range: { min: 0 },
      doc: "Least Fisher information of an element, before it is normalised.",
    },
    {
      name: "favor_first",
      scope: "global",
      type: "flag",
      default: 1,
      doc: "Apply the floor to the first model alone, whose value stays where no model cares.",
    },
  ],
  base: "none",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 1,
  check: ({ inputs }) => zeroWeightSum(inputs),
  statistic: {
    rounds: 1,
    applies: (task) => flagOf(task, "normalize") && task.inputs.every((model) => model.fisher !== undefined),
    gather: squaredNorms,
    conclude: (sums) => Object.fromEntries([...sums].map(([key, [sum = 0]]) => [key, Math.sqrt(sum)])),
  },
  merge(task) {
    const [first] = task.inputs;
    if (first === undefined || first.fisher === undefined) return meanByWeight(task);
    const shares = task.inputs.map((model) => scale(information(task, model), coefficient(task, model)));
    const total = shares.reduce(add);
    const sum = shares.map((share, i) => mul(share, input(task.inputs[i]?.index ?? 0))).reduce(add);
    return select(compare("le", total, constant(0)), input(first.index), div(sum, total));
  },
};

const normKey = ({ model, modelIndex }: MergeInput): string => `norm ${modelIndex} ${model}`;

async function squaredNorms({ inputs }: MergeTask, engine: TensorEngine): Promise<ReadonlyMap<string, Float64Array>> {
  const sums = await engine.reduce(inputs.map((model) => ({ op: "sumSquares", x: input(model.fisher ?? 0) })));
  return new Map(inputs.map((model, i) => [normKey(model), Float64Array.of(sums[i] ?? 0)]));
}

function coefficient(task: MergeTask, model: MergeInput): number {
  const norm = flagOf(task, "normalize") ? (task.statistics?.[normKey(model)] ?? 0) : 1;
  return weightOf(model) / (norm > 0 ? norm : 1);
}

function information(task: MergeTask, model: MergeInput): Expr {
  const known = input(model.fisher ?? 0);
  const floor = flagOf(task, "favor_first") && model !== task.inputs[0] ? 0 : numberOf(task, "floor");
  // Not by max, which would pass a NaN over.
  return select(compare("lt", known, constant(floor)), constant(floor), known);
}

/** All information alike. */
export function meanByWeight({ inputs }: MergeTask): Expr {
  const sum = { op: "linear" as const, terms: inputs.map((model) => ({ weight: weightOf(model), x: input(model.index) })) };
  return divideBy(sum, floatSum(inputs.map(weightOf)));
}
