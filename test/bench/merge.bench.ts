// How fast merging is, as ratios to a plain copy of the same bytes by the same threads in the same tiles: what is left is the cost of
// the arithmetic. Prints JSON, then a Markdown table.
//   BENCH_MIB      size of one checkpoint in MiB (default 1024)
//   BENCH_THREADS  threads (default: what the process may use)
//   BENCH_REPEATS  runs of each, the best counts (default 3)
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import * as e from "../../merge-core/compute/expr.ts";
import { type ComputePool, createPool } from "../../merge-core/compute/pool.ts";
import { type OpenTensor, openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import { createControl, type TileInput } from "../../merge-core/compute/tiles.ts";

const MIB = 1 << 20;
const sizeMib = Number(process.env.BENCH_MIB ?? 1024);
const threads = Number(process.env.BENCH_THREADS ?? availableParallelism());
const repeats = Number(process.env.BENCH_REPEATS ?? 3);
const BUDGET = 512 * MIB;
/** A checkpoint's tensors: 64 MiB of bf16 is a 4096 x 8192 matrix. */
const TENSOR_BYTES = Math.min(64, sizeMib) * MIB;
/** The engine's own size of tiles. */
const TILE_BYTES = MIB / 4;
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

/** bf16 numbers between 2^-13 and 2^-5 in size, of either sign, as in trained weights; a fine-tune differs from its base in the low bits. */
function makeCheckpoint(file: string, seed: number): void {
  const fd = openSync(file, "w");
  const codes = new Uint16Array((8 * MIB) / 2);
  let state = 1;
  let noise = seed;
  for (let at = 0; at < sizeMib; at += 8) {
    for (let i = 0; i < codes.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      noise = (Math.imul(noise, 22695477) + 1) | 0;
      codes[i] = ((state >>> 16) & 0x83ff) + 0x3900 + ((noise >>> 28) & 15);
    }
    writeSync(fd, codes, 0, codes.byteLength, at * MIB);
  }
  closeSync(fd);
}

/** The tile loop without a kernel: reads every input, writes as much as one of them. */
async function copyFiles(pool: ComputePool, files: readonly string[], output: string): Promise<void> {
  const fds = files.map((file) => pool.files.acquire(file, false));
  const out = pool.files.acquire(output, true);
  const inputs = files.map((file, slot): TileInput => ({ slot, elementBytes: 2, store: { file, fd: fds[slot] as number, offset: 0 }, load: true }));
  const partBytes = 4096 + files.length * TILE_BYTES;
  const block = pool.arena.alloc(threads * partBytes);
  const parts = Array.from({ length: threads }, (_, i) => {
    const table = block + i * partBytes;
    const buffers = files.map((_, slot) => table + 4096 + slot * TILE_BYTES);
    return { program: table, table, buffers, output: buffers[0] as number };
  });
  const target = { elementBytes: 2, store: { file: output, fd: out, offset: 0 } };
  await pool.run({
    control: createControl(),
    first: 0,
    end: (sizeMib * MIB) / 2,
    tile: TILE_BYTES / 2,
    stride: TILE_BYTES / 2,
    code: undefined,
    inputs,
    output: target,
    parts,
  });
  pool.arena.free(block);
  for (const file of files) pool.files.release(file, false);
  pool.files.release(output, true);
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

interface Cost {
  ms: number;
  cpuMs: number;
}

async function measure(action: () => Promise<void>, least: Cost): Promise<void> {
  const start = performance.now();
  const cpu = process.cpuUsage();
  await action();
  const { user, system } = process.cpuUsage(cpu);
  least.ms = Math.min(least.ms, performance.now() - start);
  least.cpuMs = Math.min(least.cpuMs, (user + system) / 1000);
}

/** A new, empty file of the right size: both sides write where nothing was written before, as a merge does. */
function freshOutput(pool: ComputePool, output: string): void {
  pool.files.closeIdle();
  rmSync(output, { force: true });
  const fd = openSync(output, "w");
  ftruncateSync(fd, sizeMib * MIB);
  closeSync(fd);
}

/** Copy and merge by turns, so that both meet the same weather; the best of each counts. */
async function compare(pool: ComputePool, name: string, limit: number, files: readonly string[], output: string, merge: () => Promise<void>): Promise<Run> {
  const copyCost = { ms: Number.POSITIVE_INFINITY, cpuMs: Number.POSITIVE_INFINITY };
  const cost = { ...copyCost };
  for (let i = 0; i < repeats; i++) {
    freshOutput(pool, output);
    await measure(() => copyFiles(pool, files, output), copyCost);
    freshOutput(pool, output);
    await measure(merge, cost);
  }
  const ratio = (a: number, b: number): number => Math.round((100 * a) / b) / 100;
  return {
    name,
    ms: Math.round(cost.ms),
    copyMs: Math.round(copyCost.ms),
    ratio: ratio(cost.ms, copyCost.ms),
    cpuRatio: ratio(cost.cpuMs, copyCost.cpuMs),
    limit,
  };
}

const folder = mkdtempSync(join(tmpdir(), "weightsmith-bench-"));
process.on("SIGINT", () => process.exit(130));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const files = ["a", "b", "c", "base"].map((name, i) => {
  const file = join(folder, name);
  makeCheckpoint(file, i + 2);
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
