// AdaLoRA's budget: which triplets of a singular value, its left and its right vector are kept, as PEFT's allocator has it.
import { inputError } from "../../diagnostics.ts";
import { numberOf, type Settings } from "../family.ts";
import type { LiveModule } from "../family-training.ts";

/** Running means of |weight x gradient| and of its distance from that mean, by the first parts of their names. */
export const MEANS = ["adalora_importance", "adalora_uncertainty"] as const;

/** After each step, from 1. @throws WeightsmithError `adapter-setting-invalid`, `adapter-needs-gradients` */
export function allocateBudget(modules: readonly LiveModule[], step: number, totalSteps: number): void {
  const settings = modules[0]?.settings;
  if (settings === undefined) return;
  const last = lastAllocation(settings, totalSteps);
  if (step < last) for (const module of modules) follow(module);
  const budget = budgetAt(settings, modules.length, step, totalSteps);
  if (budget !== undefined) choose(modules, budget);
  if (budget !== undefined || step > last) for (const module of modules) dropSingularValues(module);
}

/** The step from which on ranks stay. */
function lastAllocation(settings: Settings, totalSteps: number): number {
  const [tinit, tfinal] = [numberOf(settings, "tinit"), numberOf(settings, "tfinal")];
  if (tinit < totalSteps - tfinal) return totalSteps - tfinal;
  throw inputError("adapter-setting-invalid", "no step is left for pruning", {
    found: `tinit ${tinit} and tfinal ${tfinal} of ${totalSteps} steps`,
    expected: "less together than the steps",
  });
}

/** Ranks of all modules together, down a cubic curve; undefined where a step changes nothing. The last allocation is made whatever its turn. */
export function budgetAt(settings: Settings, modules: number, step: number, totalSteps: number): number | undefined {
  const [first, target, tinit, every] = ["init_r", "target_r", "tinit", "deltaT"].map((name) => numberOf(settings, name)) as [number, number, number, number];
  const last = lastAllocation(settings, totalSteps);
  if (step <= tinit || step > last || (step < last && step % every !== 0)) return undefined;
  const left = 1 - (step - tinit) / (last - tinit);
  return Math.trunc((first - target) * modules * left ** 3 + target * modules);
}

function follow({ module, settings, tensors, gradient: gradientOf }: LiveModule): void {
  if (gradientOf === undefined)
    throw inputError("adapter-needs-gradients", "AdaLoRA ranks by gradients, and the optimiser takes none", {
      found: module,
      remedy: "use adamw or another with gradients",
    });
  const [beta1, beta2] = [numberOf(settings, "beta1"), numberOf(settings, "beta2")];
  for (const name of ["A", "B", "E"]) {
    const [weights, gradient] = [tensors[`lora_${name}`] as Float32Array, gradientOf(`lora_${name}`) as Float32Array];
    const [mean, spread] = MEANS.map((kind) => tensors[`${kind}_${name}`] as Float32Array) as [Float32Array, Float32Array];
    for (let i = 0; i < weights.length; i++) {
      const now = Math.abs((weights[i] as number) * (gradient[i] as number));
      mean[i] = beta1 * (mean[i] as number) + (1 - beta1) * now;
      spread[i] = beta2 * (spread[i] as number) + (1 - beta2) * Math.abs(now - (mean[i] as number));
    }
  }
}

/** Of each triplet: of its singular value, plus the means over its two vectors. */
function scores({ tensors }: LiveModule): Float64Array {
  const score = (name: string) => {
    const [mean, spread] = MEANS.map((kind) => tensors[`${kind}_${name}`] as Float32Array) as [Float32Array, Float32Array];
    return (at: number) => (mean[at] as number) * (spread[at] as number);
  };
  const [a, b, e] = [score("A"), score("B"), score("E")];
  const r = tensors.lora_E?.length ?? 0;
  const [inputs, outputs] = [(tensors.lora_A?.length ?? 0) / r, (tensors.lora_B?.length ?? 0) / r];
  return Float64Array.from({ length: r }, (_, k) => {
    let [sumA, sumB] = [0, 0];
    for (let i = 0; i < inputs; i++) sumA += a(k * inputs + i);
    for (let o = 0; o < outputs; o++) sumB += b(o * r + k);
    return e(k) + sumA / inputs + sumB / outputs;
  });
}

/** Keeps what is above the largest score that does not fit the budget. */
function choose(modules: readonly LiveModule[], budget: number): void {
  const all = modules.map(scores);
  const sorted = Float64Array.from(all.flatMap((some) => [...some])).sort();
  const threshold = sorted[sorted.length - budget - 1] ?? Number.NEGATIVE_INFINITY;
  for (const [i, { tensors }] of modules.entries()) tensors.adalora_kept?.set(Float32Array.from(all[i] ?? [], (score) => (score > threshold ? 1 : 0)));
}

function dropSingularValues({ tensors: { lora_E: e, adalora_kept: kept } }: LiveModule): void {
  if (e !== undefined && kept !== undefined) for (let k = 0; k < e.length; k++) if (kept[k] !== 1) e[k] = 0;
}
