// Runs in a process of their own: killed without warning, and measured. This file is also that process's program.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { MergePlan } from "../../merge-core/plan/plan.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeHollowModel, writeModel } from "../helpers/models.ts";
import { peakMemory } from "../helpers/peak-memory.ts";
import { planByHand } from "../helpers/plans.ts";
import { folderHashes } from "../helpers/trees.ts";

interface ChildTask {
  readonly plan: MergePlan;
  readonly out: string;
  readonly threads: number;
  readonly memoryBytes: number;
  /** Slows the run down enough to be killed in the middle. */
  readonly pauseMs: number;
}

const TASK = "WEIGHTSMITH_TEST_TASK";

/** The child's program: one run, then its peak memory on stdout. */
async function child(file: string): Promise<void> {
  const { plan, out, threads, memoryBytes, pauseMs }: ChildTask = JSON.parse(readFileSync(file, "utf8"));
  const pause = () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
  await runMerge(plan, { out, threads, memoryBytes, syncIntervalMs: 0, onProgress: pause });
  console.log(peakMemory());
}

function start(task: ChildTask): ChildProcess {
  const file = join(temporaryFolder(), "task.json");
  writeFileSync(file, JSON.stringify(task));
  return spawn(process.execPath, [fileURLToPath(import.meta.url)], { env: { ...process.env, [TASK]: file }, stdio: ["ignore", "pipe", "inherit"] });
}

const averagePlan = (models: readonly string[]): Promise<MergePlan> =>
  planByHand({ method: "linear", models, modelParameters: models.map(() => ({ weight: 1 })), parameters: { normalize: 1 }, perShard: 8 });

const manyTensors = (m: number) =>
  writeModel(
    Array.from({ length: 20 }, (_, t) =>
      floatTensor(
        `layers.${t}.w`,
        [5000],
        Float32Array.from({ length: 5000 }, (_, i) => Math.sin(m + t + i)),
        "BF16",
      ),
    ),
  );
const oneLargeTensor = () => writeHollowModel([{ name: "embed", dtype: "BF16", shape: [48, 2 ** 20] }]);

const task = process.env[TASK];
if (task !== undefined) await child(task);
else
  describe("a run in a process of its own", () => {
    it("killed without warning it leaves no output; a rerun gives the same bytes", async () => {
      const plan = await averagePlan([0, 1, 2].map(manyTensors));
      const folder = temporaryFolder();
      const whole = join(folder, "whole", "out");
      const out = join(folder, "out");
      await runMerge(plan, { out: whole, threads: 1 });
      const process_ = start({ plan, out, threads: 2, memoryBytes: 64 * 2 ** 20, pauseMs: 30 });
      const journal = join(`${out}.partial`, "journal.jsonl");
      const lines = () => (existsSync(journal) ? readFileSync(journal, "utf8").split("\n").length : 0);
      for (let i = 0; i < 1000 && lines() < 5; i++) await new Promise((done) => setTimeout(done, 10));
      process_.kill("SIGKILL");
      await once(process_, "exit");
      assert.equal(process_.signalCode, "SIGKILL", "it was still at work");
      assert.equal(existsSync(out), false);
      const result = await runMerge(plan, { out, threads: 1 });
      assert.ok(result.resumedTensors >= 3 && result.resumedTensors < 20, `${result.resumedTensors} tensors were taken over`);
      assert.deepEqual(folderHashes(out), folderHashes(whole));
    });

    it("stays within its memory, however large the tensors", async () => {
      const memoryBytes = 64 * 2 ** 20;
      const plan = await averagePlan([oneLargeTensor(), oneLargeTensor(), oneLargeTensor()]);
      const process_ = start({ plan, out: join(temporaryFolder(), "out"), threads: 2, memoryBytes, pauseMs: 0 });
      let printed = "";
      process_.stdout?.on("data", (text) => {
        printed += text;
      });
      await once(process_, "close");
      const peak = Number(printed);
      assert.ok(peak > 0 && peak < memoryBytes + 250e6, `peak ${peak} bytes, for ${3 * 96} MiB of inputs`);
    });
  });
