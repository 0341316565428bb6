// The kernels on this machine's GPU, the matrix work of Iso-C and TSV-M and LoRA training against torch on the same GPU, where a Python
// has it: python3, or the one that WEIGHTSMITH_PEER_PYTHON names. Prints date and device, as docs/gpu.md wants them.
import { execFileSync, spawnSync } from "node:child_process";
import { compileProgram } from "../../merge-core/compute/compile.ts";
import { add, input, linear, sub } from "../../merge-core/compute/expr.ts";
import { type GpuEngine, openGpuEngine } from "../../merge-core/compute/gpu/engine.ts";
import { polarFactor } from "../../merge-core/compute/linalg/polar.ts";
import { type PoolSpace, poolSpace } from "../../merge-core/compute/linalg/pool-space.ts";
import { svd } from "../../merge-core/compute/linalg/svd.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { randomKey, uniforms } from "../../merge-core/compute/rng.ts";
import { benchLora } from "./lora-on-device.ts";

const sizes = (process.env.BENCH_SIDES ?? "4096,8192").split(",").map(Number);
const repeats = Number(process.env.BENCH_REPEATS ?? 2);
/** The Python named, or the usual one if it has torch. */
const python = [process.env.WEIGHTSMITH_PEER_PYTHON, "python3", "python"].find(
  (name) => name !== undefined && spawnSync(name, ["-c", "import torch; assert torch.cuda.is_available()"]).status === 0,
);

/** Iso-C: U V^T times the mean singular value. TSV-M's part of one task: the leading eighth of the triplets. */
const TORCH = `
import json, sys, time, torch
n = int(sys.argv[1])
assert torch.cuda.is_available(), "torch sees no GPU"
torch.manual_seed(0)
a = torch.rand(n, n, device="cuda") - 0.5
def seconds(work):
    work(); torch.cuda.synchronize(); start = time.perf_counter(); work(); torch.cuda.synchronize()
    return time.perf_counter() - start
def iso():
    u, s, v = torch.linalg.svd(a, full_matrices=False)
    return s.mean() * (u @ v)
print(json.dumps({"product": seconds(lambda: a @ a), "iso": seconds(iso), "tsv": seconds(lambda: torch.svd_lowrank(a, n // 8, niter=4))}))`;

interface Figures {
  readonly product: number;
  readonly iso: number;
  readonly tsv: number;
}

function torchFigures(n: number): Figures | undefined {
  if (python === undefined) return undefined;
  try {
    return JSON.parse(execFileSync(python, ["-c", TORCH, String(n)], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  } catch {
    return undefined;
  }
}

async function best(work: () => unknown): Promise<number> {
  await work();
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    await work();
    least = Math.min(least, (performance.now() - start) / 1000);
  }
  return least;
}

function matrixOf(space: PoolSpace, n: number) {
  const a = space.zeros(n, n);
  a.data.set(uniforms(randomKey(0, "gpu"), { model: 0, purpose: 0 }, 0, n * n));
  for (let i = 0; i < a.data.length; i++) a.data[i] = (a.data[i] as number) - 0.5;
  return a;
}

/** Uploads and downloads included: that is what a merge pays. */
async function ours(n: number, gpu?: GpuEngine): Promise<Figures> {
  const pool = createPool({ gpu });
  const space = poolSpace(pool);
  try {
    const [a, into] = [matrixOf(space, n), space.zeros(n, n)];
    const product = await best(() => space.product(a, a, { into }));
    const iso = await best(async () => space.free((await polarFactor(space, a)).factor));
    const tsv = await best(async () => {
      const { left, right } = await svd(space, a, n / 8);
      space.free(left, right);
    });
    return { product, iso, tsv };
  } finally {
    space.close();
    await pool.close();
  }
}

async function elements(gpu: GpuEngine): Promise<string> {
  const size = 2 ** 24;
  const shared = () => new Uint8Array(new SharedArrayBuffer(size * 2));
  const x = add(input(0), linear([1, 2].map((i) => ({ weight: 0.7, x: sub(input(i), input(0)) }))));
  const program = compileProgram([{ kind: "store", x, dtype: "BF16" }], ["BF16", "BF16", "BF16"], randomKey(0, "w"));
  const inputs = [0, 1, 2].map(() => ({ elementBytes: 2, store: { bytes: shared() } }));
  const output = { elementBytes: 2, store: { bytes: shared() } };
  const seconds = await best(() => gpu.pass(program, { inputs, first: 0, end: size, output }));
  return `${((size * 8) / seconds / 1e9).toFixed(2)} GB/s`;
}

const ratio = (a: number | undefined, b: number): string => (a === undefined ? "not measured" : (a / b).toFixed(2));

const gpu = await openGpuEngine({ elementwise: true, leastProduct: 0 }).catch((error: Error) => error);
if (gpu instanceof Error) console.log(`skipped: ${gpu.message}`);
else {
  console.log(`${new Date().toISOString().slice(0, 10)}, ${gpu.name}, Node ${process.version}`);
  console.log(`task arithmetic of 16M elements, bf16: ${await elements(gpu)}`);
  console.log("\n| side | work | seconds | GPU over built-in engine | GPU over torch |\n|---|---|---|---|---|");
  for (const n of sizes) {
    const [found, cpu, torch] = [await ours(n, gpu), await ours(n), torchFigures(n)];
    for (const work of ["product", "iso", "tsv"] as const)
      console.log(`| ${n} | ${work} | ${found[work].toFixed(3)} | ${ratio(cpu[work], found[work])} | ${ratio(torch?.[work], found[work])} |`);
    if (gpu.failure !== undefined) console.log(`the GPU failed: ${gpu.failure}`);
  }
  await gpu.close();
}
if (process.env.BENCH_LORA !== "no") await benchLora(python);
process.exit(0);
