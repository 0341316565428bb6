// PaLoRA, Pareto LoRA (Dimitriadis et al., 2024): one LoRA per task, added in the shares of a preference that training draws
// anew for each step and the user chooses afterwards. The base may be trained with them.
import type { Algebra } from "../algebra/algebra.ts";
import { defineFamily } from "../define-family.ts";
import { nativeType, numberOf, optional, type Settings, type Shapes, trained } from "../family.ts";
import { type Factors, type Part, type Pass, part } from "../family-math.ts";
import { type Start, tensor, zeros } from "../family-training.ts";

export const palora = defineFamily({
  type: nativeType("palora"),
  title: "PaLoRA",
  paper: { title: "Pareto Low-Rank Adapters: Efficient Multi-Task Learning with Preferences", year: 2024, url: "https://arxiv.org/abs/2407.08056" },
  formula: "W + change + (alpha / r) sum_t preference_t B_t A_t",
  settings: [
    { name: "r", default: 4, count: true, doc: "rank of each task's factors", pattern: "rank_pattern" },
    { name: "lora_alpha", default: 1, doc: "scale times r", pattern: "alpha_pattern" },
    { name: "n_tasks", default: 2, count: true, doc: "tasks" },
    { name: "train_base", default: true, doc: "train a change that all preferences share" },
  ],
  tensors: [...trained("palora_A", "palora_B"), ...optional(trained("palora_change"))],
  shared: [],
  needsBase: false,
  foldable: "per-task",
  shapes({ inFeatures, outFeatures }, settings): Shapes {
    const [r, tasks] = [numberOf(settings, "r"), numberOf(settings, "n_tasks")];
    const change: Shapes = settings.train_base === true ? { palora_change: [outFeatures, inFeatures] } : {};
    return { palora_A: [tasks, r, inFeatures], palora_B: [outFeatures, tasks, r], ...change };
  },
  math: {
    isLowRank: ({ train_base: base }) => base !== true,
    lowRank: (m, p, pass) => preferred(m, p, preferenceOf(p.settings, pass)),
    weight(m, p, weight, pass) {
      const { a, b, scale } = preferred(m, p, preferenceOf(p.settings, pass));
      return m.add(m.add(weight, part(p, "palora_change")), m.scale(m.matMul(b, a), scale));
    },
    chosen(m, p, choice) {
      if (p.settings.train_base === true) throw new RangeError("train_base: false, as the change that preferences share is of full rank");
      return preferred(m, p, readPreference(choice, numberOf(p.settings, "n_tasks")));
    },
  },
  training: {
    start({ layer: { inFeatures, outFeatures }, settings, random }): Start {
      const [r, tasks] = [numberOf(settings, "r"), numberOf(settings, "n_tasks")];
      const change: Start = settings.train_base === true ? { palora_change: zeros(outFeatures, inFeatures) } : {};
      return {
        palora_A: tensor(random.uniform("palora_A", tasks * r * inFeatures, 1 / Math.sqrt(inFeatures)), tasks, r, inFeatures),
        palora_B: zeros(outFeatures, tasks, r),
        ...change,
      };
    },
    rates: (settings) => ({ palora_A: numberOf(settings, "n_tasks"), palora_B: numberOf(settings, "n_tasks") }),
    taskWeights: (settings, pass) => preferenceOf(settings, pass).map((share) => share * numberOf(settings, "n_tasks")),
  },
});

/** Even shares where nothing is drawn. In training from Dirichlet's distribution, which goes from all mixtures to single tasks. */
function preferenceOf(settings: Settings, { draw, progress = 0 }: Pass): number[] {
  const tasks = numberOf(settings, "n_tasks");
  if (draw === undefined) return new Array<number>(tasks).fill(1 / tasks);
  const concentration = 1 - progress + 0.001;
  const logs = Array.from({ length: tasks }, (_, t) => logGamma(concentration, draw(`preference/${t}`, DRAWS)));
  const largest = Math.max(...logs);
  const powers = logs.map((log) => Math.exp(log - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

/** Enough that all are refused once in 10^40 times. */
const DRAWS = 121;

/** Logarithm of a draw from the gamma distribution with a shape of at most about one (Marsaglia and Tsang, 2000, for shape + 1). */
function logGamma(shape: number, uniform: ArrayLike<number>): number {
  const d = shape + 2 / 3;
  const boost = Math.log(1 - (uniform[0] as number)) / shape;
  for (let at = 1; at + 2 < uniform.length; at += 3) {
    const [u1, u2, u3] = [1 - (uniform[at] as number), uniform[at + 1] as number, 1 - (uniform[at + 2] as number)];
    const x = Math.sqrt(-2 * Math.log(u1)) * Math.cos(2 * Math.PI * u2);
    const v = (1 + x / Math.sqrt(9 * d)) ** 3;
    if (v > 0 && Math.log(u3) < 0.5 * x * x + d - d * v + d * Math.log(v)) return Math.log(d * v) + boost;
  }
  return Math.log(d) + boost;
}

function preferred<T>(m: Algebra<T>, p: Part<T>, preference: readonly number[]): Factors<T> {
  const [tasks = 0, r = 0, inputs = 0] = m.shapeOf(part(p, "palora_A"));
  const shares = m.constant(preference, [1, tasks, 1]);
  return {
    a: m.reshape(part(p, "palora_A"), [tasks * r, inputs]),
    b: m.reshape(m.mul(part(p, "palora_B"), shares), [p.layer.outFeatures, tasks * r]),
    scale: numberOf(p.settings, "lora_alpha") / r,
  };
}

function readPreference(choice: string, tasks: number): number[] {
  const shares = choice.split(",").map(Number);
  const total = shares.reduce((sum, share) => sum + share, 0);
  if (shares.length !== tasks || !shares.every((share) => share >= 0) || Math.abs(total - 1) > 1e-6)
    throw new RangeError(`${tasks} shares such as 0.3,0.7 that sum to 1`);
  return shares;
}
