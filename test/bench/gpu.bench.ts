// What docs/gpu.md says of a GPU: whether the kernels agree with the processor on it, how fast products, Iso-C and TSV-M are beside the
// built-in engine and torch on the same GPU, and LoRA steps. `npm run bench -- gpu` prints it; with `--report FILE` it is written there too,
// between the marks if the file has them. Needs no network. Ends with status 1 where there is no GPU or it did not do all of it.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { compileProgram } from "../../merge-core/compute/compile.ts";
import { add, input, linear, sub } from "../../merge-core/compute/expr.ts";
import { openGpu } from "../../merge-core/compute/gpu/device.ts";
import { type GpuEngine, openGpuEngine, type WebgpuEngine } from "../../merge-core/compute/gpu/engine.ts";
import { DeviceSpace } from "../../merge-core/compute/gpu/products.ts";
import { polarFactor } from "../../merge-core/compute/linalg/polar.ts";
import { type PoolSpace, poolSpace } from "../../merge-core/compute/linalg/pool-space.ts";
import { type Svd, svd } from "../../merge-core/compute/linalg/svd.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { randomKey, uniforms } from "../../merge-core/compute/rng.ts";
import { scaled, sumInto } from "../../merge-core/methods/iso-c.ts";
import { recombine } from "../../merge-core/methods/tsv-m.ts";
import { kernelSuite } from "./kernel-suite.ts";
import { benchLora } from "./lora-on-device.ts";
import { findTorch, mergeFigures } from "./peers/torch.ts";

const sides = (process.env.BENCH_SIDES ?? "4096,8192").split(",").map(Number);
/** The built-in engine is not waited for longer than this, going by what the side before took. */
const cpuSeconds = Number(process.env.BENCH_CPU_SECONDS ?? 300);
/** What TSV-M takes of it beside Iso-C, about. */
const TSV_SHARE = 60;
const MODELS = 4;
const WORKS = ["product", "iso", "tsv"] as const;
const NAMES = { product: "product", iso: `Iso-C of ${MODELS} differences`, tsv: `TSV-M of ${MODELS} differences` };
type Figures = Readonly<Record<(typeof WORKS)[number], number | undefined>>;

const { values: options } = parseArgs({ options: { report: { type: "string" } } });
const lines: string[] = [];
function say(line: string): void {
  console.log(line);
  lines.push(line);
  // Each time, for whoever stops it on the way.
  if (options.report !== undefined) report(options.report);
}

/** The least of a few times, after a first one that is counted only where it takes long. */
async function best(work: () => unknown): Promise<number> {
  const seconds = async (): Promise<number> => {
    const start = performance.now();
    await work();
    return (performance.now() - start) / 1000;
  };
  const first = await seconds();
  if (first > 10) return first;
  return Math.min(...[await seconds(), await seconds()]);
}

/** Merges of matrices in shared memory: the way to the device and back included, files not. */
async function merges(side: number, tsvToo: (iso: number) => boolean, gpu?: GpuEngine): Promise<Pick<Figures, "iso" | "tsv">> {
  const pool = createPool({ gpu });
  const space = poolSpace(pool);
  const values = Array.from({ length: MODELS }, (_, model) => uniforms(randomKey(0, "gpu"), { model, purpose: 0 }, 0, side * side).map((value) => value - 0.5));
  const timed = (work: (space: PoolSpace) => Promise<unknown>) =>
    best(async () => {
      await work(space);
      space.close();
    });
  const load = () =>
    values.map((data) => {
      const delta = space.zeros(side, side);
      delta.data.set(data);
      return delta;
    });
  try {
    const iso = await timed(async () => {
      const { factor, nuclear, rank } = await polarFactor(space, sumInto(load(), space));
      scaled(factor, nuclear / rank);
    });
    if (!tsvToo(iso)) return { iso, tsv: undefined };
    const tsv = await timed(async () => {
      const triplets: Svd[] = [];
      for (const delta of load()) {
        triplets.push(await svd(space, delta, side / MODELS));
        space.free(delta);
      }
      await recombine(space, triplets, (found) => found);
    });
    return { iso, tsv };
  } finally {
    await pool.close();
  }
}

/** A product of matrices in memory that threads share. */
async function cpuProduct(side: number): Promise<number> {
  const pool = createPool();
  const space = poolSpace(pool);
  try {
    const [a, into] = [space.zeros(side, side), space.zeros(side, side)];
    a.data.fill(0.5);
    return await best(() => space.product(a, a, { into }));
  } finally {
    await pool.close();
  }
}

