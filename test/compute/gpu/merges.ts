// Whole merges with a GPU, and with one that fails on the way.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type GpuEngine, type GpuEngineOptions, openGpuEngine, type WebgpuEngine } from "../../../merge-core/compute/gpu/engine.ts";
import { poolSpace } from "../../../merge-core/compute/linalg/pool-space.ts";
import { createPool } from "../../../merge-core/compute/pool.ts";
import { type MergeResult, runMerge } from "../../../merge-core/run/execute.ts";
import { temporaryFolder } from "../../helpers/folders.ts";
import { floatTensor, writeModel } from "../../helpers/models.ts";
import { planByHand } from "../../helpers/plans.ts";
import { inSoftware, noise } from "./cases.ts";

const [ROWS, COLUMNS] = [48, 64];
/** Bytes on the device that are enough for the polar factor of the first matrix, and not of the second. */
const MEMORY = 80 * 2 ** 10;
/** Two matrices, and a vector long enough to be worth a GPU's while. */
const model = (seed: number) =>
  writeModel(
    [
      floatTensor("a.weight", [ROWS, COLUMNS], [...noise(seed, ROWS * COLUMNS)], "F32"),
      floatTensor("b.weight", [COLUMNS, 2 * ROWS], [...noise(seed + 10, 2 * ROWS * COLUMNS)], "F32"),
      floatTensor("c.weight", [2 ** 18 + 5], [...noise(seed + 20, 2 ** 18 + 5)], "F32"),
    ],
    { config: {}, files: {} },
  );

let models: string[] | undefined;
function planOf(method: string) {
  models ??= [1, 2, 3].map(model);
  const folders = models;
  return planByHand({
    ...{ method, models: folders, baseFolder: folders[0] as string },
    modelParameters: folders.map(() => ({ weight: 0.5, density: 0.5 })),
    parameters: { alpha: 1, normalize: 1, lambda: 1, rescale: 1, rescale_by_density: 1, whole_vector: 0 },
  });
}

interface Merged extends MergeResult {
  readonly engine: string;
  readonly values: Float32Array;
}

async function merge(method: string, gpu?: GpuEngine, onProgress?: () => void): Promise<Merged> {
  const out = join(temporaryFolder(), "out");
  const result = await runMerge(await planOf(method), { out, threads: 2, gpu, ...(onProgress === undefined ? {} : { onProgress }) });
  const bytes = readFileSync(join(out, "model.safetensors"));
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const { engine } = JSON.parse(readFileSync(join(out, "weightsmith.json"), "utf8"));
  return { ...result, engine, values: new Float32Array(bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + bytes.length)) };
}

async function withGpu(options: GpuEngineOptions, action: (gpu: WebgpuEngine) => Promise<void>): Promise<void> {
  const gpu = await openGpuEngine({ leastProduct: 0, ...options });
  try {
    await action(gpu);
  } finally {
    await gpu.close();
  }
}

function near(found: Float32Array, expected: Float32Array, tolerance: number): void {
  assert.equal(found.length, expected.length);
  const at = found.findIndex((value, i) => !(Math.abs(value - (expected[i] as number)) <= tolerance));
  assert.ok(at < 0, `element ${at} is ${found[at]}, not ${expected[at]}`);
}

const CODES = (result: MergeResult) => result.warnings.map(({ code }) => code);

export const MERGES: Readonly<Record<string, () => Promise<void>>> = {
  "merges of whole matrices, named by the manifest": () =>
    withGpu({}, async (gpu) => {
      for (const method of ["iso_c", "tsv_m"]) {
        const [found, expected] = [await merge(method, gpu), await merge(method)];
        assert.match(found.engine, /^webgpu /);
        assert.equal(expected.engine, "cpu");
        near(found.values, expected.values, 1e-3);
        assert.ok(!CODES(found).includes("gpu-failed"));
      }
    }),
  "merges of elements, bit by bit": () =>
    withGpu({ elementwise: true }, async (gpu) => {
      for (const method of ["linear", "task_arithmetic", "ties", "dare_linear"]) {
        const [found, expected] = [await merge(method, gpu), await merge(method)];
        if (method === "dare_linear" && !inSoftware(gpu)) near(found.values, expected.values, 1e-6);
        else assert.deepEqual(found.values, expected.values);
        assert.match(found.engine, /^webgpu /);
        assert.equal(gpu.failure, undefined);
      }
    }),
  "merges that lose their device on the way": () =>
    withGpu({ elementwise: true }, async (gpu) => {
      let lost = false;
      const lose = () => {
        if (!lost) void gpu.lose();
        lost = true;
      };
      const [found, expected] = [await merge("iso_c", gpu, lose), await merge("iso_c")];
      assert.ok(lost);
      near(found.values, expected.values, 1e-3);
      assert.deepEqual(
        CODES(found).filter((code) => code === "gpu-failed"),
        ["gpu-failed"],
      );
      assert.ok(gpu.failure);
    }),
  "merges that find no memory for their second tensor": () =>
    withGpu({ memoryBytes: MEMORY }, async (gpu) => {
      const [found, expected] = [await merge("iso_c", gpu), await merge("iso_c")];
      near(found.values, expected.values, 1e-3);
      const failed = found.warnings.filter(({ code }) => code === "gpu-failed");
      assert.equal(failed.length, 1);
      assert.match(`${failed[0]?.message} ${failed[0]?.found}`, /from b\.weight on .*no room for \d+ bytes/);
    }),
  "products of a device that is gone, by the kernels": () =>
    withGpu({}, async (gpu) => {
      await gpu.lose();
      const pool = createPool({ threads: 2, gpu });
      try {
        const [space, plain] = [poolSpace(pool), poolSpace(createPool({ threads: 1 }))];
        const product = (s: typeof space) => {
          const [a, b, into] = [s.zeros(9, 7), s.zeros(7, 5), s.zeros(9, 5)];
          a.data.set(noise(1, 63));
          b.data.set(noise(2, 35));
          into.data.fill(3);
          return s.product(a, b, { into, accumulate: true }).data;
        };
        assert.deepEqual(product(space), product(plain));
        assert.ok(gpu.failure);
      } finally {
        await pool.close();
      }
    }),
  "matrices that the device does not hold": () =>
    withGpu({}, async (gpu) => {
      const side = 2 ** 16;
      const huge = new Float32Array(new SharedArrayBuffer(16));
      const product = { rows: side, columns: side, depth: 1, a: huge, b: huge, c: huge, transposeA: false, transposeB: false, accumulate: false };
      assert.equal(gpu.product(product), false);
      assert.equal(gpu.failure, undefined);
    }),
};
