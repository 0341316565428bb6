// Every stored recipe through our parser, planner and executor, compared with what mergekit made of it (mergekit_goldens.py).
// Within 1 unit in the last place of the output's dtype, taken at the largest operand; the tables say which recipes differ, and why.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseVocabulary } from "../../merge-core/checkpoints/tokenizer-file.ts";
import type { MergePlan, TensorJob } from "../../merge-core/plan/plan.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors, type StoredTensor, valuesOf } from "./read-tensors.ts";
import { FOLDER, operandsOf, planOf, readFolder, recipeNames } from "./stored-recipes.ts";

/** Models of several dtypes and no dtype in the recipe: mergekit writes float32 beside a config that names the first model's dtype; ours keeps that dtype. */
const KEPT_DTYPE: Readonly<Record<string, string>> = { "linear-f16-bf16": "F16", "linear-mixed-dtypes": "BF16" };

/** Differences of bfloat16 numbers are often equal. Which of those at the threshold stay is left open there; here the first do. */
const TIED: readonly string[] = ["ties-f32-out-bf16"];

/** Where mergekit's config.json is not true to its tensors: a head of its own in a tied model, rows cropped without vocab_size, dtypes mixed. */
const CORRECTED_CONFIG: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "tied-and-untied": { tie_word_embeddings: false },
  "rows-cropped-bigger-base": { vocab_size: 64 },
  "linear-f16-bf16": { dtype: "float16" },
  "linear-mixed-dtypes": { dtype: "bfloat16" },
};

/** Recipes that mergekit computes in bfloat16, each with the recipe that does the same in float32 and rounds once: that is what ours gives. */
const ROUNDED_ONCE: Readonly<Record<string, string>> = {
  "task-arithmetic-bf16": "task-arithmetic-f32-out-bf16",
  "ties-bf16": "ties-all-f32-out-bf16",
};

describe("Recipes run by mergekit", () => {
  const names = recipeNames();

  it("are all here, and every exception below names one of them", () => {
    assert.ok(names.length >= 80);
    for (const name of [...[KEPT_DTYPE, CORRECTED_CONFIG, ROUNDED_ONCE].flatMap(Object.keys)]) assert.ok(names.includes(name), name);
  });

  for (const name of names) {
    it(`${name}: same tensors, config and values`, async () => {
      const plan = await planOf(name);
      const out = join(temporaryFolder(), "out");
      await runMerge(plan, { out, threads: 1 });
      await compareTensors(plan, out, ROUNDED_ONCE[name] ?? name);
      compareConfigs(out, name);
    });
  }
});

async function compareTensors(plan: MergePlan, out: string, name: string): Promise<void> {
  const golden = `${FOLDER}/golden/${name}`;
  const stored = await readTensors(`${golden}/model.safetensors`);
  const theirs = plan.tokenizer === undefined ? stored : renumbered(stored, plan, `${golden}/vocab.json`, out);
  const ours = await readFolder(out);
  // Where mergekit's float32 strays from its float64, the latter is stored too and counts; ours may be off by 1 more than theirs.
  const exact = existsSync(`${golden}/float64.safetensors`) ? await readTensors(`${golden}/float64.safetensors`) : theirs;
  assert.deepEqual([...ours.keys()].sort(), [...theirs.keys()].sort());
  let worst = { error: 0, where: "" };
  // Adding an adapter rounds once more, there and here, and products are summed in another order; so are models whose rows are moved, there.
  let limit = plan.tokenizer !== undefined || plan.jobs.some((job) => job.kind === "merge" && job.inputs.some(({ lora }) => lora !== undefined)) ? 2 : 1;
  for (const [tensor, expected] of exact) {
    const actual = ours.get(tensor);
    assert.ok(actual);
    assert.equal(actual.dtype, KEPT_DTYPE[name] ?? expected.dtype, tensor);
    assert.deepEqual(actual.shape, expected.shape, tensor);
    const job = plan.jobs.find((candidate) => candidate.name === tensor);
    const operands = await operandsOf(job);
    const scale = { operands, dtype: actual.dtype, except: TIED.includes(name) ? tiedPositions(job, operands) : new Set<number>() };
    const { error, index } = worstError(valuesOf(actual), valuesOf(expected), scale);
    if (error > worst.error) worst = { error, where: `${tensor}[${index}]: ${valuesOf(actual)[index]}, mergekit ${valuesOf(expected)[index]}` };
    limit = Math.max(limit, 1 + worstError(valuesOf(theirs.get(tensor)), valuesOf(expected), scale).error);
  }
  assert.ok(worst.error <= limit, `${worst.where}, ${worst.error} ulp, limit ${limit}`);
}

