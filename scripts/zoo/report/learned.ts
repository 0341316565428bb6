// Methods that learn from data or run several models: each gives numbers by task on the test data, for one seed.
import { adaMerging } from "../../../merge-core/adapt/adamerging.ts";
import { concreteAdaMerging, concreteTaskArithmetic } from "../../../merge-core/adapt/concrete.ts";
import { entropyShares, shareCoefficients } from "../../../merge-core/adapt/dawin.ts";
import { averagedScores, exactMatchBy } from "../../../merge-core/adapt/ensemble.ts";
import { pooledStates, routeOf, trainRouter } from "../../../merge-core/adapt/router.ts";
import { expertEntropies } from "../../../merge-core/adapt/run-adaptation.ts";
import { combine, decoderOf } from "../../../merge-core/adapt/task-vectors.ts";
import { tiesVectors } from "../../../merge-core/adapt/ties-vectors.ts";
import { buildWeMoe, trainRouters } from "../../../merge-core/adapt/wemoe.ts";
import { evaluate } from "../../../merge-core/evaluate/evaluate.ts";
import { planRecipe, type Scores } from "../../../merge-core/evaluate/evaluators.ts";
import { unlabelledRows } from "../../../merge-core/evaluate/likelihood.ts";
import type { Example } from "../../../merge-core/nn/data.ts";
import { type NextTokenScores, wholeScores } from "../../../merge-core/nn/generate.ts";
import { disposeDecoder } from "../../../merge-core/nn/load.ts";
import { modelFromTensors } from "../../../merge-core/nn/model.ts";
import { requireBackend } from "../../../merge-core/nn/storage.ts";
import { mergeTensors } from "../../../merge-core/run/merge-tensors.ts";
import { asTensors, type Bench, meanOf, QUICK, recipeText, ZOO } from "./bench.ts";

/** Steps and rates for models this small; the papers' are for larger ones. */
export const LEARNING = {
  steps: QUICK ? 2 : 24,
  lr: 0.03,
  batchSize: 8,
  maskSteps: QUICK ? 2 : 24,
  maskLr: 0.1,
  innerLr: 0.1,
  init: 0.3,
  routerLr: 5e-3,
} as const;

export interface Learned {
  readonly name: string;
  readonly needs: string;
  /** Nothing is drawn or chosen: one run says all. */
  readonly fixed?: boolean;
  readonly run: (bench: Bench, seed: number) => Promise<Scores>;
}

/** Also tells the entropy before and after, for the ordering that concerns it. */
export async function adaMergingFrom(
  bench: Bench,
  seed: number,
  init: number,
  per: "task" | "layer" = "layer",
): Promise<{ scores: Scores; losses: readonly number[] }> {
  const { vectors } = bench;
  const { coefficients, losses } = await adaMerging(vectors, bench.prompts(seed), { ...LEARNING, init, per, seed });
  return { scores: await bench.test.tensors(`${ZOO}/base`, asTensors(vectors, combine(vectors, coefficients))), losses };
}

const UNLABELLED = "unlabelled data, gradients";

export const LEARNED: readonly Learned[] = [
  { name: "AdaMerging, per task", needs: UNLABELLED, run: async (bench, seed) => (await adaMergingFrom(bench, seed, LEARNING.init, "task")).scores },
  { name: "AdaMerging, per tensor", needs: UNLABELLED, run: async (bench, seed) => (await adaMergingFrom(bench, seed, LEARNING.init)).scores },
  { name: "AdaMerging++, per tensor", needs: UNLABELLED, run: trimmed },
  { name: "Concrete task arithmetic", needs: UNLABELLED, run: (bench, seed) => masked(bench, seed, concreteTaskArithmetic) },
  { name: "Concrete AdaMerging, per tensor", needs: UNLABELLED, run: (bench, seed) => masked(bench, seed, concreteAdaMerging) },
  { name: "DaWin, one merge per data set", needs: "unlabelled data, task known", run: dawin },
  { name: "WEMoE", needs: `${UNLABELLED}, larger model`, run: (bench, seed) => wemoe(bench, seed, {}) },
  { name: "E-WEMoE", needs: `${UNLABELLED}, larger model`, run: (bench, seed) => wemoe(bench, seed, { sharedRouter: true, prune: 0.9 }) },
  { name: "1-bit, routed", needs: "labelled tasks, all task vectors in one bit", run: routed },
  { name: "ensemble of scores", needs: "all models", fixed: true, run: ensemble },
];

