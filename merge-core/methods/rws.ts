// Robust Weight Signatures (Cai et al., ICML 2023): what training on corrupted data changes beyond what training on clean data does. The
// signature is the part of the corrupted model's difference that is orthogonal to the clean model's, tensor by tensor; it is added
// to the clean model, taken away with a negative weight, and several add up. As the paper has it: the released script multiplies
// by the weight twice, once too often, which shows with several signatures only. The paper patches shallow layers of convolutional
// networks; in a transformer these are embeddings and the first blocks, and the rest stays clean. The script's mean of batch
// statistics has no counterpart in transformers: norms are patched as other weights are. Where the clean model did not change,
// there is no direction to take out and the whole difference is the signature (the script divides by zero).
import { placeOf } from "../checkpoints/tensor-roles.ts";
import type { TensorEngine } from "../compute/engine.ts";
import { add, type Expr, given, input, linear, sub } from "../compute/expr.ts";
import type { MergeInput, MergeMethod, MergeTask } from "./method.ts";
import { numberOf, weightOf } from "./parameters.ts";
import { type Quantizer, quantizer, rangeOf } from "./quantize.ts";

const QUANTIZERS: readonly Quantizer[] = ["linear", "log", "tanh"];

export const rws: MergeMethod = {
  id: "rws",
  title: "Robust Weight Signatures",
  kind: "tensor",
  summary: "Adds to the first model what others, trained on corrupted data, have learnt beyond it; its shallow layers, and in few bits, if wanted.",
  formula:
    "a = W_1 - B;  v_c = W_c - B;  s_c = v_c - a (a . v_c) / (a . a), quantised to levels if given\nR = W_1 + alpha / n sum_c w_c s_c over the n models after the first; deeper layers: R = W_1",
  paper: { title: "Robust Weight Signatures: Gaining Robustness as Easy as Patching Weights?", url: "https://arxiv.org/abs/2302.12480", year: 2023 },
  parameters: [
    {
      name: "weight",
      scope: "model",
      type: "number",
      default: 1,
      doc: "Factor for this model's signature; negative to take it away. The first model's is not used.",
    },
    { name: "alpha", scope: "global", type: "number", default: 1, doc: "Strength of all signatures together." },
    {
      name: "shallow",
      scope: "global",
      type: "integer",
      default: null,
      range: { min: 0 },
      doc: "Patch only embeddings and this many first layers; unset, everything.",
    },
    {
      name: "levels",
      scope: "global",
      type: "integer",
      default: null,
      range: { min: 2, max: 65536 },
      doc: "Values that the elements of a tensor's signature may have; unset, any.",
    },
    {
      name: "quantizer",
      scope: "global",
      type: "integer",
      default: 1,
      range: { min: 1, max: 3 },
      doc: "Spacing of the levels: 1 linear, 2 logarithmic, 3 linear in tanh.",
    },
  ],
  base: "required",
  models: { min: 2, max: Number.POSITIVE_INFINITY },
  passes: 2,
  // Quantised signatures are added up in memory, which is not streamed.
  workingBytes: (shape, _, parameters) => ((parameters.levels ?? null) === null ? 0 : shape.reduce((a, b) => a * b, 4)),
  check({ parameters }) {
    const levels = parameters.levels ?? null;
    if (levels === null || numberOf({ parameters }, "quantizer") !== 2 || (levels >= 4 && levels % 2 === 0)) return undefined;
    return {
      code: "parameter-range",
      message: "logarithmic levels come in pairs, one of each sign",
      found: `levels ${levels}`,
      expected: "an even number of at least 4",
    };
  },
  async merge(task, engine) {
    const [clean, ...corrupted] = task.others;
    if (task.base === undefined || clean === undefined) throw new TypeError("rws needs a base and a clean model");
    if (!isShallow(task)) return input(clean.index);
    const signatures = await signaturesOf(task, engine, clean, corrupted);
    const share = numberOf(task, "alpha") / corrupted.length;
    const weights = corrupted.map((model) => share * weightOf(model));
    const levels = task.parameters.levels ?? null;
    const sum =
      levels === null
        ? linear(signatures.map((x, i) => ({ weight: weights[i] as number, x })))
        : given(await quantised(task, engine, signatures, weights, levels));
    return add(input(clean.index), sum);
  },
};

/** Embeddings, and blocks below the limit; what stands behind the blocks is deep. */
function isShallow({ name, parameters }: MergeTask): boolean {
  const limit = parameters.shallow ?? null;
  if (limit === null) return true;
  const { role, layer } = placeOf(name);
  return layer === undefined ? role === "embedding" : layer < limit;
}

async function signaturesOf(task: MergeTask, engine: TensorEngine, clean: MergeInput, corrupted: readonly MergeInput[]): Promise<Expr[]> {
  const origin = input(task.base?.index ?? 0);
  const direction = sub(input(clean.index), origin);
  const changes = corrupted.map(({ index }) => sub(input(index), origin));
  const [square = 0, ...dots] = await engine.reduce([{ op: "sumSquares", x: direction }, ...changes.map((y) => ({ op: "dot" as const, x: direction, y }))]);
  if (square === 0) {
    task.warn({ code: "no-direction", message: `the first model has the base's values in ${task.name}: signatures there are whole differences` });
    return changes;
  }
  return changes.map((x, i) =>
    linear([
      { weight: 1, x },
      { weight: -(dots[i] ?? 0) / square, x: direction },
    ]),
  );
}

/** Elements looked at at a time. */
const CHUNK_ELEMENTS = 1 << 20;

/** The weighted sum of the signatures, each quantised by its own range. */
async function quantised(
  task: MergeTask,
  engine: TensorEngine,
  signatures: readonly Expr[],
  weights: readonly number[],
  levels: number,
): Promise<Float32Array> {
  const sum = new Float32Array(engine.size);
  const kind = QUANTIZERS[numberOf(task, "quantizer") - 1] ?? "linear";
  for (const [k, signature] of signatures.entries()) {
    const chunks = async (use: (values: Float32Array, first: number) => void) => {
      for (let first = 0; first < engine.size; first += CHUNK_ELEMENTS)
        use(await engine.values(signature, first, Math.min(engine.size, first + CHUNK_ELEMENTS)), first);
    };
    const range = rangeOf(kind);
    await chunks((values) => range.add(values));
    const quantize = quantizer(kind, levels, range);
    const weight = weights[k] as number;
    await chunks((values, first) => {
      for (const [i, x] of values.entries()) sum[first + i] = (sum[first + i] as number) + weight * quantize(x);
    });
  }
  return sum;
}
