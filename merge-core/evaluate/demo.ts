// weightsmith demo: merges the sample experts by recipe, measures base, experts and merges on every task, and writes what it found. Node only.
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { openError } from "../bytes/file-source.ts";
import type { StatisticsKind } from "../methods/method.ts";
import { initBackend } from "../nn/backend.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel } from "../nn/model.ts";
import { readPageScript } from "../report-page.ts";
import { VERSION } from "../version.ts";
import { fillDemoFolder, REPORT_FILE, RESULTS_FILE } from "./demo-folder.ts";
import { type DemoMerge, demoMerges, statisticsFile } from "./demo-merges.ts";
import { type DemoProbes, measureProbes, probeCount } from "./demo-probes.ts";
import { reportHtml } from "./demo-report.ts";
import { type DemoResults, type MeasuredModel, mean, overSeeds, type WeightPoint } from "./demo-results.ts";
import { measureTasks, readTaskData, type TaskData } from "./measure-tasks.ts";
import { mergeByRecipe, type RecipeText } from "./recipe-merge.ts";

/** Experts whose trade-off is drawn, and the weights of the second. */
const TRADE_OFF = { method: "linear", tasks: ["reverse", "shift"], steps: 10 } as const;

export interface DemoProgress {
  /** Models measured so far, of how many. */
  readonly done: number;
  readonly total: number;
  /** What is being merged or measured. */
  readonly detail: string;
}

export interface DemoOptions {
  /** Folder to write; an earlier demo there is replaced. Default `weightsmith-demo`. */
  readonly out?: string;
  /** Replace whatever is there. */
  readonly overwrite?: boolean;
  /** Folder of the sample models. Default: those that ship with the package. */
  readonly zoo?: string;
  /** Merge by every method that takes any number of experts, instead of a few, and look at task vectors in two more ways. */
  readonly all?: boolean;
  readonly threads?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: DemoProgress) => void;
}

export interface DemoOutcome {
  readonly results: DemoResults;
  readonly resultsFile: string;
  readonly reportFile: string;
  readonly seconds: number;
}

/** The part of the zoo's zoo.json that the demo needs. */
interface ZooDescription {
  readonly base: string;
  readonly tasks: readonly { readonly name: string; readonly expert: string }[];
}

const shippedZoo = () => fileURLToPath(new URL("../media/zoo/", import.meta.url));

/**
 * Runs the demo: no training, only merging and measuring. Nothing appears under `out` unless it completes.
 * @throws WeightsmithError `output-exists`, `cancelled`, and what merging and loading throw
 */
export async function runDemo(options: DemoOptions = {}): Promise<DemoOutcome> {
  const started = performance.now();
  const { out = "weightsmith-demo", overwrite = false, threads } = options;
  await initBackend(threads === undefined ? {} : { threads });
  const results = await fillDemoFolder(out, overwrite, async (folder) => {
    const measured = await measureAll(options, folder);
    await writeFile(join(folder, RESULTS_FILE), `${JSON.stringify(measured, undefined, 2)}\n`);
    await writeFile(join(folder, REPORT_FILE), reportHtml(measured, await readPageScript("report")));
    return measured;
  });
  return { results, resultsFile: join(out, RESULTS_FILE), reportFile: join(out, REPORT_FILE), seconds: (performance.now() - started) / 1000 };
}

/** What the steps of one run share. */
interface DemoRun {
  readonly zoo: string;
  readonly experts: ZooDescription["tasks"];
  /** Where merges are put. */
  readonly folder: string;
  readonly data: TaskData;
  readonly options: { readonly threads?: number; readonly signal?: AbortSignal };
  /** Says what is being done; `measured` counts a model as done. */
  readonly report: (detail: string, measured?: boolean) => void;
}

async function measureAll(options: DemoOptions, folder: string): Promise<DemoResults> {
  const zoo = options.zoo ?? shippedZoo();
  const { base, tasks: entries } = await readZoo(join(zoo, "zoo.json"));
  const tasks = entries.map(({ name }) => name);
  const all = options.all === true;
  const data = await readTaskData(join(zoo, "data"), tasks, "test");
  const merges = await demoMerges(
    zoo,
    entries.map(({ expert }) => expert),
    all,
  );
  const runs = merges.reduce((sum, { seeds }) => sum + seeds, 0);
  const report = progressReporter(1 + tasks.length + runs + TRADE_OFF.steps + 1 + (all ? probeCount(tasks.length) : 0), options.onProgress);
  const { threads, signal } = options;
  const run: DemoRun = {
    zoo,
    experts: entries,
    folder,
    data,
    report,
    options: { ...(threads === undefined ? {} : { threads }), ...(signal === undefined ? {} : { signal }) },
  };
  const models = [
    await measureModel(run, { name: "base", kind: "base" }, join(zoo, base)),
    ...(await inTurn(entries, ({ name, expert }) => measureModel(run, { name, kind: "expert", task: name }, join(zoo, expert)))),
  ];
  models.push(...(await inTurn(merges, (recipe) => measureMerge(run, recipe))));
  const recipes = Object.fromEntries(merges.map(({ name, text }) => [name, text]));
  const examples = Object.fromEntries([...data].map(([task, list]) => [task, list.length]));
  const tradeOff = await measureTradeOff(run);
  const probes = all ? { probes: await probeTaskVectors(run, base) } : {};
  return { format: "weightsmith-demo", weightsmith: VERSION, tasks, examples, models, tradeOff, ...probes, recipes };
}