async function elements(gpu: GpuEngine): Promise<number> {
  const size = 2 ** 24;
  const shared = () => new Uint8Array(new SharedArrayBuffer(size * 2));
  const x = add(input(0), linear([1, 2].map((i) => ({ weight: 0.7, x: sub(input(i), input(0)) }))));
  const program = compileProgram([{ kind: "store", x, dtype: "BF16" }], ["BF16", "BF16", "BF16"], randomKey(0, "w"));
  const inputs = [0, 1, 2].map(() => ({ elementBytes: 2, store: { bytes: shared() } }));
  const output = { elementBytes: 2, store: { bytes: shared() } };
  return (size * 8) / (await best(() => gpu.pass(program, { inputs, first: 0, end: size, output }))) / 1e9;
}

const shown = (seconds: number | undefined): string => (seconds === undefined ? "not measured" : seconds.toPrecision(3));
const times = (peer: number | undefined, own: number | undefined): string =>
  peer === undefined || own === undefined ? "not measured" : (peer / own).toFixed(2);

/** What can be had in the time, going by the side before, which is 0 for the first. */
async function onProcessor(side: number, { iso = Number.POSITIVE_INFINITY, tsv = Number.POSITIVE_INFINITY }: Figures, last: number): Promise<Figures> {
  const product = await cpuProduct(side);
  const grown = (seconds: number) => seconds * (side / last) ** 3;
  if (last > 0 && grown(iso) > cpuSeconds) return { product, iso: undefined, tsv: undefined };
  return { product, ...(await merges(side, (found) => (last === 0 ? TSV_SHARE * found : grown(tsv)) < cpuSeconds)) };
}

async function table(gpu: WebgpuEngine): Promise<void> {
  const torch = findTorch();
  const peers = typeof torch === "string" ? undefined : mergeFigures(torch, MODELS, sides);
  say(`torch: ${typeof torch === "string" ? `not measured, ${torch}` : peers instanceof Error ? `not measured, ${peers.message}` : peers?.name}`);
  say("\n| side | work | seconds on the GPU | built-in engine | torch | times the built-in engine | times torch |\n|---|---|---|---|---|---|---|");
  const products = new DeviceSpace(await openGpu());
  let cpu: Figures = { product: 0, iso: 0, tsv: 0 };
  let last = 0;
  for (const side of sides) {
    const own: Figures = { product: await products.seconds(side), ...(await merges(side, () => true, gpu)) };
    cpu = await onProcessor(side, cpu, last);
    last = side;
    const peer = peers instanceof Error ? undefined : peers?.figures.get(side);
    for (const work of WORKS)
      say(
        `| ${side} | ${NAMES[work]} | ${[own, cpu, peer].map((figures) => shown(figures?.[work])).join(" | ")} | ${[cpu, peer].map((figures) => times(figures?.[work], own[work])).join(" | ")} |`,
      );
    if (gpu.failure !== undefined) return;
  }
}

function report(file: string): void {
  const [begin, end] = ["<!-- measured by npm run bench -- gpu -->", "<!-- end -->"];
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  const body = `\n\n${lines.join("\n").trim()}\n\n`;
  writeFileSync(file, from >= 0 && to > from ? text.slice(0, from + begin.length) + body + text.slice(to) : `${lines.join("\n").trim()}\n`);
}

const gpu = await openGpuEngine({ elementwise: true, leastProduct: 0 }).catch((error: Error) => error);
if (gpu instanceof Error) {
  console.log(`no GPU was measured: ${gpu.message}`);
  process.exit(1);
}
say(`${new Date().toISOString().slice(0, 10)}, ${gpu.name}, Node ${process.version}\n`);
const agrees = process.env.BENCH_KERNELS === "no" || kernelSuite(say);
say(`\nTask arithmetic of 16M elements in bf16, the way there and back included: ${(await elements(gpu)).toFixed(2)} GB/s`);
await table(gpu);
const failure = gpu.failure;
await gpu.close();
if (failure !== undefined) say(`\nThe GPU failed: ${failure}`);
const trained = process.env.BENCH_LORA === "no" || (await benchLora(say));
process.exit(failure === undefined && agrees && trained ? 0 : 1);
