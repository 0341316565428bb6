// What a GPU must do like the CPU. Each case throws if it does not; run-cases.ts runs them where there is a driver.
import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { compileProgram } from "../../../merge-core/compute/compile.ts";
import {
  abs,
  add,
  bernoulli,
  compare,
  constant,
  div,
  type Expr,
  input,
  linear,
  mul,
  type Reduction,
  scale,
  select,
  sub,
  trim,
} from "../../../merge-core/compute/expr.ts";
import { type Gpu, openGpu } from "../../../merge-core/compute/gpu/device.ts";
import { DeviceMatrices } from "../../../merge-core/compute/gpu/matrices.ts";
import { runGpuPass } from "../../../merge-core/compute/gpu/passes.ts";
import { DeviceSpace } from "../../../merge-core/compute/gpu/products.ts";
import { leadingTriplets, symmetricBlocks } from "../../../merge-core/compute/gpu/triplets.ts";
import { toWgsl } from "../../../merge-core/compute/gpu/wgsl-program.ts";
import { frobenius, type Matrix } from "../../../merge-core/compute/linalg/matrix.ts";
import { plainSpace } from "../../../merge-core/compute/linalg/plain-space.ts";
import { polarFactor } from "../../../merge-core/compute/linalg/polar.ts";
import { svd } from "../../../merge-core/compute/linalg/svd.ts";
import { symmetricEigen } from "../../../merge-core/compute/linalg/symmetric-eigen.ts";
import type { Sink } from "../../../merge-core/compute/program.ts";
import { encodeOutput, evaluate, joinBlocks, magnitudeKeys, reduceArrays } from "../../../merge-core/compute/reference.ts";
import { randomKey, uniforms } from "../../../merge-core/compute/rng.ts";
import { widenToFloat32 } from "../../../merge-core/formats/dtype-codecs.ts";
import { DTYPE_BYTES, type FloatDType } from "../../../merge-core/formats/dtypes.ts";

export const KEY = randomKey(7, "layers.0.weight");
const SIZE = 3 * 4096 + 37;

export const noise = (seed: number, size: number): Float32Array =>
  Float32Array.from(uniforms(randomKey(seed, "gpu"), { model: 0, purpose: 0 }, 0, Math.ceil(size / 4) * 4), (u) => u - 0.5).slice(0, size);

/** Formulas of the merge methods that need one pass, and those that only a kernel of their own did before. */
export const FORMULAS: Readonly<Record<string, Expr>> = {
  linear: linear([0.3, 0.45, 0.25].map((weight, index) => ({ weight, x: input(index) }))),
  "task arithmetic": add(input(0), linear([1, 2].map((i) => ({ weight: 0.7, x: sub(input(i), input(0)) })))),
  "ties apply": ((): Expr => {
    const deltas = [1, 2].map((i) => trim(sub(input(i), input(0)), { threshold: 0.3, tieLimit: 5000 }));
    const [d1, d2] = deltas as [Expr, Expr];
    const sign = compare("ge", add(d1, d2), constant(0));
    const agrees = (d: Expr): Expr => select(compare("eq", compare("ge", d, constant(0)), sign), d, constant(0));
    return add(input(0), scale(add(agrees(d1), agrees(d2)), 0.5));
  })(),
  dare: add(input(0), div(mul(bernoulli(constant(0.4), { model: 3, purpose: 1 }), sub(input(1), input(0))), constant(0.4))),
  "square roots and bounds": select(
    compare("lt", abs(input(0)), constant(0.1)),
    { op: "sqrt", a: abs(input(1)) },
    { op: "max", a: { op: "neg", a: input(2) }, b: { op: "min", a: input(0), b: input(1) } },
  ),
};

const bytesOf = (dtype: FloatDType, values: Float32Array): Uint8Array => encodeOutput(dtype, values);

export function programOf(
  sinks: readonly Sink[],
  dtypes: readonly FloatDType[],
): { program: ReturnType<typeof compileProgram>; wgsl: ReturnType<typeof toWgsl> } {
  const program = compileProgram(sinks, dtypes, KEY);
  return { program, wgsl: toWgsl(program) };
}

