// Every shader is checked by Dawn's null backend, which needs no driver; with a software driver all are run and compared with the CPU.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { constant, input, linear } from "../../../merge-core/compute/expr.ts";
import { type Gpu, GpuFailure, gridOf, openGpu, scoped } from "../../../merge-core/compute/gpu/device.ts";
import { DeviceSpace, gemmPipeline } from "../../../merge-core/compute/gpu/products.ts";
import type { Sink } from "../../../merge-core/compute/program.ts";
import type { FloatDType } from "../../../merge-core/formats/dtypes.ts";
import { softwareGpu } from "../../helpers/software-gpu.ts";
import { CASES, FORMULAS, programOf } from "./cases.ts";
import { MERGES } from "./merges.ts";

const TYPES: readonly FloatDType[] = ["BF16", "F16", "F32", "F8_E4M3", "F8_E5M2"];

describe("shaders on the null backend", () => {
  let gpu: Gpu;
  before(async () => {
    gpu = await openGpu({ flags: ["backend=null"] });
  });
  after(() => gpu.close());

  const check = (code: string) =>
    scoped(gpu, () => gpu.device.createComputePipeline({ layout: "auto", compute: { module: gpu.device.createShaderModule({ code }) } }));

  for (const [name, x] of Object.entries(FORMULAS))
    it(`${name}, in all types`, async () => {
      for (const dtype of TYPES) await check(programOf([{ kind: "store", x, dtype }], [dtype, dtype, dtype]).wgsl?.code ?? "");
    });

  it("every reduction, histogram and count", async () => {
    const x = input(0);
    const ops = ["sum", "sumAbs", "sumSquares", "maxAbs", "countNonZero"] as const;
    const sinks: Sink[] = [
      ...ops.map((op): Sink => ({ kind: "reduce", reduction: { op, x } })),
      { kind: "reduce", reduction: { op: "dot", x, y: input(1) } },
      { kind: "histogramHigh", x },
      { kind: "histogramWindow", x, low: 5, width: 100, guess: -1 },
      { kind: "countTies", x, key: 7 },
    ];
    for (const dtype of TYPES) await check(programOf(sinks, [dtype, dtype]).wgsl?.code ?? "");
  });

  it("matrix products of both types", async () => {
    assert.ok(gpu.device.features.has("shader-f16") && gpu.device.features.has("subgroups"));
    for (const factors of ["f32", "f16"] as const)
      for (const sums of [4, 8] as const) for (const quads of [false, true]) await scoped(gpu, () => gemmPipeline(gpu.device, { factors, sums, quads }));
  });

  it("of products are compared where a device is fast, which one that computes nothing is", async () => {
    const space = new DeviceSpace(gpu);
    assert.ok((await space.seconds(64)) < 1);
    space.close();
  });

  it("tell a shader that is wrong", async () => {
    await assert.rejects(check("@compute @workgroup_size(1) fn main() { let x: u32 = 1.5; }"), GpuFailure);
  });

  it("need no more bindings for many inputs than for one", async () => {
    const x = linear(Array.from({ length: 40 }, (_, index) => ({ weight: 1 / 40, x: input(index) })));
    await check(programOf([{ kind: "store", x, dtype: "BF16" }], new Array(40).fill("BF16")).wgsl?.code ?? "");
  });
});

describe("what a GPU does not do", () => {
  it("is float64", () => {
    assert.equal(programOf([{ kind: "store", x: input(0), dtype: "F64" }], ["F32"]).wgsl, undefined);
    assert.equal(programOf([{ kind: "store", x: constant(1), dtype: "F32" }], []).wgsl === undefined, false);
    assert.equal(programOf([{ kind: "store", x: input(0), dtype: "F32" }], ["F64"]).wgsl, undefined);
  });
});

describe("gridOf", () => {
  it("goes to a second dimension before the first is too long", () => {
    for (const groups of [1, 65535, 65536, 65537, 2 ** 24, 2 ** 31]) {
      const [x, y] = gridOf(groups);
      assert.ok(x <= 65535 && y <= 65535 && x * y >= groups && (x - 1) * y < groups, `${groups}: ${x} x ${y}`);
    }
  });
});

describe("openGpu", () => {
  const fails = (load: Parameters<typeof openGpu>[0], message: RegExp) =>
    assert.rejects(openGpu(load), (error) => error instanceof GpuFailure && message.test(error.message));
  const adapter = { features: new Set(), limits: {}, info: {}, requestDevice: () => Promise.reject(new Error("device creation failed")) };
  const fake = (found: unknown) => async () => ({ create: () => ({ requestAdapter: async () => found }) as unknown as GPU, globals: {} });

  it("says why there is no GPU", async () => {
    await fails({ load: () => Promise.reject(new Error("Cannot find package 'webgpu'")) }, /package webgpu cannot be loaded: Cannot find/);
    await fails({ load: fake(null) }, /no GPU adapter found/);
    await fails({ load: fake(adapter) }, /gave no device: device creation failed/);
    const throws = () => {
      throw new Error("libvulkan is broken");
    };
    await fails({ load: async () => ({ create: throws, globals: {} }) }, /libvulkan is broken/);
  });
});

describe("kernels on a software GPU", () => {
  const results = new Map<string, { readonly error?: string }>();
  before(async function () {
    this.timeout(300_000);
    const env = softwareGpu();
    if (env === undefined) return this.skip();
    const file = fileURLToPath(new URL("./gpu-cases.js", import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [file], { env });
    for (const line of stdout.trim().split("\n")) {
      const { name, ...result } = JSON.parse(line);
      results.set(String(name), result);
    }
  });
  for (const name of [...Object.keys(CASES), ...Object.keys(MERGES)])
    it(`agree with the CPU: ${name}`, () => {
      const result = results.get(name);
      assert.ok(result, "the case did not run");
      assert.equal(result.error, undefined);
    });
});
