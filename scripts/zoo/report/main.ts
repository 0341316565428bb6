// npm run zoo:report: every method on the sample models, chosen on validation data, measured on test data; writes docs/results.md. A report that was killed
// goes on where it was. With -- --quick and -- --out FILE it is a small one, which only shows that the program works.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Scores } from "../../../merge-core/evaluate/evaluators.ts";
import { TASKS } from "../../../merge-core/evaluate/synthetic-tasks.ts";
import { methods } from "../../../merge-core/methods/registry.ts";
import { openBench, QUICK, SEEDS, ZOO } from "./bench.ts";
import { adapterOrdering, permutationOrdering } from "./exact-claims.ts";
import { LEARNED } from "./learned.ts";
import { reportMarkdown } from "./markdown.ts";
import { GRID } from "./method-grid.ts";
import { coefficientCurve, measuredOrderings, type Ordering, tableOrderings } from "./orderings.ts";
import { betterOfPair, PAIR_METHODS, type PairRow, pairRow } from "./pairs.ts";
import { fisherRows, greedyRow, methodRow, type Row, referenceRows } from "./rows.ts";
import {
  evolveRun,
  frontRun,
  MAPS,
  type MapMethod,
  type MapRun,
  mapFronts,
  mapOrderings,
  mapRun,
  measuredFronts,
  measureUnlearning,
  searchRows,
  TWO_TASK_FRONTS,
  type Unlearned,
} from "./searches.ts";
import { runSteps, type Step } from "./steps.ts";

const THREADS = 2;
const JOURNAL = `node_modules/.cache/weightsmith/report${QUICK ? "-quick" : ""}.jsonl`;
const outAt = process.argv.indexOf("--out");
const OUT = outAt < 0 ? "docs/results.md" : (process.argv[outAt + 1] ?? "docs/results.md");

/** Where steps take much longer or shorter than most, in seconds on two quiet cores. */
const SECONDS: Readonly<Record<string, number>> = {
  wudi: 30,
  "Concrete task arithmetic": 25,
  "Concrete AdaMerging, per tensor": 50,
  WEMoE: 40,
  "E-WEMoE": 40,
  "ensemble of scores": 25,
  "Nested MAP": 80,
  PaMaL: 60,
  PaLoRA: 60,
};

/** The bundle names its parts by their content, so that its own text stands for the whole program. */
const models = ["base", ...TASKS].map((name) => join(ZOO, name, "model.safetensors"));
const program = [fileURLToPath(import.meta.url), join(ZOO, "zoo.json"), ...models];
const identity = createHash("sha256")
  .update(Buffer.concat(program.map((file) => readFileSync(file))))
  .digest("hex");

const minutes = (seconds: number): string =>
  `${Math.floor(seconds / 60)}:${Math.floor(seconds % 60)
    .toString()
    .padStart(2, "0")}`;
const say = (name: string, seconds: number, left: number | undefined): void =>
  void process.stderr.write(`${minutes(seconds).padStart(6)}  ${name}${left === undefined ? "" : `, about ${minutes(left)} left`}\n`);