/** Runs sinks over arrays given in a type, in chunks of 4096 so that several are under way. */
async function pass(gpu: Gpu, sinks: readonly Sink[], dtype: FloatDType, values: readonly Float32Array[], first = 0, output?: FloatDType) {
  const { program, wgsl } = programOf(
    sinks,
    values.map(() => dtype),
  );
  assert.ok(wgsl);
  const inputs = program.inputs.map((i) => ({ elementBytes: DTYPE_BYTES[dtype], store: { bytes: bytesOf(dtype, values[i] as Float32Array) } }));
  const end = values[0]?.length ?? 0;
  const bytes = new Uint8Array((end - first) * DTYPE_BYTES[output ?? "F32"]);
  const target = output === undefined ? undefined : { elementBytes: DTYPE_BYTES[output], store: { bytes } };
  return { bytes, ...(await runGpuPass(gpu, { program: wgsl, inputs, first, end, output: target, chunk: 4096 })) };
}

function sameBytes(found: Uint8Array, expected: Uint8Array, what: string): void {
  const at = found.findIndex((byte, i) => byte !== expected[i]);
  assert.ok(found.length === expected.length && at < 0, `${what}: byte ${at} of ${expected.length} is ${found[at]}, not ${expected[at]}`);
}

/** Drivers in software round divisions and square roots as processors do; WGSL leaves the last bits to a GPU. */
export const inSoftware = ({ name }: Pick<Gpu, "name">): boolean => /swiftshader|llvmpipe/i.test(name);
const MAY_DIFFER = new Set(["dare", "square roots and bounds"]);

/** Within one unit of the type: codes of one sign are in the order of their values. */
function nearCodes(found: Uint8Array, expected: Uint8Array, dtype: FloatDType, what: string): void {
  const codes = ({ buffer }: Uint8Array) => {
    const bytes = DTYPE_BYTES[dtype];
    return bytes === 4 ? new Int32Array(buffer as ArrayBuffer) : bytes === 2 ? new Int16Array(buffer as ArrayBuffer) : new Int8Array(buffer as ArrayBuffer);
  };
  const [left, right] = [codes(found.slice()), codes(expected.slice())];
  const at = left.findIndex((code, i) => Math.abs(code - (right[i] as number)) > 1);
  assert.ok(left.length === right.length && at < 0, `${what}: code ${at} of ${right.length} is ${left[at]}, not ${right[at]} or beside it`);
}

async function formulas(gpu: Gpu): Promise<void> {
  for (const dtype of ["BF16", "F16", "F32", "F8_E4M3", "F8_E5M2"] as const) {
    const values = [1, 2, 3].map((seed) => widenToFloat32(dtype, bytesOf(dtype, noise(seed, SIZE))));
    for (const [name, x] of Object.entries(FORMULAS)) {
      const { bytes, nonFinite } = await pass(gpu, [{ kind: "store", x, dtype }], dtype, values, 0, dtype);
      const expected = encodeOutput(dtype, evaluate(x, { inputs: values, size: SIZE, key: KEY }));
      if (MAY_DIFFER.has(name) && !inSoftware(gpu)) nearCodes(bytes, expected, dtype, `${name} in ${dtype}`);
      else sameBytes(bytes, expected, `${name} in ${dtype}`);
      assert.equal(nonFinite, 0);
    }
  }
}

/** Every code of a type goes in and out again, to every type. */
async function codes(gpu: Gpu): Promise<void> {
  const all = Float32Array.from(
    Float32Array.from({ length: 1 << 16 }, (_, i) => i),
    (i) => new Float32Array(Uint32Array.of((i << 16) >>> 0).buffer)[0] as number,
  );
  const sixteen = new Uint8Array(Uint16Array.from({ length: 1 << 16 }, (_, i) => i).buffer);
  const eight = Uint8Array.from({ length: 256 }, (_, i) => i);
  for (const from of ["BF16", "F16", "F8_E4M3", "F8_E5M2"] as const) {
    const raw = DTYPE_BYTES[from] === 2 ? sixteen : eight;
    const wide = widenToFloat32(from, raw);
    for (const dtype of ["BF16", "F16", "F32", "F8_E4M3", "F8_E5M2"] as const) {
      const { program, wgsl } = programOf([{ kind: "store", x: input(0), dtype }], [from]);
      assert.ok(wgsl && program);
      const bytes = new Uint8Array(wide.length * DTYPE_BYTES[dtype]);
      const inputs = [{ elementBytes: DTYPE_BYTES[from], store: { bytes: raw } }];
      const { nonFinite } = await runGpuPass(gpu, {
        program: wgsl,
        inputs,
        first: 0,
        end: wide.length,
        output: { elementBytes: DTYPE_BYTES[dtype], store: { bytes } },
      });
      sameBytes(bytes, encodeOutput(dtype, wide), `${from} to ${dtype}`);
      assert.equal(nonFinite, widenToFloat32(dtype, bytes).filter((x) => !Number.isFinite(x)).length);
    }
  }
  // Values between codes, subnormals and ties included.
  const between = Float32Array.from(all, (x, i) => (i % 3 === 0 ? x * 1.00390625 : x * 1.0009765625)).filter((x) => Number.isFinite(x));
  for (const dtype of ["BF16", "F16", "F8_E4M3", "F8_E5M2"] as const) {
    const { bytes } = await pass(gpu, [{ kind: "store", x: input(0), dtype }], "F32", [between], 0, dtype);
    sameBytes(bytes, encodeOutput(dtype, between), `float32 to ${dtype}`);
  }
}

