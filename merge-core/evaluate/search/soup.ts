// Model soups (Wortsman et al. 2022, 2203.05482): the mean of all models, or of those that help. Greedy: models in the order of their score
// on held-out data; each joins the mean if the score then is strictly better. Node only.
import { throwIfCancelled } from "../../diagnostics.ts";
import type { MetricSpec } from "../evaluators.ts";
import { noSuccess, openJudge, refuseSharedData, reportOn, type SearchOptions, type SearchOutcome, type Trial } from "./search.ts";

export interface SoupOutcome extends SearchOutcome {
  /** Models of the chosen mean, in the order in which they joined. */
  readonly ingredients: readonly string[];
}

/** The recipe of a mean. */
export function soupRecipe(models: readonly string[], dtype: string): string {
  return `merge_method: linear\nmodels:\n${models.map((model) => `  - model: ${JSON.stringify(model)}\n    parameters:\n      weight: 1\n`).join("")}dtype: ${dtype}\n`;
}

/**
 * @param file where relative paths start @throws WeightsmithError `search-failed`, `split-used-twice`, `cancelled`
 */
export async function greedySoup(
  models: readonly string[],
  metrics: readonly MetricSpec[],
  { dtype, file, ...options }: SearchOptions & { readonly dtype: string; readonly file: string },
): Promise<SoupOutcome> {
  await refuseSharedData(metrics, options.report ?? [], options.sameData ?? false);
  const judge = await openJudge(metrics, options);
  const total = 2 * models.length - 1;
  const trials: Trial[] = [];
  const attempt = async (ingredients: readonly string[]): Promise<Trial> => {
    throwIfCancelled(options.signal);
    const text = soupRecipe(ingredients, dtype);
    const trial = await judge.attempt(ingredients.join(" + "), (evaluator) => evaluator.recipe({ text, file }));
    trials.push(trial);
    options.onTrial?.(trial, trials.length, total);
    return trial;
  };
  const single: { model: string; trial: Trial }[] = [];
  for (const model of models) single.push({ model, trial: await attempt([model]) });
  const order = single
    .filter(({ trial }) => trial.score !== undefined)
    .sort((a, b) => Number(judge.better(b.trial, a.trial)) - Number(judge.better(a.trial, b.trial)));
  const [first, ...rest] = order;
  if (first === undefined) throw noSuccess(trials);
  let ingredients = [first.model];
  let best = first.trial;
  for (const { model } of rest) {
    const trial = await attempt([...ingredients, model]);
    if (!judge.better(trial, best)) continue;
    best = trial;
    ingredients = [...ingredients, model];
  }
  const text = soupRecipe(ingredients, dtype);
  return { trials, best: trials.indexOf(best), text, ingredients, ...(await reportOn(text, file, options)) };
}
