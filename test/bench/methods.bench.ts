// What methods that look at the data more than once cost, as ratios to a linear merge of the same files by the same threads, by turns.
//   BENCH_MIB      size of one checkpoint in MiB (default 256)
//   BENCH_THREADS  threads (default: what the process may use)
//   BENCH_REPEATS  runs of each, the best counts (default 3)
//   BENCH_METHODS  which (default ties,pcb,cabs,della)
//   BENCH_MODELS   models beside the base (default 3)
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type ComputePool, createPool } from "../../merge-core/compute/pool.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import type { MergeInput, MergeMethod, MergeTask } from "../../merge-core/methods/method.ts";
import { findMethod } from "../../merge-core/methods/registry.ts";
import { defaultMemoryBytes } from "../../merge-core/run/memory.ts";
import { benchFolder, freshOutput, MIB, makeCheckpoint, measure, noCost, ratio } from "./files.ts";

const sizeMib = Number(process.env.BENCH_MIB ?? 256);
const threads = Number(process.env.BENCH_THREADS ?? availableParallelism());
const repeats = Number(process.env.BENCH_REPEATS ?? 3);
const ids = (process.env.BENCH_METHODS ?? "ties,pcb,cabs,della").split(",");
const models = Number(process.env.BENCH_MODELS ?? 3);
/** A 4096 x 8192 matrix of bf16. */
const SHAPE = [4096, 8192];
const TENSOR_BYTES = 64 * MIB;
/** Times the processor time of the linear merge. */
const LIMITS: Readonly<Record<string, number>> = { pcb: 8, cabs: 8 };

function methodOf(id: string): MergeMethod {
  const method = findMethod(id);
  if (method === undefined) throw new TypeError(`no method ${id}`);
  return method;
}

/** All parameters at their defaults, but weights that sum to 1 and half of the elements kept. The last input is the base, for linear one more model. */
function taskOf({ base, parameters }: MergeMethod, name: string): MergeTask {
  const defaults = Object.fromEntries(
    parameters.map((spec) => [
      spec.name,
      spec.name === "weight" ? 1 / (models + 1) : spec.name === "density" || spec.name === "select_topk" ? 0.5 : (spec.default ?? null),
    ]),
  );
  const inputs = Array.from({ length: models + 1 }, (_, index): MergeInput => {
    return { index, model: `m${index}`, modelIndex: index, isBase: base === "required" && index === models, parameters: defaults };
  });
  const others = inputs.filter(({ isBase }) => !isBase);
  return { name, shape: SHAPE, inputs, others, base: inputs.find(({ isBase }) => isBase), parameters: defaults, seed: 0, warn: () => undefined };
}

async function mergeFiles(pool: ComputePool, files: readonly string[], output: string, method: MergeMethod): Promise<void> {
  for (let offset = 0; offset < sizeMib * MIB; offset += TENSOR_BYTES) {
    const inputs = files.map((file) => ({ dtype: "BF16" as const, file, offset }));
    const name = `t${offset}`;
    const engine = openTensorEngine(pool, {
      name,
      shape: SHAPE,
      seed: 0,
      inputs,
      output: { dtype: "BF16", file: output, offset },
      memoryBytes: defaultMemoryBytes(),
    });
    await engine.write(await method.merge(taskOf(method, name), engine));
    engine.close();
  }
}

const folder = benchFolder();
const files = Array.from({ length: models + 1 }, (_, i) => {
  const file = join(folder, `m${i}`);
  makeCheckpoint(file, i + 2, sizeMib);
  return file;
});
const output = join(folder, "out");
const pool = createPool({ threads });
console.log(
  `${models} models with base, bf16, ${sizeMib} MiB each, ${threads} threads\n\n| Method | time | linear merge | ratio | of processor time | limit | processor time per element |`,
);
console.log("|---|---|---|---|---|---|---|");
for (const id of ids) {
  const [linearCost, cost] = [noCost(), noCost()];
  for (let i = 0; i < repeats; i++) {
    freshOutput(pool, output, sizeMib);
    await measure(() => mergeFiles(pool, files, output, methodOf("linear")), linearCost);
    freshOutput(pool, output, sizeMib);
    await measure(() => mergeFiles(pool, files, output, methodOf(id)), cost);
  }
  const cpuRatio = ratio(cost.cpuMs, linearCost.cpuMs);
  const perElement = `${ratio(cost.cpuMs * 1e6, (sizeMib * MIB) / 2)} ns`;
  const columns = [id, `${Math.round(cost.ms)} ms`, `${Math.round(linearCost.ms)} ms`, ratio(cost.ms, linearCost.ms), cpuRatio, LIMITS[id] ?? "", perElement];
  console.log(`| ${columns.join(" | ")} |`);
  if (cpuRatio > (LIMITS[id] ?? Number.POSITIVE_INFINITY)) process.exitCode = 1;
}
await pool.close();