async function statistics(gpu: Gpu): Promise<void> {
  const values = [noise(1, SIZE), noise(2, SIZE)];
  values[0]?.fill(0.25, 100, 5000);
  const [x, y] = values as [Float32Array, Float32Array];
  const ops = ["sum", "sumAbs", "sumSquares", "maxAbs", "countNonZero", "dot"] as const;
  const reductions: Reduction[] = ops.map((op) => (op === "dot" ? { op, x: input(0), y: input(1) } : { op, x: input(0) }));
  const low = 0x3e000000;
  const tie = magnitudeKeys(Float32Array.of(0.25))[0] as number;
  const sinks: Sink[] = [
    ...reductions.map((reduction): Sink => ({ kind: "reduce", reduction })),
    { kind: "histogramHigh", x: input(0) },
    { kind: "histogramWindow", x: input(0), low, width: 1 << 16, guess: low + 1 },
    { kind: "countTies", x: input(0), key: tie },
  ];
  const { gathered } = await pass(gpu, sinks, "F32", values);
  for (const [i, op] of ops.entries()) {
    const [found, expected] = [joinBlocks(op, gathered.get(i) ?? []), reduceArrays(op, x, y)];
    const tolerance = op === "maxAbs" || op === "countNonZero" ? 0 : 1e-6 * reduceArrays("sumAbs", x, y);
    assert.ok(Math.abs(found - expected) <= tolerance, `${op}: ${found} is not ${expected}`);
  }
  const keys = magnitudeKeys(x);
  const upper = new Float64Array(0x7f81);
  for (const key of keys) upper[key >>> 16] = (upper[key >>> 16] as number) + 1;
  assert.deepEqual(gathered.get(ops.length), upper);
  const window = gathered.get(ops.length + 1) as Float64Array;
  assert.equal(window[0], keys.filter((key) => key >= low + (1 << 16)).length);
  assert.equal(
    window.subarray(1).reduce((sum, n) => sum + n, 0),
    keys.filter((key) => key >= low && key < low + (1 << 16)).length,
  );
  assert.deepEqual(
    gathered.get(ops.length + 2),
    Float64Array.from({ length: 4 }, (_, block) => keys.subarray(block * 4096, (block + 1) * 4096).filter((key) => key === tie).length),
  );
}

/** A pass over a part of a tensor, from one file to another. */
async function files(gpu: Gpu): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "weightsmith-gpu-"));
  const [file, out] = [join(folder, "in"), join(folder, "out")];
  const values = noise(5, SIZE);
  writeFileSync(file, Buffer.concat([Buffer.alloc(6), bytesOf("BF16", values)]));
  const [fd, target] = [openSync(file, "r"), openSync(out, "w+")];
  try {
    const x = mul(input(0), bernoulli(constant(0.5), { model: 0, purpose: 0 }));
    const { wgsl } = programOf([{ kind: "store", x, dtype: "BF16" }], ["BF16"]);
    assert.ok(wgsl);
    const inputs = [{ elementBytes: 2, store: { file, fd, offset: 6 } }];
    await runGpuPass(gpu, {
      program: wgsl,
      inputs,
      first: 4096,
      end: SIZE,
      chunk: 4096,
      output: { elementBytes: 2, store: { file: out, fd: target, offset: 3 } },
    });
    const expected = encodeOutput("BF16", evaluate(x, { inputs: [widenToFloat32("BF16", bytesOf("BF16", values))], size: SIZE, key: KEY }));
    sameBytes(readFileSync(out).subarray(3 + 8192), expected.subarray(8192), "file to file");
  } finally {
    closeSync(fd);
    closeSync(target);
    rmSync(folder, { recursive: true });
  }
}

function near(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  for (let i = 0; i < expected.length; i++)
    assert.ok(Math.abs((found[i] as number) - (expected[i] as number)) <= tolerance, `${what} ${i}: ${found[i]} is not ${expected[i]}`);
}

