// Iso-C on one pair of differences, against the same merge through float32 torch.linalg.svd on the same threads, by turns in one run.
// Needs WEIGHTSMITH_PEER_PYTHON to name a Python with torch; WEIGHTSMITH_BLAS may name a BLAS library to measure too.
import { execFileSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { polarFactor } from "../../merge-core/compute/linalg/polar.ts";
import { poolSpace } from "../../merge-core/compute/linalg/pool-space.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { type Blas, loadBlas } from "../../merge-core/compute/providers/blas.ts";
import { randomKey, uniforms } from "../../merge-core/compute/rng.ts";

const sizes = (process.env.BENCH_SIDES ?? "1024,2048,4096").split(",").map(Number);
const threads = Number(process.env.BENCH_THREADS ?? availableParallelism());
const repeats = Number(process.env.BENCH_REPEATS ?? 2);
/** Times torch's time. */
const LIMITS = { cpu: 3, blas: 1 };

interface Cost {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

const TORCH = `
import json, sys, time, torch
n, threads = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
torch.manual_seed(0)
a, b = (torch.rand(n, n) - 0.5 for _ in range(2))
start, cpu = time.perf_counter(), time.process_time()
u, s, v = torch.linalg.svd(a + b, full_matrices=False)
merged = s.mean() * (u @ v)
print(json.dumps({"seconds": time.perf_counter() - start, "cpuSeconds": time.process_time() - cpu}))`;

const torch = (python: string, n: number): Cost =>
  JSON.parse(execFileSync(python, ["-c", TORCH, String(n), String(threads)], { encoding: "utf8", env: { ...process.env, OMP_NUM_THREADS: String(threads) } }));

async function ours(n: number, blas: Blas | undefined): Promise<Cost> {
  const pool = createPool({ threads, blas });
  const space = poolSpace(pool);
  const [a, b] = [0, 1].map((model) => uniforms(randomKey(0, "iso"), { model, purpose: 0 }, 0, n * n)) as [Float32Array, Float32Array];
  const sum = space.zeros(n, n);
  const [start, cpu] = [performance.now(), process.cpuUsage()];
  for (let i = 0; i < sum.data.length; i++) sum.data[i] = (a[i] as number) + (b[i] as number) - 1;
  const { factor, rank, nuclear } = await polarFactor(space, sum);
  for (let i = 0; i < factor.data.length; i++) factor.data[i] = (factor.data[i] as number) * (nuclear / rank);
  const { user, system } = process.cpuUsage(cpu);
  const cost = { seconds: (performance.now() - start) / 1000, cpuSeconds: (user + system) / 1e6 };
  await pool.close();
  return cost;
}

const least = (a: Cost | undefined, b: Cost): Cost =>
  a === undefined ? b : { seconds: Math.min(a.seconds, b.seconds), cpuSeconds: Math.min(a.cpuSeconds, b.cpuSeconds) };

const python = process.env.WEIGHTSMITH_PEER_PYTHON;
if (python === undefined) console.log("skipped: WEIGHTSMITH_PEER_PYTHON names no Python with torch");
else {
  const blas = await loadBlas(threads).catch(() => undefined);
  const engines = [["cpu", undefined] as const, ...(blas === undefined ? [] : [["blas", blas] as const])];
  console.log(
    `${threads} threads${blas === undefined ? "" : `, ${blas.name}`}\n\n| side | engine | time | torch | ratio | of processor time | promised |\n|---|---|---|---|---|---|---|`,
  );
  for (const n of sizes)
    for (const [name, engine] of engines) {
      let [mine, peer]: (Cost | undefined)[] = [];
      for (let i = 0; i < repeats; i++) {
        peer = least(peer, torch(python, n));
        mine = least(mine, await ours(n, engine));
      }
      if (mine === undefined || peer === undefined) continue;
      const ratios = [mine.seconds / peer.seconds, mine.cpuSeconds / peer.cpuSeconds].map((ratio) => ratio.toFixed(2));
      console.log(`| ${n} | ${name} | ${mine.seconds.toFixed(2)} s | ${peer.seconds.toFixed(2)} s | ${ratios.join(" | ")} | ${LIMITS[name]} |`);
    }
}