/** AdaMerging of what TIES leaves of each change. */
async function trimmed(bench: Bench, seed: number): Promise<Scores> {
  const vectors = tiesVectors(bench.vectors);
  const { coefficients } = await adaMerging(vectors, bench.prompts(seed), { ...LEARNING, seed });
  return bench.test.tensors(`${ZOO}/base`, asTensors(vectors, combine(vectors, coefficients)));
}

async function masked(bench: Bench, seed: number, learn: typeof concreteTaskArithmetic): Promise<Scores> {
  const { coefficients, masks } = await learn(bench.vectors, bench.prompts(seed), { ...LEARNING, seed });
  return bench.test.tensors(`${ZOO}/base`, asTensors(bench.vectors, combine(bench.vectors, coefficients, masks)));
}

/** Coefficients of each task's merge are the mean over the prompts of its fold. */
async function dawin(bench: Bench, seed: number): Promise<Scores> {
  const { vectors, tasks } = bench;
  const scores: Scores = {};
  for (const [t, rows] of bench.prompts(seed).entries()) {
    const entropies: number[][] = [];
    for (const expert of tasks.keys()) entropies.push(await expertEntropies(vectors, expert, rows));
    const shares = entropyShares(rows.map((_, i) => entropies.map((own) => own[i] ?? Number.NaN)));
    const mean = tasks.map((_, expert) => meanOf(shares.map((own) => own[expert] ?? 0)));
    const coefficients = shareCoefficients(mean, LEARNING.init).map((value) => vectors.names.map(() => value));
    const decoder = decoderOf(vectors, combine(vectors, coefficients));
    const { exactMatch } = await evaluate({ ...vectors.base, decoder }, bench.testData[t] ?? [], { metrics: ["exactMatch"], batchSize: 256 });
    scores[tasks[t] ?? ""] = exactMatch ?? Number.NaN;
    disposeDecoder(decoder);
  }
  return scores;
}

async function wemoe(bench: Bench, seed: number, kind: { readonly sharedRouter?: boolean; readonly prune?: number }): Promise<Scores> {
  const model = buildWeMoe(bench.vectors, { init: LEARNING.init, seed, ...kind });
  await trainRouters(model.decoder, bench.prompts(seed), { ...LEARNING, lr: LEARNING.routerLr, seed });
  const scores = await measure(bench, wholeScores(model.decoder));
  disposeDecoder(model.decoder);
  return scores;
}

async function ensemble(bench: Bench): Promise<Scores> {
  const { vectors, tasks } = bench;
  const decoders = tasks.map((_, expert) =>
    decoderOf(
      vectors,
      combine(
        vectors,
        tasks.map((_task, t) => vectors.names.map(() => (t === expert ? 1 : 0))),
      ),
    ),
  );
  const scores = await measure(bench, averagedScores(decoders));
  for (const decoder of decoders) disposeDecoder(decoder);
  return scores;
}

type Question = Extract<Example, { prompt: string }>;
const questions = (examples: readonly Example[] | undefined): Question[] => (examples ?? []).filter((example): example is Question => "prompt" in example);

async function measure(bench: Bench, scores: NextTokenScores): Promise<Scores> {
  const result: Scores = {};
  for (const [t, task] of bench.tasks.entries()) result[task] = await exactMatchBy(scores, bench.vectors.base, questions(bench.testData[t]));
  return result;
}

/** Every test prompt goes to the expert, kept in one bit per weight, that a router on the base's hidden states chooses. */
async function routed(bench: Bench, seed: number): Promise<Scores> {
  const { base } = bench.vectors;
  const labels = bench.prompts(seed).flatMap((rows, t) => rows.map(() => t));
  const router = trainRouter(pooledStates(base.decoder, bench.prompts(seed).flat()), labels, bench.tasks.length);
  const routes = bench.testData.map((examples) => pooledStates(base.decoder, unlabelledRows(base, examples)).map((features) => routeOf(router, features)));
  const right = bench.tasks.map(() => 0);
  for (const [expert, task] of bench.tasks.entries()) {
    const plan = await planRecipe({ text: recipeText([task], "one_bit", { model: { compress: 3 } }), file: "report.yml" });
    const model = await modelFromTensors(base.folder, await mergeTensors(plan, { pool: requireBackend().pool }));
    for (const [t, examples] of bench.testData.entries()) {
      const own = examples.filter((_, i) => routes[t]?.[i] === expert);
      if (own.length > 0) right[t] = (right[t] ?? 0) + own.length * ((await evaluate(model, own, { metrics: ["exactMatch"], batchSize: 256 })).exactMatch ?? 0);
    }
    disposeDecoder(model.decoder);
  }
  return Object.fromEntries(bench.tasks.map((task, t) => [task, (right[t] ?? 0) / (bench.testData[t]?.length ?? 1)]));
}
