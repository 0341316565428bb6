import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { CommandContext } from "../../merge-core/cli/command.ts";
import { chooseDevice, DEVICE } from "../../merge-core/cli/device.ts";
import { parseArguments, THREADS } from "../../merge-core/cli/options.ts";
import { plainSpace } from "../../merge-core/compute/linalg/plain-space.ts";
import { atOnce } from "../../merge-core/compute/linalg/steps.ts";
import { BLAS_VARIABLE, type Blas } from "../../merge-core/compute/providers/blas.ts";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { planByHand } from "../helpers/plans.ts";
import { FAST, packageFolder, withPackages } from "../helpers/tfjs-packages.ts";

const values = (seed: number) => Array.from({ length: 48 }, (_, i) => Math.sin(seed * 5 + i));
const model = (seed: number) => writeModel([floatTensor("w", [6, 8], values(seed), "F32")], { config: {}, files: {} });
function planOf(method: string) {
  const models = [model(0), model(1), model(2)];
  return planByHand({
    method,
    models,
    baseFolder: models[0] as string,
    modelParameters: models.map(() => ({ weight: 1 })),
    parameters: { alpha: 1, normalize: 1 },
  });
}

async function choose(words: readonly string[], method: string) {
  const notes: string[] = [];
  const diagnostics = (found: readonly Diagnostic[]) => notes.push(...found.map(({ code, message, found }) => `${code}: ${message}; ${found}`));
  const context = { output: { note: (note: string) => notes.push(note), diagnostics }, signal: new AbortController().signal } as unknown as CommandContext;
  const devices = await chooseDevice(parseArguments([...words, "--threads", "1"], [DEVICE, THREADS]), [await planOf(method)], context);
  return { ...devices, notes };
}

/** A library that cannot be there. */
async function withoutBlas<T>(action: () => Promise<T>): Promise<T> {
  const before = process.env[BLAS_VARIABLE];
  process.env[BLAS_VARIABLE] = "/nowhere/libnone.so";
  try {
    return await action();
  } finally {
    if (before === undefined) delete process.env[BLAS_VARIABLE];
    else process.env[BLAS_VARIABLE] = before;
  }
}

describe("--device", () => {
  it("is cpu unless told otherwise, without a word", async () => {
    assert.deepEqual(await choose([], "iso_c"), { notes: [] });
  });

  it("leaves element-wise merges on the cpu and says why", async () => {
    const { blas, notes } = await choose(["--device", "blas"], "linear");
    assert.equal(blas, undefined);
    assert.match(notes[0] ?? "", /^device: cpu, since no method of this recipe works on whole matrices/);
  });

  it("refuses a library that is not there, and auto goes on without", async () => {
    await withoutBlas(async () => {
      await rejectsWith("device-unusable", () => choose(["--device", "blas"], "iso_c"));
      const { blas, notes } = await choose(["--device", "auto"], "iso_c");
      assert.equal(blas, undefined);
      assert.match(notes[0] ?? "", /^device: (cpu|webgpu), since .*blas is not usable/);
    });
  });
});

describe("--device where packages are stand-ins", () => {
  const auto = (folder: string) => withoutBlas(() => withPackages(folder, () => choose(["--device", "auto"], "iso_c")));

  it("auto takes what multiplies fastest by far, and says by how much", async () => {
    const { gpu, notes } = await auto(packageFolder("@tensorflow/tfjs-node-gpu", FAST));
    try {
      assert.match(gpu?.name ?? "", /^tfjs-node-gpu /);
      assert.match(notes[0] ?? "", /^device: tfjs-node-gpu, since cpu does \d+ GFLOP\/s and .*tfjs-node-gpu does \d+ GFLOP\/s in matrix products/);
    } finally {
      await gpu?.close();
    }
  });

  it("auto leaves what multiplies wrongly, and says so", async () => {
    const wrong = `${FAST}\nmodule.exports.matMul = () => ({ data: async () => [1, 2, 3, 4], dispose() {} });`;
    const { gpu, notes } = await auto(packageFolder("@tensorflow/tfjs-node-gpu", wrong));
    assert.doesNotMatch(gpu?.name ?? "", /tfjs/);
    await gpu?.close();
    assert.match(notes[0] ?? "", /tfjs-node-gpu is not usable: wrong product: 1, 2, 3, 4/);
  });

  it("webgpu without an adapter leaves the merge to the built-in engine, with a warning", async () => {
    const none = packageFolder("webgpu", "exports.globals = {}; exports.create = () => ({ requestAdapter: async () => null });");
    for (const method of ["iso_c", "linear"]) {
      const { gpu, notes } = await withPackages(none, () => choose(["--device", "webgpu"], method));
      assert.equal(gpu, undefined);
      assert.deepEqual(notes, [
        "device-unusable: webgpu cannot be used; the merge goes on with the built-in engine; no GPU adapter found; is a Vulkan, Metal or D3D12 driver installed?",
      ]);
    }
  });
});

describe("a merge with another engine", () => {
  /** Products of the plain space under another name. */
  const counted = { products: 0 };
  const engine: Blas = {
    name: "a library",
    file: "/nowhere/liba.so",
    threads: 2,
    sgemm: ({ rows, columns, depth, a, transposeA, b, transposeB, c }) => {
      counted.products++;
      const of = (data: Float32Array, m: number, n: number) => ({ rows: m, columns: n, data });
      const left = transposeA ? of(a, depth, rows) : of(a, rows, depth);
      plainSpace().product(left, transposeB ? of(b, columns, depth) : of(b, depth, columns), { transposeA, transposeB, into: of(c, rows, columns) });
    },
    ssyrk: (rows, depth, a, c) => c.set(atOnce(plainSpace().gram({ rows, columns: depth, data: a })).data),
    dsyrk: (rows, depth, a, c) => atOnce(plainSpace().gramDoubles(a, rows, depth, c)),
  };
  const engineOf = (out: string) => JSON.parse(readFileSync(join(out, "weightsmith.json"), "utf8")).engine;

  it("is named by the manifest where it computed something, and does not go on with another's work", async () => {
    const [plan, out] = [await planOf("iso_c"), join(temporaryFolder(), "out")];
    const stop = new AbortController();
    const onProgress = () => stop.abort();
    await rejectsWith("cancelled", () => runMerge(plan, { out, threads: 1, blas: engine, signal: stop.signal, onProgress }));
    await rejectsWith("resume-other-engine", () => runMerge(plan, { out, threads: 1 }));
    await runMerge(plan, { out, threads: 1, blas: engine });
    assert.ok(counted.products > 0);
    assert.equal(engineOf(out), "a library");
  });

  it("is not named where every byte is the built-in engine's", async () => {
    const out = join(temporaryFolder(), "out");
    await runMerge(await planOf("linear"), { out, threads: 1, blas: engine });
    assert.equal(engineOf(out), "cpu");
  });
});