/** By the code that is chosen, and by each that the device can run. */
async function products(gpu: Gpu): Promise<void> {
  await productsBy(new DeviceMatrices(gpu));
  for (const sums of [4, 8] as const)
    for (const quads of gpu.device.features.has("subgroups") ? [false, true] : [false])
      await productsBy(new DeviceMatrices(gpu, { factors: "f32", sums, quads }));
}

async function productsBy(matrices: DeviceMatrices): Promise<void> {
  const plain = plainSpace();
  for (const [rows, columns, depth] of [
    [70, 65, 33],
    [1, 130, 5],
    [64, 64, 64],
    [131, 257, 40],
  ] as const)
    for (const transposeA of [false, true])
      for (const transposeB of [false, true]) {
        const a = { rows: transposeA ? depth : rows, columns: transposeA ? rows : depth, data: noise(1, rows * depth) };
        const b = { rows: transposeB ? columns : depth, columns: transposeB ? depth : columns, data: noise(2, depth * columns) };
        const [c, into] = [noise(3, rows * columns), { rows, columns, data: noise(3, rows * columns) }];
        await matrices.product({ rows, columns, depth, a: a.data, b: b.data, c, transposeA, transposeB, accumulate: true });
        near(c, plain.product(a, b, { transposeA, transposeB, into, accumulate: true }).data, 1e-5, "product");
      }
  // Of a factor and itself half is computed.
  for (const transposeA of [false, true]) {
    const a = { rows: transposeA ? 33 : 150, columns: transposeA ? 150 : 33, data: noise(4, 150 * 33) };
    const c = new Float32Array(150 * 150);
    await matrices.product({ rows: 150, columns: 150, depth: 33, a: a.data, b: a.data, c, transposeA, transposeB: !transposeA, accumulate: false });
    near(c, plain.product(a, a, { transposeA, transposeB: !transposeA }).data, 1e-5, "Gram matrix");
    for (let i = 0; i < 150; i++) for (let j = 0; j < i; j++) assert.equal(c[i * 150 + j], c[j * 150 + i]);
  }
}

async function polar(gpu: Gpu): Promise<void> {
  const matrices = new DeviceMatrices(gpu);
  const space = plainSpace();
  for (const [rows, columns, rank] of [
    [40, 70, 40],
    [60, 60, 9],
  ] as const) {
    const make = (m: number, n: number, seed: number) => ({ rows: m, columns: n, data: noise(seed, m * n) });
    const a = rank === rows ? make(rows, columns, 1) : space.product(make(rows, rank, 1), make(rank, columns, 2));
    const found = new Float32Array(rows * columns);
    await matrices.polar(rows, columns, a.data, Math.hypot(...a.data), found);
    const expected = await polarFactor(space, a);
    assert.equal(expected.rank, rank);
    near(found, expected.factor.data, 2e-4, `polar factor of rank ${rank}`);
  }
}

/** Rows orthonormal, values descending, and as good an approximation as the exact triplets are. */
async function triplets(gpu: Gpu): Promise<void> {
  const space = new DeviceSpace(gpu);
  const plain = plainSpace();
  const make = (rows: number, columns: number, seed: number): Matrix => ({ rows, columns, data: noise(seed, rows * columns) });
  const decaying = make(40, 60, 1);
  for (let i = 0; i < 40; i++) for (let j = 0; j < 60; j++) decaying.data[i * 60 + j] = (decaying.data[i * 60 + j] as number) * 0.8 ** i;
  const projector = plain.product(make(40, 7, 3), make(7, 60, 4));
  const isometric = (await polarFactor(plain, make(24, 30, 5))).factor;
  for (const [what, a, count, width, tolerance] of [
    ["random, whole", make(40, 50, 2), 40, 40, 1e-4],
    ["decaying, leading", decaying, 6, 20, 1e-4],
    ["of rank 7, leading", projector, 12, 20, 1e-4],
    ["of rank 7, whole", projector, 40, 40, 1e-4],
    ["of equal values, whole", isometric, 24, 24, 1e-4],
  ] as const) {
    const { rows, columns } = a;
    const [left, right, values] = [new Float32Array(count * rows), new Float32Array(count * columns), new Float64Array(count)];
    await leadingTriplets(space, { rows, columns, a: a.data, norm: frobenius(a), count, width, left, right, values }, 16);
    space.close();
    const exact = await svd(plain, a, count);
    near(values.subarray(0, exact.values.length), exact.values, tolerance * (exact.values[0] as number), `values of ${what}`);
    const kept = values.filter((value) => value > 1e-4 * (exact.values[0] as number)).length;
    for (const [vectors, length] of [[left, rows] as const, [right, columns] as const]) {
      const found = { rows: kept, columns: length, data: vectors.subarray(0, kept * length) };
      const one = Float32Array.from({ length: kept * kept }, (_, i) => Number(i % (kept + 1) === 0));
      near(plain.product(found, found, { transposeB: true }).data, one, 10 * tolerance, `orthonormality of ${what}`);
    }
    near(sumOf(left, values, right, rows, columns), sumOf(exact.left.data, exact.values, exact.right.data, rows, columns), 10 * tolerance, what);
  }
}

