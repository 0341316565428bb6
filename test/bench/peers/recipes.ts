// The merges that are measured: the parameters are common ones of each method's users.

export interface Case {
  readonly method: string;
  /** How many of the fine-tuned models take part. */
  readonly models: number;
  readonly base: boolean;
  /** Of each model. */
  readonly parameters: Readonly<Record<string, number>>;
  /** Of the whole recipe. */
  readonly common: Readonly<Record<string, number | boolean>>;
  readonly random: boolean;
  /** Least ratio of their wall time to ours that the project promises. */
  readonly promised: number;
}

const plain = { models: 3, base: true, parameters: {}, common: {}, random: false, promised: 5 };

export const CASES: readonly Case[] = [
  { ...plain, method: "linear", base: false, parameters: { weight: 0.4 } },
  { ...plain, method: "slerp", models: 1, common: { t: 0.4 } },
  { ...plain, method: "task_arithmetic", parameters: { weight: 0.4 } },
  { ...plain, method: "ties", parameters: { weight: 0.4, density: 0.5 }, common: { normalize: true }, promised: 10 },
  { ...plain, method: "dare_ties", parameters: { weight: 0.4, density: 0.5 }, random: true, promised: 10 },
  { ...plain, method: "della", parameters: { weight: 0.4, density: 0.5, epsilon: 0.1 }, random: true, promised: 10 },
  { ...plain, method: "model_stock" },
  { ...plain, method: "sce", common: { select_topk: 0.5 } },
];

/** JSON, which is YAML that both sides read. `folders` are the base and the fine-tuned models. */
export function recipeText(c: Case, [base = "", ...tuned]: readonly string[]): string {
  const listed = tuned.slice(0, c.models).map((model) => ({ model, parameters: c.parameters }));
  const models = c.method === "slerp" ? [{ model: base }, ...listed] : listed;
  return JSON.stringify({ merge_method: c.method, ...(c.base ? { base_model: base } : {}), models, parameters: c.common, dtype: "bfloat16" }, null, 2);
}
