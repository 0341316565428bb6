// weightsmith demo: merges the sample experts by recipe, measures base, experts and merges on every task, and writes what it found. Node only.
import { readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { throwIfCancelled } from "../diagnostics.ts";
import { initBackend } from "../nn/backend.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel } from "../nn/model.ts";
import { VERSION } from "../version.ts";
import { fillDemoFolder, REPORT_FILE, RESULTS_FILE } from "./demo-folder.ts";
import { readReportScript, reportHtml } from "./demo-report.ts";
import { type DemoResults, type MeasuredModel, mean, type WeightPoint } from "./demo-results.ts";
import { measureTasks, readTaskData, type TaskData } from "./measure-tasks.ts";
import { mergeByRecipe } from "./recipe-merge.ts";

/** Recipes of the zoo that merge all four experts, in the order of the table. */
export const DEMO_RECIPES = ["linear", "task-arithmetic", "ties", "dare-linear", "dare-ties"] as const;

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
    const measured = await new Demo(options, folder).run();
    await writeFile(join(folder, RESULTS_FILE), `${JSON.stringify(measured, undefined, 2)}\n`);
    await writeFile(join(folder, REPORT_FILE), reportHtml(measured, await readReportScript()));
    return measured;
  });
  return { results, resultsFile: join(out, RESULTS_FILE), reportFile: join(out, REPORT_FILE), seconds: (performance.now() - started) / 1000 };
}

/** One run: what is shared by its steps, and how far it is. */
class Demo {
  readonly #options: DemoOptions;
  readonly #folder: string;
  readonly #zoo: string;
  #done = 0;
  #total = 0;

  constructor(options: DemoOptions, folder: string) {
    this.#options = options;
    this.#folder = folder;
    this.#zoo = options.zoo ?? shippedZoo();
  }

  async run(): Promise<DemoResults> {
    const zoo = JSON.parse(await readFile(join(this.#zoo, "zoo.json"), "utf8")) as ZooDescription;
    const tasks = zoo.tasks.map(({ name }) => name);
    const data = await readTaskData(join(this.#zoo, "data"), tasks, "test");
    this.#total = 1 + tasks.length + DEMO_RECIPES.length + TRADE_OFF.steps + 1;
    const models = [
      await this.#measured({ name: "base", kind: "base" }, join(this.#zoo, zoo.base), data),
      ...(await inTurn(zoo.tasks, ({ name, expert }) => this.#measured({ name, kind: "expert", task: name }, join(this.#zoo, expert), data))),
    ];
    const recipes: Record<string, string> = {};
    for (const name of DEMO_RECIPES) {
      const file = join(this.#zoo, "recipes", `${name}.yml`);
      recipes[name] = await readFile(file, "utf8");
      const merged = join(this.#folder, "merges", name);
      const method = await this.#merge({ text: recipes[name], file }, merged);
      models.push(await this.#measured({ name, kind: "merge", method }, merged, data));
    }
    const examples = Object.fromEntries([...data].map(([task, list]) => [task, list.length]));
    return { format: "weightsmith-demo", weightsmith: VERSION, tasks, examples, models, tradeOff: await this.#tradeOff(data), recipes };
  }

  /** Merges of two experts at evenly spaced weights, the ends included. */
  async #tradeOff(data: TaskData): Promise<DemoResults["tradeOff"]> {
    const { method, tasks, steps } = TRADE_OFF;
    const [first, second] = tasks;
    const both: TaskData = new Map([...data].filter(([task]) => task === first || task === second));
    const weights = Array.from({ length: steps + 1 }, (_, i) => i / steps);
    const points = await inTurn(weights, async (weight): Promise<WeightPoint> => {
      const merged = join(this.#folder, "weights", weight.toFixed(1));
      await this.#merge({ text: weightRecipe(method, [first, 1 - weight], [second, weight]), file: join(this.#zoo, "recipes", "weights.yml") }, merged);
      return { weight, exactMatch: await this.#measure(merged, both) };
    });
    await rm(join(this.#folder, "weights"), { recursive: true });
    return { method, tasks: [first, second], points };
  }

  async #merge(recipe: { text: string; file: string }, out: string): Promise<string> {
    this.#report(`merging ${basename(out)}`);
    const { threads, signal } = this.#options;
    return mergeByRecipe(recipe, out, { ...(threads === undefined ? {} : { threads }), ...(signal === undefined ? {} : { signal }) });
  }

  async #measured(model: Omit<MeasuredModel, "exactMatch" | "mean">, folder: string, data: TaskData): Promise<MeasuredModel> {
    const exactMatch = await this.#measure(folder, data);
    return { ...model, exactMatch, mean: mean(Object.values(exactMatch)) };
  }

  async #measure(folder: string, data: TaskData): Promise<Record<string, number>> {
    this.#report(`measuring ${basename(folder)}`);
    const { signal } = this.#options;
    throwIfCancelled(signal);
    const signalled = signal === undefined ? {} : { signal };
    const model = await loadModel(folder, signalled);
    try {
      return await measureTasks(model, data, signalled);
    } finally {
      disposeDecoder(model.decoder);
      this.#done++;
      this.#report(basename(folder));
    }
  }

  #report(detail: string): void {
    this.#options.onProgress?.({ done: this.#done, total: this.#total, detail });
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