async function probeTaskVectors(run: DemoRun, base: string): Promise<DemoProbes> {
  const tasks = run.experts.map(({ name }) => name);
  const folder = join(run.folder, "probes");
  let count = 0;
  const measureRecipe = async (text: string, data: TaskData) => {
    const merged = join(folder, `task vectors ${++count}`);
    await merge(run, { text, file: join(run.zoo, "recipes", "probe.yml") }, merged);
    const scores = await measure(run, merged, data);
    await rm(merged, { recursive: true });
    return scores;
  };
  const validation = await readTaskData(join(run.zoo, "data"), tasks, "validation");
  const probes = await measureProbes({ base, experts: run.experts, test: run.data, validation, measure: measureRecipe });
  await rm(folder, { recursive: true });
  return probes;
}

/** Merges and measures with every seed; the merge of seed 0 stays. */
async function measureMerge(run: DemoRun, { name, seeds, data, ...shown }: DemoMerge): Promise<MeasuredModel> {
  if (data !== undefined) await takeStatistics(run, data);
  const recipe = { ...shown, text: shown.text.replaceAll(" statistics/", ` ${join(run.folder, "statistics")}/`) };
  const merged = join(run.folder, "merges", name);
  const method = await merge(run, recipe, merged);
  const first = await measureModel(run, { name, kind: "merge", method }, merged);
  const others = await inTurn(
    Array.from({ length: seeds - 1 }, (_, i) => i + 1),
    async (seed) => {
      const again = join(run.folder, "seeds", `${name} ${seed}`);
      await merge(run, recipe, again, seed);
      const measured = await measureModel(run, first, again);
      await rm(join(run.folder, "seeds"), { recursive: true });
      return measured;
    },
  );
  return { ...first, ...overSeeds([first, ...others]) };
}

/** Statistics of each expert on the validation questions of its task, in the folder beside the merges. */
async function takeStatistics(run: DemoRun, kind: StatisticsKind): Promise<void> {
  const { writeFisher, writeGram } = await import("./statistics/statistics-file.ts");
  await mkdir(join(run.folder, "statistics"), { recursive: true });
  for (const { name, expert } of run.experts) {
    const out = join(run.folder, statisticsFile(expert, kind));
    if (existsSync(out)) continue;
    run.report(`taking ${kind} of ${name}`);
    const data = [join(run.zoo, "data", `${name}.validation.jsonl`)];
    await (kind === "fisher" ? writeFisher : writeGram)(join(run.zoo, expert), data, { ...run.options, out });
  }
}

async function readZoo(file: string): Promise<ZooDescription> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    throw openError(file, error);
  });
  return JSON.parse(text) as ZooDescription;
}

function progressReporter(total: number, onProgress: DemoOptions["onProgress"]): DemoRun["report"] {
  let done = 0;
  return (detail, measured = false) => {
    if (measured) done++;
    onProgress?.({ done, total, detail });
  };
}

/** Merges of two experts at evenly spaced weights, the ends included. */
async function measureTradeOff(run: DemoRun): Promise<DemoResults["tradeOff"]> {
  const { method, tasks, steps } = TRADE_OFF;
  const [first, second] = tasks;
  const both: TaskData = new Map([...run.data].filter(([task]) => task === first || task === second));
  const weights = Array.from({ length: steps + 1 }, (_, i) => i / steps);
  const points = await inTurn(weights, async (weight): Promise<WeightPoint> => {
    const merged = join(run.folder, "weights", weight.toFixed(1));
    await merge(run, { text: weightRecipe(method, [first, 1 - weight], [second, weight]), file: join(run.zoo, "recipes", "weights.yml") }, merged);
    return { weight, exactMatch: await measure(run, merged, both) };
  });
  await rm(join(run.folder, "weights"), { recursive: true });
  return { method, tasks: [first, second], points };
}

function merge(run: DemoRun, recipe: RecipeText, out: string, seed = 0): Promise<string> {
  run.report(`merging ${basename(out)}`);
  return mergeByRecipe(recipe, out, { ...run.options, seed });
}

async function measureModel(run: DemoRun, model: Omit<MeasuredModel, "exactMatch" | "mean">, folder: string): Promise<MeasuredModel> {
  const exactMatch = await measure(run, folder, run.data);
  return { ...model, exactMatch, mean: mean(Object.values(exactMatch)) };
}

async function measure(run: DemoRun, folder: string, data: TaskData): Promise<Record<string, number>> {
  run.report(`measuring ${basename(folder)}`);
  const model = await loadModel(folder, run.options);
  try {
    return await measureTasks(model, data, run.options);
  } finally {
    disposeDecoder(model.decoder);
    run.report(`measured ${basename(folder)}`, true);
  }
}

/** A recipe for two experts of the zoo, as it would stand in the zoo's folder of recipes. */
function weightRecipe(method: string, ...experts: readonly (readonly [task: string, weight: number])[]): string {
  const models = experts.map(([task, weight]) => `  - model: ../${task}\n    parameters:\n      weight: ${weight}\n`);
  return `merge_method: ${method}\nmodels:\n${models.join("")}dtype: bfloat16\n`;
}

/** One after the other: each uses all threads. */
async function inTurn<T, R>(items: readonly T[], step: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const item of items) results.push(await step(item));
  return results;
}