/** Down to small parts, of which the processor takes each, in the order of their values. */
async function division(gpu: Gpu): Promise<void> {
  const space = new DeviceSpace(gpu);
  const plain = plainSpace();
  const n = 40;
  const a = { rows: n, columns: n, data: noise(6, n * n) };
  const h = plain.product(a, a, { transposeB: true });
  const blocks = await symmetricBlocks(space, await space.make(n, n, h.data), n, 8);
  assert.ok(blocks.length >= n / 8 && blocks.every(({ vectors }) => vectors.rows <= 8), `parts of ${blocks.map(({ vectors }) => vectors.rows)}`);
  const exact = symmetricEigen(Float64Array.from(h.data), n).values;
  near(
    blocks.flatMap(({ values }) => [...values]),
    exact,
    1e-5 * (exact[0] as number),
    "eigenvalue",
  );
  space.close();
}

/** sum of v_k u_k w_k^T. */
function sumOf(left: Float32Array, values: Float64Array, right: Float32Array, rows: number, columns: number): Float32Array {
  const sum = new Float32Array(rows * columns);
  for (const [k, value] of values.entries())
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++)
        sum[i * columns + j] = (sum[i * columns + j] as number) + value * (left[k * rows + i] as number) * (right[k * columns + j] as number);
  return sum;
}

/** Whatever made the device must not be collected while it lives; and operands in shared memory must not reach the queue as they are. */
async function garbage(gpu: Gpu): Promise<void> {
  setFlagsFromString("--expose_gc");
  const collect: () => void = runInNewContext("gc");
  const shared = new Float32Array(new SharedArrayBuffer(64));
  shared.set(noise(1, 16));
  const matrices = new DeviceMatrices(gpu);
  for (let round = 0; round < 10; round++) {
    collect();
    await new Promise((resume) => setImmediate(resume));
    const c = new Float32Array(new SharedArrayBuffer(64));
    await matrices.product({ rows: 4, columns: 4, depth: 4, a: shared, b: shared, c, transposeA: false, transposeB: false, accumulate: false });
    const a = { rows: 4, columns: 4, data: shared };
    near(c, plainSpace().product(a, a).data, 1e-6, "product");
  }
}

/** A device that goes away in the middle ends in an error, not in a result. */
async function lost(gpu: Gpu): Promise<void> {
  const matrices = new DeviceMatrices(gpu);
  gpu.device.destroy();
  const c = new Float32Array(16).fill(9);
  const product = { rows: 4, columns: 4, depth: 4, a: noise(1, 16), b: noise(2, 16), c, transposeA: false, transposeB: false, accumulate: false };
  await assert.rejects(matrices.product(product), { name: "GpuFailure" });
  assert.ok(c.every((value) => value === 9));
  await assert.rejects(pass(gpu, [{ kind: "store", x: input(0), dtype: "F32" }], "F32", [noise(1, SIZE)], 0, "F32"), { name: "GpuFailure" });
}

export const CASES: Readonly<Record<string, (gpu: Gpu) => Promise<void>>> = {
  "formulas of methods, bit by bit, in five types": formulas,
  "every code of every type, in and out": codes,
  "sums, norms, products, histograms and counts": statistics,
  "chunks from file to file": files,
  "bindings that are smaller than a tensor": (gpu) => files({ ...gpu, maxBytes: 48 * 2 ** 10 }),
  "matrix products with either factor transposed": products,
  "polar factors, of full rank and below": polar,
  "singular triplets, all and leading": triplets,
  "a spectrum divided into small parts": division,
  "garbage collection and shared memory": garbage,
  "a lost device": lost,
};

export async function runCase(name: string): Promise<void> {
  const gpu = await openGpu();
  try {
    await CASES[name]?.(gpu);
  } finally {
    gpu.close();
  }
}
