import assert from "node:assert/strict";
import { appendFileSync, existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import type { MergePlan } from "../../merge-core/plan/plan.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import type { MergeProgress } from "../../merge-core/run/progress.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, type TensorData, writeModel } from "../helpers/models.ts";
import { planByHand } from "../helpers/plans.ts";
import { folderHashes } from "../helpers/trees.ts";

const TENSORS = 8;
const SIZE = 3001;
const valueAt = (model: number, tensor: number, i: number) => Math.fround(Math.sin(model * 7 + tensor * 3 + i));

/** Model `m` of a family: floats in two dtypes and one tensor of integers. */
function familyModel(m: number): string {
  const ids: TensorData = { name: "ids", dtype: "I64", shape: [2], data: Uint8Array.from({ length: 16 }, (_, i) => i) };
  const floats = Array.from({ length: TENSORS }, (_, t) => {
    const values = Array.from({ length: SIZE }, (_, i) => valueAt(m, t, i));
    return floatTensor(`model.layers.${t}.w`, [SIZE], values, t % 2 === 0 ? "F32" : "BF16");
  });
  const config = { model_type: "llama", num_hidden_layers: 2 };
  return writeModel([...floats, ids], { config, files: { "tokenizer.json": "{}", "generation_config.json": "{}" } });
}

const linearPlan = async (perShard = 3): Promise<MergePlan> =>
  planByHand({
    method: "linear",
    models: [familyModel(0), familyModel(1)],
    modelParameters: [{ weight: 0.25 }, { weight: 0.75 }],
    parameters: { normalize: 1 },
    perShard,
    config: [{ path: ["num_hidden_layers"], value: TENSORS }],
  });

const freshOut = () => join(temporaryFolder(), "out");

/** Runs until `tensors` tensors are written, then cancels. */
async function runAndCancel(plan: MergePlan, out: string, tensors: number): Promise<void> {
  const controller = new AbortController();
  const seen = new Set<string>();
  const onProgress = ({ tensor }: MergeProgress) => void (seen.add(tensor).size === tensors && controller.abort());
  await rejectsWith("cancelled", () => runMerge(plan, { out, threads: 1, signal: controller.signal, onProgress }));
}

