// Orderings that do not hang on scores: adapters that add up exactly, decompositions that lose what they say, permutations that are found again.
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { align } from "../../../merge-core/align/align.ts";
import { lossLines } from "../../../merge-core/align/barrier.ts";
import { permuteBytes } from "../../../merge-core/align/permute.ts";
import { findSymmetries } from "../../../merge-core/align/symmetries.ts";
import { openCheckpoint } from "../../../merge-core/checkpoints/open-checkpoint.ts";
import { symmetricEigen } from "../../../merge-core/compute/linalg/symmetric-eigen.ts";
import { planRecipe } from "../../../merge-core/evaluate/evaluators.ts";
import { widenToFloat32 } from "../../../merge-core/formats/dtype-codecs.ts";
import { DTYPE_BYTES, isFloat } from "../../../merge-core/formats/dtypes.ts";
import { encodeSafetensors } from "../../../merge-core/formats/safetensors-write.ts";
import { readTensors } from "../../../merge-core/nn/model.ts";
import { permutation } from "../../../merge-core/nn/random.ts";
import { copyTextFiles } from "../../../merge-core/nn/save.ts";
import { requireBackend } from "../../../merge-core/nn/storage.ts";
import { combineAdapters } from "../../../merge-core/run/combine-adapters.ts";
import { mergeTensors } from "../../../merge-core/run/merge-tensors.ts";
import { type Bench, ZOO } from "./bench.ts";
import type { Ordering } from "./orderings.ts";

type Values = ReadonlyMap<string, { readonly shape: readonly number[]; readonly values: Float32Array }>;

async function merged(recipe: object): Promise<Values> {
  const plan = await planRecipe({ text: JSON.stringify({ ...recipe, dtype: "float32" }), file: "report.yml" });
  const tensors = await mergeTensors(plan, { pool: requireBackend().pool });
  return new Map(
    [...tensors].map(([name, { dtype, shape, data }]) => [name, { shape, values: isFloat(dtype) ? widenToFloat32(dtype, data) : new Float32Array() }]),
  );
}

const withAdapter = (adapter: string) => ({ model: { path: resolve(ZOO, "base") }, lora: { path: resolve(adapter) } });
const folded = (adapter: string) => merged({ merge_method: "passthrough", models: [{ model: withAdapter(adapter) }] });

const RANK = 8;
const WEIGHTS = [0.7, 0.4];

/** All adapted matrices of the first two adapters: the concatenation against the sum of what each adds, and the error of a truncation against what lies behind its rank. */
export async function adapterOrdering(bench: Bench): Promise<Ordering[]> {
  const adapters = bench.tasks.slice(0, WEIGHTS.length).map((task) => join(ZOO, "adapters", task));
  const made = async (method: "cat" | "svd", rank?: number) => {
    const out = join(bench.folder, `adapters-${method}`);
    await combineAdapters({ adapters, weights: WEIGHTS, method, out, overwrite: true, ...(rank === undefined ? {} : { rank }) });
    return folded(out);
  };
  const [base, cat, svd] = [
    await merged({ merge_method: "passthrough", models: [{ model: resolve(ZOO, "base") }] }),
    await made("cat"),
    await made("svd", RANK),
  ];
  const models = adapters.map((adapter, i) => ({ model: withAdapter(adapter), parameters: { weight: WEIGHTS[i] } }));
  const sum = await merged({ merge_method: "task_arithmetic", base_model: resolve(ZOO, "base"), models });
  let [apart, worst] = [0, 0];
  for (const [name, { shape, values }] of sum) {
    const start = base.get(name)?.values ?? new Float32Array();
    const changeOf = (of: Values) => Float64Array.from(of.get(name)?.values ?? [], (value, i) => value - (start[i] as number));
    const [exact, joined, cut] = [Float64Array.from(values, (value, i) => value - (start[i] as number)), changeOf(cat), changeOf(svd)];
    const norm = Math.sqrt(squares(exact));
    if (norm === 0 || shape.length !== 2) continue;
    apart = Math.max(apart, Math.sqrt(squares(difference(joined, exact))) / norm);
    const behind = Math.sqrt(
      gramEigenvalues(exact, shape)
        .slice(RANK)
        .reduce((total, value) => total + Math.max(0, value), 0),
    );
    worst = Math.max(worst, Math.abs(Math.sqrt(squares(difference(cut, exact))) - behind) / norm);
  }
  return [
    {
      group: 7,
      claim: "adapters by concatenation equal the weighted sum of their changes",
      holds: apart < 1e-4,
      figures: `largest distance ${apart.toExponential(1)} of a change's norm`,
    },
    {
      group: 7,
      claim: `the error of a truncation to rank ${RANK} is the norm of the singular values behind it`,
      holds: worst < 1e-4,
      figures: `largest difference ${worst.toExponential(1)} of a change's norm`,
    },
  ];
}

const squares = (x: Float64Array): number => x.reduce((sum, value) => sum + value * value, 0);
const difference = (x: Float64Array, y: Float64Array): Float64Array => x.map((value, i) => value - (y[i] as number));

/** Squared singular values, descending, from the smaller Gram matrix. */
function gramEigenvalues(values: Float64Array, [rows = 0, columns = 0]: readonly number[]): Float64Array {
  const n = Math.min(rows, columns);
  const at = (i: number, k: number) => (rows <= columns ? values[i * columns + k] : values[k * columns + i]) as number;
  const gram = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k < Math.max(rows, columns); k++) sum += at(i, k) * at(j, k);
      gram[i * n + j] = sum;
      gram[j * n + i] = sum;
    }
  return symmetricEigen(gram, n).values;
}

/** A copy of an expert whose feed-forward units are in another order is aligned with it. */
export async function permutationOrdering(bench: Bench): Promise<Ordering[]> {
  const [task = ""] = bench.tasks;
  const a = await openCheckpoint(join(ZOO, task));
  const { axes, groups } = findSymmetries(a);
  const units = groups.flatMap((group) => (group.kind === "units" ? [[group.space, Int32Array.from(permutation(1, group.space, group.size))] as const] : []));
  const orders = new Map(units);
  const tensors = [...(await readTensors(a))].map(([name, { dtype, shape, data }]) => {
    const own = axes.get(name);
    return { name, dtype, shape, data: own === undefined ? data : permuteBytes(data, shape, DTYPE_BYTES[dtype], own, orders) };
  });
  const [copy, out] = [join(bench.folder, "permuted"), join(bench.folder, "aligned")];
  mkdirSync(copy, { recursive: true });
  await copyTextFiles(a.folder, copy);
  writeFileSync(join(copy, "config.json"), JSON.stringify(a.config));
  writeFileSync(join(copy, "model.safetensors"), encodeSafetensors(tensors));
  const b = await openCheckpoint(copy);
  await align({ a, b, out, overwrite: true });
  const [before, after] = await lossLines(a, [b, await openCheckpoint(out)], [join(ZOO, "data", `${task}.validation.jsonl`)], { points: 3, limit: 40 });
  const [apart, aligned] = [before?.barrier ?? Number.NaN, after?.barrier ?? Number.NaN];
  return [
    {
      group: 8,
      claim: "weight matching finds the order of a permuted copy's units again: the barrier falls to 0",
      holds: apart > 0.01 && aligned < 1e-6,
      figures: `barrier ${apart.toFixed(3)} before, ${aligned.toExponential(1)} after`,
    },
  ];
}
