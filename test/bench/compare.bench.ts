// What comparing models costs, as a ratio to reading the same files by the same threads in the same tiles, by turns: from memory, and where `dd` can
// put files out of it, from the disk. Beside it stands how fast a disk must be for reading to take half of the comparison's time.
//   BENCH_MIB      size of one checkpoint in MiB (default 256)
//   BENCH_TENSOR_MIB  size of one tensor in MiB (default 64)
//   BENCH_THREADS  threads (default: what the process may use)
//   BENCH_REPEATS  runs of each, the best counts (default 3)
import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { compareModels } from "../../merge-core/analysis/compare.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { type ComputePool, createPool } from "../../merge-core/compute/pool.ts";
import { defaultMemoryBytes } from "../../merge-core/run/memory.ts";
import { benchFolder, MIB, makeCheckpoint, measure, noCost, ratio, readFiles } from "./files.ts";

const sizeMib = Number(process.env.BENCH_MIB ?? 256);
const threads = Number(process.env.BENCH_THREADS ?? availableParallelism());
const repeats = Number(process.env.BENCH_REPEATS ?? 3);
const tensorMib = Number(process.env.BENCH_TENSOR_MIB ?? 64);
const DENSITY = 0.2;

/** The header of a model file with tensors of the size asked for. */
function headerBytes(): Uint8Array<ArrayBuffer> {
  const tensors = Array.from({ length: sizeMib / tensorMib }, (_, i): [string, unknown] => {
    const [begin, end] = [i * tensorMib * MIB, (i + 1) * tensorMib * MIB];
    return [`model.layers.${i}.mlp.up_proj.weight`, { dtype: "BF16", shape: [(end - begin) / 8192, 4096], data_offsets: [begin, end] }];
  });
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries(tensors)));
  const header = new Uint8Array(8 + Math.ceil(text.length / 8) * 8).fill(0x20);
  header.set(text, 8);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  return header;
}

async function compareFiles(pool: ComputePool, files: readonly string[]): Promise<void> {
  const [base, ...models] = await Promise.all(files.map((file) => openCheckpoint(file)));
  await compareModels(base, models, { pool, memoryBytes: defaultMemoryBytes(), density: DENSITY });
}

/** Whether the system now has nothing of the files in memory. */
function forget(files: readonly string[]): boolean {
  return files.every((file) => spawnSync("dd", [`of=${file}`, "oflag=nocache", "conv=notrunc,fdatasync", "count=0"]).status === 0);
}

const folder = benchFolder();
const files = ["base", "a", "b", "c"].map((name, i) => {
  const file = join(folder, `${name}.safetensors`);
  makeCheckpoint(file, i + 2, sizeMib, headerBytes());
  return file;
});
const pool = createPool({ threads });
const [readCost, cost, coldRead, cold] = [noCost(), noCost(), noCost(), noCost()];
for (let i = 0; i < repeats; i++) {
  await measure(() => readFiles(pool, files, sizeMib), readCost);
  await measure(() => compareFiles(pool, files), cost);
}
for (let i = 0; i < repeats && forget(files); i++) {
  await measure(() => readFiles(pool, files, sizeMib), coldRead);
  if (forget(files)) await measure(() => compareFiles(pool, files), cold);
}
await pool.close();
const elements = (sizeMib * MIB) / 2;
const bytes = files.length * sizeMib * MIB;
console.log(`3 models with base, bf16, ${sizeMib} MiB each, ${threads} threads`);
console.log(
  `| time | reading from memory | ratio | of processor time | processor time per element | twice the time of reading at |\n|---|---|---|---|---|---|`,
);
const columns = [`${Math.round(cost.ms)} ms`, `${Math.round(readCost.ms)} ms`, ratio(cost.ms, readCost.ms), ratio(cost.cpuMs, readCost.cpuMs)];
console.log(`| ${columns.join(" | ")} | ${ratio(cost.cpuMs * 1e6, elements)} ns | ${ratio((2 * bytes) / 1e6, cost.ms)} GB/s |`);
if (Number.isFinite(cold.ms)) console.log(`from disk: ${Math.round(cold.ms)} ms, reading ${Math.round(coldRead.ms)} ms, ratio ${ratio(cold.ms, coldRead.ms)}`);