describe("runMerge", () => {
  it("computes, copies, and writes every file of a model", async () => {
    const plan = await linearPlan();
    const out = freshOut();
    const result = await runMerge(plan, { out, threads: 1 });
    const merged = await openCheckpoint(out);
    assert.deepEqual(
      [...merged.tensors.keys()],
      plan.jobs.map((job) => job.name),
    );
    const entry = merged.tensors.get("model.layers.2.w");
    assert.ok(entry);
    const values = widenToFloat32("F32", readFileSync(entry.file).subarray(entry.offset, entry.offset + entry.byteLength));
    for (let i = 0; i < SIZE; i++) assert.ok(Math.abs((values[i] ?? 0) - (0.25 * valueAt(0, 2, i) + 0.75 * valueAt(1, 2, i))) < 1e-6, `element ${i}`);
    const ids = merged.tensors.get("ids");
    assert.deepEqual(
      [...readFileSync(ids?.file ?? "").subarray(ids?.offset, (ids?.offset ?? 0) + 16)],
      Array.from({ length: 16 }, (_, i) => i),
    );
    assert.equal(merged.config?.num_hidden_layers, TENSORS);
    assert.deepEqual(
      readdirSync(out).sort(),
      [
        "README.md",
        "config.json",
        "generation_config.json",
        "mergekit_config.yml",
        ...[1, 2, 3].map((k) => `model-0000${k}-of-00003.safetensors`),
        "model.safetensors.index.json",
        "tokenizer.json",
        "weightsmith.json",
      ].sort(),
    );
    assert.equal(result.tensors, TENSORS + 1);
    assert.deepEqual(result.warnings, []);
  });

  it("writes a manifest that is true", async () => {
    const plan = await linearPlan();
    const out = freshOut();
    await runMerge(plan, { out, threads: 1 });
    const manifest = JSON.parse(readFileSync(join(out, "weightsmith.json"), "utf8"));
    const hashes = folderHashes(out);
    assert.equal(manifest.planHash, plan.planHash);
    for (const { file, sha256 } of manifest.outputs) assert.equal(sha256, hashes[file]);
    assert.equal(manifest.inputs.length, 2);
    assert.match(manifest.inputs[0].files[0].headerSha256, /^[0-9a-f]{64}$/);
  });

  it("threads do not change a byte", async () => {
    const plan = await linearPlan();
    const results = [];
    for (const threads of [1, 2, 3]) {
      const out = freshOut();
      await runMerge(plan, { out, threads });
      results.push(folderHashes(out));
    }
    assert.deepEqual(results[1], results[0]);
    assert.deepEqual(results[2], results[0]);
  });

  it("reports progress up to the last byte", async () => {
    const plan = await linearPlan();
    const seen: MergeProgress[] = [];
    await runMerge(plan, { out: freshOut(), threads: 1, onProgress: (p) => void seen.push(p) });
    const total = plan.jobs.reduce((sum, job) => sum + job.byteLength, 0);
    assert.deepEqual([seen.at(-1)?.bytesDone, seen.at(-1)?.bytesTotal], [total, total]);
    for (const [i, p] of seen.entries()) assert.ok(p.bytesDone >= (seen[i - 1]?.bytesDone ?? 0));
    const read = plan.jobs
      .flatMap((job): readonly { byteLength: number }[] => (job.kind === "copy" ? [job.source] : job.inputs))
      .reduce((sum, { byteLength }) => sum + byteLength, 0);
    assert.ok(Math.abs((seen.at(-1)?.bytesRead ?? 0) - read) < 1e-6 * read);
    assert.deepEqual(seen.at(-1)?.shard, { file: plan.shards.at(-1)?.file, number: plan.shards.length, count: plan.shards.length });
  });

  it("cancelled at any tensor it leaves no output, and a rerun gives the same bytes", async () => {
    const plan = await linearPlan();
    const whole = freshOut();
    await runMerge(plan, { out: whole, threads: 1 });
    for (const tensors of [1, 4, TENSORS + 1]) {
      const out = freshOut();
      await runAndCancel(plan, out, tensors);
      assert.equal(existsSync(out), false);
      const result = await runMerge(plan, { out, threads: 1 });
      assert.equal(result.resumedTensors, tensors);
      assert.deepEqual(folderHashes(out), folderHashes(whole));
      assert.equal(existsSync(`${out}.partial`), false);
    }
  });

  it("does not go on with another plan, unless told to start anew", async () => {
    const plan = await linearPlan();
    const out = freshOut();
    await runAndCancel(plan, out, 3);
    const other = { ...plan, planHash: "0".repeat(64) };
    const diagnostic = await rejectsWith("resume-other-plan", () => runMerge(other, { out, threads: 1 }));
    assert.match(diagnostic.remedy ?? "", /--overwrite/);
    assert.equal((await runMerge(other, { out, threads: 1, overwrite: true })).resumedTensors, 0);
  });

  it("does not go on after an input changed", async () => {
    const plan = await linearPlan();
    const out = freshOut();
    await runAndCancel(plan, out, 3);
    utimesSync(plan.models[0]?.files[0]?.file ?? "", 1, 1);
    await rejectsWith("resume-inputs-changed", () => runMerge(plan, { out, threads: 1 }));
    appendFileSync(plan.models[0]?.files[0]?.file ?? "", "x");
    await rejectsWith("input-changed", () => runMerge(plan, { out, threads: 1 }));
  });

  it("does not go on where a shard is missing", async () => {
    const plan = await linearPlan();
    const out = freshOut();
    await runAndCancel(plan, out, 3);
    writeFileSync(join(`${out}.partial`, plan.shards[0]?.file ?? ""), "");
    await rejectsWith("journal-damaged", () => runMerge(plan, { out, threads: 1 }));
  });

  it("a file that cannot be written is a diagnostic, and the work goes on later", async () => {
    const plan = await linearPlan();
    const out = freshOut();
    const hindered = { ...plan, donor: { ...plan.donor, files: ["no such file"] } };
    const diagnostic = await rejectsWith("file-write", () => runMerge(hindered, { out, threads: 1 }));
    assert.match(diagnostic.found ?? "", /ENOENT/);
    assert.equal(existsSync(out), false);
    assert.equal((await runMerge(plan, { out, threads: 1 })).resumedTensors, TENSORS + 1);
  });

  it("knows its folder again where there was no room for the shards", async () => {
    const plan = await linearPlan();
    const out = freshOut();
    const hindered = { ...plan, shards: plan.shards.map((shard) => ({ ...shard, file: `missing/${shard.file}` })) };
    const diagnostic = await rejectsWith("file-write", () => runMerge(hindered, { out, threads: 1 }));
    assert.match(diagnostic.remedy ?? "", /the same command again/);
    assert.equal((await runMerge(plan, { out, threads: 1 })).resumedTensors, 0);
  });

  it("checks output and disk before it writes anything", async () => {
    const plan = await linearPlan();
    const out = freshOut();
    await rejectsWith("disk-space", () => runMerge({ ...plan, diskBytes: 2 ** 60 }, { out }));
    await rejectsWith("output-is-input", () => runMerge(plan, { out: plan.models[0]?.folder ?? "", overwrite: true }));
    assert.equal(existsSync(`${out}.partial`), false);
    await runMerge(plan, { out, threads: 1 });
    await rejectsWith("output-exists", () => runMerge(plan, { out, threads: 1 }));
    await runMerge(plan, { out, threads: 1, overwrite: true });
  });

  it("names tensors with NaN or infinite values, copied or computed, and says whose they are", async () => {
    const bad = writeModel([floatTensor("a", [3], [1, Number.NaN, Number.POSITIVE_INFINITY]), floatTensor("b", [1], [1])]);
    const good = writeModel([floatTensor("a", [3], [1, 2, 3]), floatTensor("b", [1], [1])]);
    const copied = await runMerge(await planByHand({ method: "passthrough", models: [bad] }), { out: freshOut(), threads: 1 });
    assert.deepEqual(
      copied.warnings.map((w) => [w.code, w.message, w.found]),
      [["non-finite", "tensor a holds NaN or infinite values", "2 in the output"]],
    );
    const plan = await planByHand({ method: "linear", models: [good, bad], modelParameters: [{ weight: 1 }, { weight: 1 }], parameters: { normalize: 1 } });
    const out = freshOut();
    const merged = await runMerge(plan, { out, threads: 1 });
    assert.deepEqual(merged.warnings[0]?.notes, [`from a of ${bad}`]);
    assert.equal(JSON.parse(readFileSync(join(out, "weightsmith.json"), "utf8")).warnings[0].code, "non-finite");
  });

  it("writes a single shard without an index, whatever the names", async () => {
    const folder = writeModel([floatTensor("0", [1], [1]), floatTensor("__proto__", [], [2])]);
    const out = freshOut();
    await runMerge(await planByHand({ method: "passthrough", models: [folder] }), { out, threads: 1 });
    assert.deepEqual(readFileSync(join(out, "model.safetensors")), readFileSync(join(folder, "model.safetensors")));
    assert.equal(existsSync(join(out, "model.safetensors.index.json")), false);
  });
});
