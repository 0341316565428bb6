// Measures one more setting of the coefficients and adds it to a front. Node only.
import { join } from "node:path";
import { WeightsmithError } from "../diagnostics.ts";
import { FRONT_FILE, type FrontFile, type FrontPoint } from "./front-file.ts";
import { parseParetoConfig } from "./pareto-config.ts";
import { parseSetting, readFront } from "./read-front.ts";
import { addSetting, replaceFile } from "./run-pareto.ts";
import { openSearchRun, type SearchOptions } from "./search-run.ts";
import { summariseFront } from "./summarise-front.ts";
import { predict } from "./surrogate.ts";

/**
 * @param at one number for each coefficient, with commas
 * @throws WeightsmithError `setting-invalid`, `trial-failed`, `front-*`, `resume-other-run` where data or models have changed since
 */
export async function evaluateAt(folder: string, at: string, options: SearchOptions = {}): Promise<{ front: FrontFile; point: FrontPoint }> {
  const front = await readFront(folder);
  const setting = parseSetting(front, at);
  const { file, text } = front.config;
  const config = parseParetoConfig(text, file);
  const recipe = config.recipe.textAt(setting);
  const run = await openSearchRun(
    { out: folder, file, configText: text, seed: config.seed, objectives: config.objectives, exampleRecipe: recipe, totalTrials: 1 },
    options,
  );
  const outcome = await run.measure(recipe, `at ${at}`);
  if ("error" in outcome)
    throw new WeightsmithError({ code: "trial-failed", severity: "error", message: `measuring failed: ${outcome.error}`, file }, { exitCode: 1 });
  const points = [...front.points];
  const predicted = front.surrogates.length === 0 ? {} : { predicted: [front.surrogates.map((surrogate) => predict(surrogate, setting))] };
  addSetting(points, { x: setting, how: { kind: front.surrogates.length === 0 ? "sample" : "front", ...predicted }, i: 0 }, outcome, config);
  const directions = front.objectives.map(({ direction }) => direction);
  const next: FrontFile = { ...front, ...summariseFront(points, directions, config.reference) };
  await replaceFile(join(folder, FRONT_FILE), `${JSON.stringify(next, undefined, 2)}\n`);
  const point = next.points.find(({ coefficients }) => coefficients?.every((c, i) => c === setting[i]));
  return { front: next, point: point as FrontPoint };
}

/** The recipe of a setting. @throws WeightsmithError `setting-invalid`, `front-*` */
export async function recipeAt(folder: string, at: string): Promise<string> {
  const front = await readFront(folder);
  return parseParetoConfig(front.config.text, front.config.file).recipe.textAt(parseSetting(front, at));
}
