// How fast merging is, as ratios to a plain copy of the same bytes by the same threads in the same tiles: what is left is the cost of
// the arithmetic. Prints JSON, then a Markdown table.
//   BENCH_MIB      size of one checkpoint in MiB (default 1024)
//   BENCH_THREADS  threads (default: what the process may use)
//   BENCH_REPEATS  runs of each, the best counts (default 3)
import { availableParallelism } from "node:os";
import { join } from "node:path";
import * as e from "../../merge-core/compute/expr.ts";
import { type ComputePool, createPool } from "../../merge-core/compute/pool.ts";
import { type OpenTensor, openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import { benchFolder, freshOutput, MIB, makeCheckpoint, measure, noCost, ratio, readFiles } from "./files.ts";

const sizeMib = Number(process.env.BENCH_MIB ?? 1024);
const threads = Number(process.env.BENCH_THREADS ?? availableParallelism());
const repeats = Number(process.env.BENCH_REPEATS ?? 3);
const BUDGET = 512 * MIB;
/** A checkpoint's tensors: 64 MiB of bf16 is a 4096 x 8192 matrix. */
const TENSOR_BYTES = Math.min(64, sizeMib) * MIB;
/** What the project promises, and what it may use beyond the budget. */
const LIMITS = { linear: 1.5, ties: 6, rssBytes: BUDGET + 250 * MIB };

interface Run {
  readonly name: string;
  readonly ms: number;
  readonly copyMs: number;
  readonly ratio: number;
  /** The same of processor time, which other programs on the machine disturb less. */
  readonly cpuRatio: number;
  readonly limit: number;
}

async function mergeFiles(
  pool: ComputePool,
  files: readonly string[],
  output: string,
  formula: (engine: OpenTensor) => e.Expr | Promise<e.Expr>,
): Promise<void> {
  for (let offset = 0; offset < sizeMib * MIB; offset += TENSOR_BYTES) {
    const inputs = files.map((file) => ({ dtype: "BF16" as const, file, offset }));
    const shape = [TENSOR_BYTES / 2];
    const engine = openTensorEngine(pool, { name: `t${offset}`, shape, seed: 0, inputs, output: { dtype: "BF16", file: output, offset }, memoryBytes: BUDGET });
    await engine.write(await formula(engine));
    engine.close();
  }
}

const linear = (): e.Expr => e.linear([0, 1, 2].map((i) => ({ weight: [0.5, 0.3, 0.2][i] as number, x: e.input(i) })));

/** TIES with density 0.5, normalised: trim, elect signs by weighted sum, divide by the weight that agrees. Input 3 is the base. */
async function ties(engine: OpenTensor): Promise<e.Expr> {
  const base = e.input(3);
  const weights = [0.5, 0.3, 0.2];
  const deltas = weights.map((_, i) => e.sub(e.input(i), base));
  const kept = await engine.selectLargest(deltas.map((x) => ({ x, keep: Math.floor(engine.size / 2) })));
  const weighted = deltas.map((x, i) => e.scale(e.trim(x, kept[i] as e.MagnitudeSelection), weights[i] as number));
  const zero = e.constant(0);
  const positive = e.compare("ge", e.linear(weighted.map((x) => ({ weight: 1, x }))), zero);
  const agree = weighted.map((x) => e.select(positive, e.compare("gt", x, zero), e.compare("lt", x, zero)));
  const total = e.linear(weighted.map((x, i) => ({ weight: 1, x: e.mul(x, agree[i] as e.Expr) })));
  const divisor = e.linear(agree.map((x, i) => ({ weight: weights[i] as number, x })));
  return e.add(base, e.div(total, e.select(divisor, divisor, e.constant(1))));
}

/** Copy and merge by turns, so that both meet the same weather; the best of each counts. */
async function compare(pool: ComputePool, name: string, limit: number, files: readonly string[], output: string, merge: () => Promise<void>): Promise<Run> {
  const [copyCost, cost] = [noCost(), noCost()];
  for (let i = 0; i < repeats; i++) {
    freshOutput(pool, output, sizeMib);
    await measure(() => readFiles(pool, files, sizeMib, output), copyCost);
    freshOutput(pool, output, sizeMib);
    await measure(merge, cost);
  }
  return {
    name,
    ms: Math.round(cost.ms),
    copyMs: Math.round(copyCost.ms),
    ratio: ratio(cost.ms, copyCost.ms),
    cpuRatio: ratio(cost.cpuMs, copyCost.cpuMs),
    limit,
  };
}

const folder = benchFolder();
const files = ["a", "b", "c", "base"].map((name, i) => {
  const file = join(folder, name);
  makeCheckpoint(file, i + 2, sizeMib);
  return file;
});
const output = join(folder, "out");
const pool = createPool({ threads });
const models = files.slice(0, 3);
const runs = [
  await compare(pool, "linear of 3", LIMITS.linear, models, output, () => mergeFiles(pool, models, output, linear)),
  await compare(pool, "TIES of 3 + base", LIMITS.ties, files, output, () => mergeFiles(pool, files, output, ties)),
];
await pool.close();
const peakRssBytes = process.resourceUsage().maxRSS * 1024;
console.log(JSON.stringify({ checkpointMib: sizeMib, threads, runs, peakRssMib: Math.round(peakRssBytes / MIB), rssLimitMib: LIMITS.rssBytes / MIB }));
console.log("\n| Merge | time | plain copy | ratio | of processor time | promised |\n|---|---|---|---|---|---|");
for (const run of runs)
  console.log(`| ${run.name}, bf16, ${sizeMib} MiB each | ${run.ms} ms | ${run.copyMs} ms | ${run.ratio} | ${run.cpuRatio} | ${run.limit} |`);
console.log(`\nPeak memory ${Math.round(peakRssBytes / MIB)} MiB of ${LIMITS.rssBytes / MIB} (${threads} threads).`);
if (runs.some((run) => run.ratio > run.limit) || peakRssBytes > LIMITS.rssBytes) process.exitCode = 1;
