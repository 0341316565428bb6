// AdaLoRA (Zhang et al., 2023): a singular value decomposition whose rank is pruned while training. Triplets of all modules are
// ranked by importance against each other, and a budget that falls from init_r to target_r keeps the first.
import { inputError } from "../../diagnostics.ts";
import { type Algebra, identity } from "../algebra/algebra.ts";
import { type AdapterFamily, type AdapterModule, addLowRank, type LowRank, numberOf, type Settings, tensorOf, trained, valuesOf } from "../family.ts";
import { part } from "../family-math.ts";
import { type Start, type Trained, tensor, zeros } from "../family-training.ts";
import { allocateBudget, MEANS } from "./adalora-budget.ts";

/** PEFT's guard against a division by a rank of zero; part of the scale. */
const RANK_GUARD = 1e-5;
const START_DEVIATION = 0.02;

export const adalora: AdapterFamily = {
  type: "ADALORA",
  title: "AdaLoRA",
  paper: { title: "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", year: 2023, url: "https://arxiv.org/abs/2303.10512" },
  formula: "W + (alpha / init_r) B diag(E) A",
  settings: [
    { name: "init_r", default: 12, count: true, doc: "rank before pruning; the scale is alpha divided by it" },
    { name: "lora_alpha", default: 8, doc: "scale times init_r" },
  ],
  tensors: trained("lora_A", "lora_B", "lora_E"),
  shared: [],
  needsBase: false,
  foldable: "exact",
  // What is left of the rank is told by the tensors alone.
  shapes: ({ inFeatures, outFeatures }, _, { lora_E: [k = 0] = [] }) => ({ lora_A: [k, inFeatures], lora_B: [outFeatures, k], lora_E: [k, 1] }),
  open: (module) => addLowRank(factors(module)),
  factors,
  math: {
    lowRank: (m, p) => ({ a: m.mul(part(p, "lora_A"), part(p, "lora_E")), b: part(p, "lora_B"), scale: scaleOf(p.settings) }),
    penalty(m, p) {
      const [a, b] = [part(p, "lora_A"), part(p, "lora_B")];
      const sum = m.add(distance(m, m.matMul(a, a, { transposeB: true })), distance(m, m.matMul(b, b, { transposeA: true })));
      return m.scale(sum, numberOf(p.settings, "orth_reg_weight") / 2);
    },
  },
  training: {
    settings: [
      { name: "target_r", default: 8, doc: "rank that modules have on average in the end" },
      { name: "tinit", default: 0, doc: "steps before pruning begins" },
      { name: "tfinal", default: 0, doc: "steps at the end in which ranks stay" },
      { name: "deltaT", default: 1, count: true, doc: "steps between two allocations" },
      { name: "beta1", default: 0.85, doc: "how slowly the importance follows" },
      { name: "beta2", default: 0.85, doc: "how slowly its uncertainty follows" },
      { name: "orth_reg_weight", default: 0.5, doc: "of the distance of A A^T and B^T B from the identity, added to the loss" },
    ],
    start({ layer: { inFeatures, outFeatures }, settings, random }): Start {
      const r = numberOf(settings, "init_r");
      if (!(numberOf(settings, "target_r") <= r))
        throw inputError("adapter-setting-invalid", "target_r is above init_r", { found: String(settings.target_r), expected: `at most ${r}` });
      const shapes = { A: [r, inFeatures], B: [outFeatures, r], E: [r, 1] } as const;
      const means = Object.entries(shapes).flatMap(([name, shape]) => MEANS.map((mean) => [`${mean}_${name}`, zeros(...shape)] as const));
      return {
        lora_A: tensor(random.normal("lora_A", r * inFeatures, START_DEVIATION), r, inFeatures),
        lora_B: tensor(random.normal("lora_B", outFeatures * r, START_DEVIATION), outFeatures, r),
        lora_E: zeros(r, 1),
        // Only training needs these: importance and its uncertainty, and which triplets the budget keeps.
        ...Object.fromEntries(means),
        adalora_kept: tensor(new Float32Array(r).fill(1), r),
      };
    },
    afterStep: allocateBudget,
    stored: (settings, { tensors }) => ({ settings, tensors: keptTriplets(tensors) }),
    fileConfig: (settings, _, run) => ({
      ...Object.fromEntries(["target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight"].map((name) => [name, settings[name]])),
      ...(run === undefined ? {} : { total_step: run.totalSteps, rank_pattern: rankPattern(run) }),
    }),
  },
};

const scaleOf = (settings: Settings): number => numberOf(settings, "lora_alpha") / (numberOf(settings, "init_r") + RANK_GUARD);

/** Frobenius norm of X - I. */
function distance<T>(m: Algebra<T>, x: T): T {
  const n = m.shapeOf(x)[0] ?? 0;
  const off = m.reshape(m.sub(x, identity(m, n)), [1, n * n]);
  return m.sqrt(m.sum(m.mul(off, off), 1));
}

function factors(module: AdapterModule): LowRank {
  const { inFeatures } = module.layer;
  const singular = tensorOf(module, "lora_E");
  const a = Float64Array.from(valuesOf(module, "lora_A"), (x, i) => x * (singular.values[Math.floor(i / inFeatures)] as number));
  return { ...module.layer, r: singular.shape[0] ?? 0, a, b: Float64Array.from(valuesOf(module, "lora_B")), scale: scaleOf(module.settings) };
}

/** Those that the budget keeps; of a module without any the first, whose singular value is zero: PEFT loads no rank of zero. */
function keptOf({ adalora_kept: kept }: Start): boolean[] {
  const all = Array.from(kept?.values ?? [], (keep) => keep === 1);
  return all.includes(true) ? all : all.map((_, k) => k === 0);
}

function keptTriplets(tensors: Start): Start {
  const { lora_A: a, lora_B: b, lora_E: e } = tensors;
  if (a === undefined || b === undefined || e === undefined || tensors.adalora_kept === undefined) return tensors;
  const kept = keptOf(tensors).flatMap((keep, k) => (keep ? [k] : []));
  const [inputs = 0, [outputs = 0, r = 0]] = [a.shape[1], b.shape];
  const n = kept.length;
  const row = (at: number) => kept[Math.floor(at / inputs)] as number;
  return {
    lora_A: tensor(
      Float32Array.from({ length: n * inputs }, (_, at) => a.values[row(at) * inputs + (at % inputs)] as number),
      n,
      inputs,
    ),
    lora_B: tensor(
      Float32Array.from({ length: outputs * n }, (_, at) => b.values[Math.floor(at / n) * r + (kept[at % n] as number)] as number),
      outputs,
      n,
    ),
    lora_E: tensor(
      Float32Array.from(kept, (k) => e.values[k] as number),
      n,
      1,
    ),
  };
}

/** PEFT's: for each module which of the first triplets are left. */
const rankPattern = ({ modules }: Trained): Record<string, boolean[]> =>
  Object.fromEntries([...modules].map(([module, tensors]) => [`${module}.lora_E`, keptOf(tensors)]));