interface ErrorScale {
  readonly operands: readonly Float32Array[];
  readonly dtype: string;
  /** Positions that are not compared. */
  readonly except: ReadonlySet<number>;
}

/** The largest difference in units in the last place, at the size of the largest operand: sums that cancel are not held to less. */
function worstError(ours: Float32Array, theirs: Float32Array, { operands, dtype, except }: ErrorScale): { error: number; index: number } {
  const worst = { error: 0, index: 0 };
  for (const [index, value] of theirs.entries()) {
    if (except.has(index) || Object.is(ours[index], value)) continue;
    const size = Math.max(Math.abs(value), ...operands.map((operand) => Math.abs(operand[index] ?? 0)));
    const difference = Math.abs((ours[index] ?? Number.NaN) - value);
    const error = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference / unitInLastPlace(size, dtype);
    if (error > worst.error) Object.assign(worst, { error, index });
  }
  return worst;
}

/** Positions at which some model's difference from the base is exactly as large as the last one kept, while others as large are dropped. */
function tiedPositions(job: TensorJob | undefined, operands: readonly Float32Array[]): Set<number> {
  assert.ok(job?.kind === "merge");
  const base = operands[job.inputs.findIndex(({ isBase }) => isBase)];
  const positions = new Set<number>();
  for (const [k, { isBase, parameters }] of job.inputs.entries()) {
    if (isBase) continue;
    const sizes = (operands[k] ?? new Float32Array()).map((value, i) => Math.abs(value - (base?.[i] ?? 0)));
    const descending = sizes.toSorted().reverse();
    const kept = Math.max(1, Math.floor((parameters.density ?? 1) * sizes.length));
    const last = descending[kept - 1] ?? 0;
    if (last === descending[kept]) for (const [i, size] of sizes.entries()) if (size === last) positions.add(i);
  }
  return positions;
}

/** mergekit numbers added tokens in the order of a hash map, which changes from run to run: its rows in our order, after a look at the tokens. */
function renumbered(theirs: ReadonlyMap<string, StoredTensor>, plan: MergePlan, vocabFile: string, out: string): Map<string, StoredTensor> {
  const ids = JSON.parse(readFileSync(vocabFile, "utf8")) as Record<string, number>;
  const ours = parseVocabulary(JSON.parse(readFileSync(join(out, "tokenizer.json"), "utf8")), "tokenizer.json").ids;
  assert.deepEqual([...ours.keys()].sort(), Object.keys(ids).sort());
  const added = new Set(plan.tokenizer?.added.map(({ content }) => content));
  for (const [token, id] of ours) if (!added.has(token)) assert.equal(id, ids[token], token);
  const tokens = new Map([...ours].map(([token, id]) => [id, token]));
  const reorder = (tensor: StoredTensor): StoredTensor => {
    const rowBytes = tensor.data.byteLength / (tensor.shape[0] ?? 1);
    const data = tensor.data.slice();
    for (const [id, token] of tokens) data.set(tensor.data.subarray((ids[token] ?? 0) * rowBytes, ((ids[token] ?? 0) + 1) * rowBytes), id * rowBytes);
    return { ...tensor, data };
  };
  return new Map([...theirs].map(([name, tensor]) => [name, /embed_tokens|lm_head/.test(name) ? reorder(tensor) : tensor]));
}

const MANTISSA_BITS: Readonly<Record<string, number>> = { F32: 23, F16: 10, BF16: 7 };

/** Distance between the neighbours of a number of this size. */
function unitInLastPlace(size: number, dtype: string): number {
  return 2 ** (Math.floor(Math.log2(Math.max(size, 2 ** -24))) - (MANTISSA_BITS[dtype] ?? Number.NaN));
}

const CONFIG_KEYS = ["num_hidden_layers", "n_layer", "vocab_size", "tie_word_embeddings", "dtype"] as const;

function compareConfigs(out: string, name: string): void {
  const ours = readConfig(out);
  const theirs = { ...readConfig(`${FOLDER}/golden/${name}`), ...CORRECTED_CONFIG[name] };
  for (const key of CONFIG_KEYS) assert.equal(ours[key], theirs[key], `config ${key}`);
}

/** The dtype has had two names. */
function readConfig(folder: string): Record<string, unknown> {
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as Record<string, unknown>;
  return { ...config, dtype: config.dtype ?? config.torch_dtype };
}