const folder = await mkdtemp(join(tmpdir(), "weightsmith-report-"));
try {
  const bench = await openBench(folder, THREADS);
  const { tasks } = bench;
  const grid = QUICK ? GRID.filter(({ method }) => ["linear", "task_arithmetic", "ties", "iso_c", "tsv_m", "rws", "regmean"].includes(method)) : GRID;
  const perSeed = async <T>(seeds: readonly number[], run: (seed: number) => Promise<T>): Promise<T[]> => {
    const results: T[] = [];
    for (const seed of seeds) results.push(await run(seed));
    return results;
  };
  const mapMethods = Object.keys(MAPS) as MapMethod[];
  // Shares are seconds on two quiet cores.
  const steps: Step[] = [
    { name: "base and experts", share: 4, run: () => referenceRows(bench) },
    ...grid.map((entry): Step => ({ name: entry.method, share: SECONDS[entry.method] ?? 4, run: () => methodRow(bench, entry) })),
    { name: "fisher", share: 30, run: () => fisherRows(bench) },
    { name: "greedy soup", share: 6, run: () => greedyRow(bench) },
    ...LEARNED.map(
      ({ name, needs, fixed, run }): Step => ({
        name,
        share: SECONDS[name] ?? 15,
        run: async (): Promise<Row> => ({ name, needs, perSeed: await perSeed(fixed ? SEEDS.slice(0, 1) : SEEDS, (seed) => run(bench, seed)), chosen: [] }),
      }),
    ),
    ...PAIR_METHODS.map((method): Step => ({ name: `pairs: ${method.name}`, share: 4, run: () => pairRow(bench, method) })),
    { name: "pairs: experts", share: 4, run: () => betterOfPair(bench) },
    ...mapMethods.map(
      (method): Step => ({ name: MAPS[method], share: SECONDS[MAPS[method]] ?? 40, run: () => perSeed(SEEDS, (seed) => mapRun(bench, method, seed, THREADS)) }),
    ),
    { name: "CMA-ES", share: 20, run: () => perSeed(SEEDS, (seed) => evolveRun(bench, seed, THREADS)) },
    ...TWO_TASK_FRONTS.map((name): Step => ({ name, share: SECONDS[name] ?? 15, run: () => frontRun(bench, name, THREADS) })),
    { name: "unlearning", share: 40, run: () => measureUnlearning(bench, THREADS) },
    { name: "curve", share: 6, run: () => coefficientCurve(bench, tasks) },
    { name: "curve of two tasks", share: 4, run: () => coefficientCurve(bench, tasks.slice(0, 2)) },
    { name: "adapters", share: 6, run: () => adapterOrdering(bench) },
    { name: "permutation", share: 6, run: () => permutationOrdering(bench) },
  ];
  const first = await runSteps(steps, JOURNAL, identity, say);
  const get = <T>(name: string): T => first.get(name) as T;
  type Curve = { readonly weight: number; readonly score: number }[];
  const curves = { two: get<Curve>("curve of two tasks"), all: get<Curve>("curve") };
  const found = await runSteps([...steps, { name: "orderings", share: 20, run: () => measuredOrderings(bench, curves) }], JOURNAL, identity, say);
  const { base, experts } = get<{ base: Row; experts: Row }>("base and experts");
  const runs = mapMethods.flatMap((method) => get<MapRun[]>(MAPS[method]));
  const { unlearned, orderings: ofUnlearning } = get<{ unlearned: Unlearned[]; orderings: Ordering[] }>("unlearning");
  const rows = [
    ...grid.map(({ method }) => get<Row>(method)),
    ...get<Row[]>("fisher"),
    get<Row>("greedy soup"),
    ...LEARNED.map(({ name }) => get<Row>(name)),
    ...searchRows(runs, get<Scores[]>("CMA-ES")),
  ];
  const pairs = [get<PairRow>("pairs: experts"), ...PAIR_METHODS.map(({ name }) => get<PairRow>(`pairs: ${name}`))];
  const orderings = [
    ...tableOrderings(rows, base, experts),
    ...(found.get("orderings") as Ordering[]),
    ...mapOrderings(runs),
    ...get<Ordering[]>("adapters"),
    ...get<Ordering[]>("permutation"),
    ...ofUnlearning,
  ].sort((a, b) => a.group - b.group);
  const shown = new Set([...rows, ...pairs].map(({ name }) => name));
  const left = methods.map(({ id }) => id).filter((id) => !shown.has(id) && id !== "ssd");
  const fronts = measuredFronts(TWO_TASK_FRONTS.map((name) => get<number[][]>(name)));
  writeFileSync(OUT, reportMarkdown({ tasks, base, experts, rows, pairs, maps: mapFronts(runs), orderings, curve: curves.all, fronts, unlearned, left }));
  process.stderr.write(`${OUT}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
// Worker threads would keep the process alive.
process.exit(0);
