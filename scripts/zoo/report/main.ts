// npm run zoo:report: every method on the sample models, chosen on validation data, measured on test data; writes docs/results.md.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { methods } from "../../../merge-core/methods/registry.ts";
import { openBench, SEEDS } from "./bench.ts";
import { LEARNED } from "./learned.ts";
import { reportMarkdown } from "./markdown.ts";
import { GRID } from "./method-grid.ts";
import { coefficientCurve, measuredOrderings, tableOrderings } from "./orderings.ts";
import { fisherRows, greedyRow, methodRow, type Row, referenceRows } from "./rows.ts";
import { measureFronts, measureUnlearning, searchRows } from "./searches.ts";

const THREADS = 2;
const started = performance.now();
const say = (what: string) => void process.stderr.write(`${((performance.now() - started) / 1000).toFixed(0).padStart(4)} s  ${what}\n`);

const folder = await mkdtemp(join(tmpdir(), "weightsmith-report-"));
try {
  const bench = await openBench(folder, THREADS);
  const { base, experts } = await referenceRows(bench);
  const rows: Row[] = [];
  for (const entry of GRID) {
    say(entry.method);
    rows.push(await methodRow(bench, entry));
  }
  say("fisher, greedy soup");
  rows.push(...(await fisherRows(bench)), await greedyRow(bench));
  for (const { name, needs, fixed, run } of LEARNED) {
    say(name);
    const perSeed = [];
    for (const seed of fixed ? SEEDS.slice(0, 1) : SEEDS) perSeed.push(await run(bench, seed));
    rows.push({ name, needs, perSeed, chosen: [] });
  }
  say("MAP, CMA-ES");
  const searched = await searchRows(bench, THREADS);
  rows.push(...searched.rows);
  say("fronts");
  const fronts = await measureFronts(bench, THREADS);
  say("unlearning");
  const { unlearned, orderings: ofUnlearning } = await measureUnlearning(bench, THREADS);
  say("orderings");
  const curve = await coefficientCurve(bench, bench.tasks);
  const two = await coefficientCurve(bench, bench.tasks.slice(0, 2));
  const measured = await measuredOrderings(bench, { two, all: curve });
  const orderings = [...tableOrderings(rows, base, experts), ...measured, ...searched.orderings, ...ofUnlearning];
  const shown = new Set(rows.map(({ name }) => name));
  const left = methods.map(({ id }) => id).filter((id) => !shown.has(id));
  await writeFile("docs/results.md", reportMarkdown({ tasks: bench.tasks, base, experts, rows, orderings, curve, fronts, unlearned, left }));
  say("docs/results.md");
} finally {
  await rm(folder, { recursive: true, force: true });
}
// Worker threads would keep the process alive.
process.exit(0);
