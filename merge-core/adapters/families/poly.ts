// Polytropon (Ponti et al., 2022) and its multi-head form MHR (Caccia et al., 2022): each task mixes a LoRA out of the same skills,
// each head its own part of it.
import type { Algebra } from "../algebra/algebra.ts";
import { defineFamily } from "../define-family.ts";
import { numberOf, RANK, trained } from "../family.ts";
import { type Factors, type Part, type Pass, part, presentTasks, rowsOfTask, throughFactors } from "../family-math.ts";
import { tensor, zeros } from "../family-training.ts";

const TINY = 1e-12;

export const poly = defineFamily({
  type: "POLY",
  title: "Polytropon, MHR",
  paper: { title: "Combining Modular Skills in Multitask Learning", year: 2022, url: "https://arxiv.org/abs/2202.13914" },
  formula: "W + (1 / r) (sum_s p_s B_s)(sum_s p_s A_s) for a task, p = sigmoid(its logits) made to sum to one, by n_splits heads",
  settings: [
    RANK,
    { name: "n_tasks", default: 1, count: true, doc: "tasks" },
    { name: "n_skills", default: 4, count: true, doc: "skills that tasks mix" },
    { name: "n_splits", default: 1, divides: "both", doc: "heads; divides both sides of every layer" },
  ],
  tensors: trained("poly_lora_A", "poly_lora_B", "poly_router.module_logits"),
  shared: [],
  needsBase: false,
  foldable: "per-task",
  shapes({ inFeatures, outFeatures }, settings) {
    const [r, tasks, skills, heads] = ["r", "n_tasks", "n_skills", "n_splits"].map((name) => numberOf(settings, name)) as [number, number, number, number];
    return {
      poly_lora_A: [heads, skills, inFeatures / heads, r],
      poly_lora_B: [heads, skills, r, outFeatures / heads],
      "poly_router.module_logits": [tasks, heads * skills],
    };
  },
  math: {
    forward(m, p, x, linear, pass) {
      const rows = m.shapeOf(x)[0] ?? 0;
      const tasks = presentTasks(pass.tasks);
      return tasks.reduce((y, task) => {
        const change = throughFactors(m, x, taskFactors(m, p, taskLogits(m, p, task, pass)));
        return m.add(y, tasks.length === 1 ? change : m.mul(change, m.constant(rowsOfTask(pass.tasks, task, rows), [rows, 1])));
      }, linear(x));
    },
    chosen(m, p, choice) {
      const [heads = 0, skills = 0] = m.shapeOf(part(p, "poly_lora_A"));
      // The mean of all skills is where MHR-mu goes on from.
      if (choice === "mean") return taskFactors(m, p, m.constant(new Float32Array(heads * skills), [1, heads * skills]));
      const task = Number(choice);
      if (!(Number.isSafeInteger(task) && task >= 0 && task < numberOf(p.settings, "n_tasks")))
        throw new RangeError(`mean, or a task from 0 to ${numberOf(p.settings, "n_tasks") - 1}`);
      return taskFactors(m, p, taskLogits(m, p, task, {}));
    },
  },
  training: {
    settings: [
      { name: "direct", default: false, doc: "train without noise: the sigmoid itself instead of relaxed Bernoulli draws" },
      { name: "router_only", default: false, doc: "leave the skills as they are (MHR-z)" },
    ],
    start({ layer: { inFeatures, outFeatures }, settings, random }) {
      const [r, tasks, skills, heads] = ["r", "n_tasks", "n_skills", "n_splits"].map((name) => numberOf(settings, name)) as [number, number, number, number];
      const bound = 1 / Math.sqrt(inFeatures / heads);
      return {
        poly_lora_A: tensor(random.uniform("poly_lora_A", skills * inFeatures * r, bound), heads, skills, inFeatures / heads, r),
        poly_lora_B: zeros(heads, skills, r, outFeatures / heads),
        "poly_router.module_logits": tensor(random.uniform("module_logits", tasks * heads * skills, 1e-3), tasks, heads * skills),
      };
    },
    rates({ router_only: alone }): Record<string, number> {
      return alone === true ? { poly_lora_A: 0, poly_lora_B: 0 } : {};
    },
    fileConfig: () => ({ poly_type: "poly" }),
  },
});

/** Logits [1, heads skills] of a task; in training with logistic noise, whose sigmoid is a relaxed Bernoulli draw at temperature one. */
function taskLogits<T>(m: Algebra<T>, p: Part<T>, task: number, { draw }: Pass): T {
  const logits = m.rows(part(p, "poly_router.module_logits"), [task]);
  const width = m.shapeOf(logits)[1] ?? 0;
  if (draw === undefined || p.settings.direct === true) return logits;
  const noise = Float32Array.from(draw(`skills/${p.module}/${task}`, width), (u) => Math.log((u + TINY) / (1 - u + TINY)));
  return m.add(logits, m.constant(noise, [1, width]));
}

function taskFactors<T>(m: Algebra<T>, p: Part<T>, logits: T): Factors<T> {
  const [a, b] = [part(p, "poly_lora_A"), part(p, "poly_lora_B")];
  const [heads = 0, skills = 0, width = 0, r = 0] = m.shapeOf(a);
  const on = m.reshape(m.sigmoid(logits), [heads, skills]);
  const shares = m.reshape(m.div(on, m.add(m.sum(on, 1), m.constant([TINY], [1]))), [heads, skills, 1, 1]);
  const mixed = (x: T, shape: readonly number[]) => m.reshape(m.sum(m.mul(x, shares), 1), shape);
  const columns = mixed(a, [heads * width, r]);
  const rows = m.transpose(mixed(b, [heads, r, p.layer.outFeatures / heads]), [1, 0, 2]);
  return {
    a: m.transpose(columns, [1, 0]),
    b: m.transpose(m.reshape(rows, [r, p.layer.outFeatures]), [1, 0]),
    scale: 1 / r,
  };
}
