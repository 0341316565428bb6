// Which stored recipes give other bytes than mergekit's, and why. Most give the same ones. Where single operations are rounded otherwise, the
// formula with torch's roundings gives mergekit's bytes exactly and with ours gives ours, element by element (torch-rounding.ts). Norms, dot
// products and means are summed in float32 by torch and in float64 here: there mergekit's own run in float64 is the judge.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { LoraPatch } from "../../merge-core/checkpoints/checkpoint.ts";
import type { MergeJob, MergePlan } from "../../merge-core/plan/plan.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors, type StoredTensor, valuesOf } from "./read-tensors.ts";
import { FOLDER, operandsOf, planOf, readFolder, readOnce, recipeNames } from "./stored-recipes.ts";
import { addAdapter, emulate, OURS, type Rounding, TORCH } from "./torch-rounding.ts";

/** mergekit works in bfloat16 here. */
const IN_BF16 = { ...TORCH, dtype: "BF16" };

/** Recipes in which roundings of single operations differ, each with torch's. */
const ROUNDINGS: Readonly<Record<string, Rounding>> = {
  "linear-two": TORCH,
  "linear-three": TORCH,
  "linear-unnormalised": TORCH,
  "linear-modules": TORCH,
  "linear-precedence": TORCH,
  "linear-f32-out-bf16": TORCH,
  "linear-mixed-dtypes": TORCH,
  "linear-f16-bf16": TORCH,
  "slices-linear-offsets": TORCH,
  "tokenizer-base": TORCH,
  "tokenizer-union": TORCH,
  "tokenizer-tokens": TORCH,
  "lora-linear": TORCH,
  "lora-task-arithmetic": TORCH,
  nearswap: TORCH,
  ram: TORCH,
  "ramplus-tl": TORCH,
  "linear-dtype-bf16-from-f32": IN_BF16,
  "task-arithmetic-bf16": IN_BF16,
  "ties-bf16": IN_BF16,
};

/** Coefficients that come from sums over a tensor; mergekit's result in float64 is stored beside that in float32. */
const SUMS: readonly string[] = [
  ...["slerp", "slerp-extrapolate", "slerp-gradients", "nuslerp", "nuslerp-base", "nuslerp-rows", "nuslerp-columns-base", "nuslerp-zero-sum"],
  ...["multislerp", "multislerp-base", "multislerp-unnormalised", "karcher", "karcher-base-listed", "model-stock", "model-stock-filter-wise"],
  ...["sce", "sce-topk", "ties-rescale", "breadcrumbs-rescale"],
];

/** Single elements: an angle, a tie at the trim's threshold, and rows of padding that are means. */
const FEW: readonly string[] = ["slerp-bf16", "slerp-f32-out-bf16", "ties-f32-out-bf16", "tokenizer-padded"];

describe("Bytes of mergekit", () => {
  const counts = new Map<string, number>();

  for (const name of recipeNames()) {
    it(`${name}: ${name in ROUNDINGS ? "differ by known roundings" : SUMS.includes(name) ? "are as near to float64" : FEW.includes(name) ? "differ in a few elements" : "are ours"}`, async () => {
      const plan = await planOf(name);
      const out = join(temporaryFolder(), "out");
      await runMerge(plan, { out, threads: 1 });
      const [ours, theirs] = [await readFolder(out), await readTensors(`${FOLDER}/golden/${name}/model.safetensors`)];
      counts.set(name, differing(ours, theirs));
      const rounding = ROUNDINGS[name];
      if (rounding !== undefined) await compareEmulated(plan, ours, theirs, rounding);
      else if (SUMS.includes(name)) await compareWithFloat64(name, ours, theirs);
      else if (!FEW.includes(name)) assert.equal(counts.get(name), 0);
    });
  }

  it("that differ are listed in docs/mergekit.md, with the number of elements", () => {
    const listed = [...readFileSync("docs/mergekit.md", "utf8").matchAll(/`([a-z0-9-]+)` \((\d+)\)/g)].map(([, name, count]) => [name, Number(count)]);
    assert.deepEqual(listed.sort(), [...counts].filter(([, count]) => count > 0).sort());
  });
});

type Tensors = ReadonlyMap<string, StoredTensor>;

function differing(a: Tensors, b: Tensors): number {
  return [...b].reduce((sum, [name, tensor]) => {
    const [x, y] = [valuesOf(a.get(name)), valuesOf(tensor)];
    return sum + y.filter((value, i) => !Object.is(value, x[i])).length;
  }, 0);
}

async function compareEmulated(plan: MergePlan, ours: Tensors, theirs: Tensors, rounding: Rounding): Promise<void> {
  for (const job of plan.jobs) {
    assert.ok(job.kind === "merge");
    for (const [stored, how] of [
      [ours.get(job.name), OURS],
      [theirs.get(job.name), rounding],
    ] as const) {
      const emulated = emulate(job, await adaptedOperands(job, how), how, stored?.dtype ?? "");
      assert.deepEqual(emulated, valuesOf(stored), job.name);
    }
  }
}

/** The inputs with their adapters added by the given way of rounding. */
async function adaptedOperands(job: MergeJob, rounding: Rounding): Promise<Float32Array[]> {
  const operands = (await operandsOf(job)).slice(0, job.inputs.length);
  const isPlain = (lora: MergeJob["inputs"][number]["lora"]): lora is LoraPatch => lora !== undefined && "a" in lora;
  return Promise.all(
    job.inputs.map(async ({ lora }, k) => {
      const values = operands[k] ?? new Float32Array();
      return isPlain(lora)
        ? addAdapter(values, { a: await readOnce(lora.a), b: await readOnce(lora.b), rank: lora.a.shape[0] ?? 0, scale: lora.scale }, rounding)
        : values;
    }),
  );
}

/** Ours may be off what float64 gives, rounded, in hardly more elements than mergekit's float32 is: sce has 4 % more, all others fewer. */
const SHARE = 1.05;

async function compareWithFloat64(name: string, ours: Tensors, theirs: Tensors): Promise<void> {
  const exact = await readTensors(`${FOLDER}/golden/${name}/float64.safetensors`);
  const [off, theirOff] = [differing(ours, exact), differing(theirs, exact)];
  assert.ok(off <= SHARE * theirOff, `${off} elements are not what float64 gives, of mergekit's ${theirOff}`);
}
