import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as e from "../../merge-core/compute/expr.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { createReferenceEngine, encodeOutput, keyToValue, magnitudeKeys, selectLargest } from "../../merge-core/compute/reference.ts";
import { type OpenTensor, openTensorEngine, type TensorTask } from "../../merge-core/compute/tensor-engine.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { randomWeights, randomWords } from "../helpers/floats.ts";

const sum3 = e.linear([0, 1, 2].map((i) => ({ weight: 0.2 + i / 10, x: e.input(i) })));

/** TIES of two models and a base (Yadav et al., 2023), as the reference merger orders its operations. */
async function ties(engine: Pick<OpenTensor, "selectLargest" | "size">): Promise<e.Expr> {
  const base = e.input(0);
  const deltas = [1, 2].map((i) => e.sub(e.input(i), base));
  const kept = await engine.selectLargest(deltas.map((x) => ({ x, keep: Math.floor(engine.size / 2) })));
  const trimmed = deltas.map((x, i) => e.scale(e.trim(x, kept[i] as e.MagnitudeSelection), 0.6 - 0.2 * i));
  const zero = e.constant(0);
  const positive = e.compare("ge", e.linear(trimmed.map((x) => ({ weight: 1, x }))), zero);
  const agree = trimmed.map((x) => e.select(positive, e.compare("gt", x, zero), e.compare("lt", x, zero)));
  const total = e.linear(trimmed.map((x, i) => ({ weight: 1, x: e.mul(x, agree[i] as e.Expr) })));
  const divisor = e.linear(agree.map((x, i) => ({ weight: 0.6 - 0.2 * i, x })));
  return e.add(base, e.div(total, e.select(divisor, divisor, e.constant(1))));
}

/** As if every file came from a slow device, with room for all inputs in memory and without. */
const SLOW_DEVICE = { tileBytes: 1, deviceBytesPerMs: Number.POSITIVE_INFINITY };
const READING_AHEAD = [SLOW_DEVICE, { ...SLOW_DEVICE, memoryBytes: 500_000 }];

describe("the tensor engine", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "weightsmith-engine-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const size = 40_961;
  const inputs = [0, 1, 2].map((i) => encodeOutput("BF16", randomWeights(size, i + 1)));

  function fileTask(): TensorTask & { output: { file: string } } {
    const places = inputs.map((bytes, i) => {
      const file = join(folder, `in${i}`);
      writeFileSync(file, Buffer.concat([Buffer.alloc(13 * i), bytes]));
      return { dtype: "BF16" as const, file, offset: 13 * i };
    });
    const output = { dtype: "BF16" as const, file: join(folder, "out"), offset: 7 };
    return { name: "w", shape: [size], seed: 5, inputs: places, output, memoryBytes: 1 << 24, tileBytes: 8192 };
  }

  it("writes the same bytes for any number of threads, tile size and memory budget, with files at odd offsets", async () => {
    const reference = createReferenceEngine({ name: "w", shape: [size], seed: 5, inputs: inputs.map((bytes) => widenToFloat32("BF16", bytes)) });
    const masked = e.mul(await ties(reference), e.bernoulli(e.constant(0.9), { model: 1, purpose: 0 }));
    const expected = encodeOutput("BF16", reference.write(masked));
    for (const threads of [1, 2, 3]) {
      const pool = createPool({ threads });
      for (const variant of [{}, { tileBytes: 1 }, { tileBytes: 1 << 20 }, { memoryBytes: 150_000 * threads }, ...READING_AHEAD]) {
        const task = { ...fileTask(), ...variant };
        const engine = openTensorEngine(pool, task);
        const expr = e.mul(await ties(engine), e.bernoulli(e.constant(0.9), { model: 1, purpose: 0 }));
        assert.deepEqual(await engine.write(expr), { nonFinite: 0 });
        engine.close();
        assert.deepEqual(readFileSync(task.output.file).subarray(7), Buffer.from(expected), `${threads} threads, ${JSON.stringify(variant)}`);
        rmSync(task.output.file);
      }
      assert.equal(pool.arena.usedBytes, 0, "all memory is returned");
      await pool.close();
    }
  });

  it("reads each input once when they fit in memory, each pass when they do not", async () => {
    for (const [memoryBytes, passes] of [
      [1 << 24, 1],
      [150_000, 4],
    ] as const) {
      let bytes = 0;
      const onBytes = (count: number): void => {
        bytes += count;
      };
      const pool = createPool({ threads: 1 });
      const engine = openTensorEngine(pool, { ...fileTask(), memoryBytes, onBytes });
      const { length } = await engine.reduce([{ op: "sum", x: sum3 }]);
      await engine.reduce([
        { op: "sum", x: sum3 },
        { op: "maxAbs", x: sum3 },
      ]);
      await engine.reduce([{ op: "dot", x: e.input(0), y: e.input(2) }]);
      await engine.write(sum3);
      assert.equal(length, 1);
      assert.equal(bytes, size * 2 * (memoryBytes === 1 << 24 ? 3 + 1 : 3 * (passes - 1) + 2 + 1));
      engine.close();
      await pool.close();
    }
  });

  it("stays inside its memory budget", async () => {
    const pool = createPool({ threads: 2 });
    const budget = 400_000;
    const engine = openTensorEngine(pool, { ...fileTask(), memoryBytes: budget, tileBytes: 1 << 20 });
    await engine.write(sum3);
    assert.ok(pool.memory.buffer.byteLength <= budget + 17 * 1024 * 1024, "one growth step at most");
    engine.close();
    assert.throws(() => openTensorEngine(pool, { ...fileTask(), memoryBytes: 10_000 }), { code: "memory-budget" });
    await pool.close();
  });

  it("gives values of a range, and bytes when there is no output file", async () => {
    const pool = createPool({ threads: 2 });
    const places = inputs.map((bytes) => ({ dtype: "BF16" as const, bytes }));
    const engine = openTensorEngine(pool, {
      name: "w",
      shape: [size],
      seed: 5,
      inputs: places,
      output: { dtype: "F16" },
      memoryBytes: 1 << 22,
      tileBytes: 1 << 14,
    });
    const reference = createReferenceEngine({ name: "w", shape: [size], seed: 5, inputs: inputs.map((bytes) => widenToFloat32("BF16", bytes)) });
    const values = reference.write(sum3);
    assert.deepEqual(await engine.values(sum3), values);
    assert.deepEqual(await engine.values(sum3, 5000, 30_001), values.slice(5000, 30_001));
    assert.deepEqual(Buffer.from((await engine.write(sum3)).bytes ?? []), Buffer.from(encodeOutput("F16", values)));
    engine.close();
    await pool.close();
  });

  it("handles a tensor without elements and a scalar", async () => {
    const pool = createPool({ threads: 2 });
    for (const [shape, bytes] of [
      [[0, 4], new Uint8Array(0)],
      [[], Uint8Array.of(0x80, 0x3f)],
    ] as const) {
      const engine = openTensorEngine(pool, { name: "w", shape, seed: 5, inputs: [{ dtype: "BF16", bytes }], output: { dtype: "BF16" }, memoryBytes: 1 << 22 });
      assert.deepEqual(await engine.reduce([{ op: "sum", x: e.input(0) }]), [bytes.length / 2]);
      assert.deepEqual((await engine.write(e.scale(e.input(0), 1))).bytes?.slice(), bytes.slice());
      engine.close();
    }
    await pool.close();
  });

  it("names the file that is missing, short or full, in workers as on the calling thread", async () => {
    for (const threads of [1, 2]) {
      const pool = createPool({ threads });
      const task = fileTask();
      const missing = { ...task, inputs: [{ dtype: "BF16" as const, file: join(folder, "none") }] };
      assert.throws(() => openTensorEngine(pool, missing), { code: "file-open", message: /none/ });

      for (const variant of [{}, ...READING_AHEAD]) {
        const engine = openTensorEngine(pool, { ...fileTask(), ...variant });
        truncateSync(join(folder, "in1"), 30_000);
        await assert.rejects(engine.write(sum3), { code: "read-short", message: /in1.*30000/ });
        await assert.rejects(engine.load(), { code: "read-short", message: /in1.*30000/ });
        engine.close();
      }

      const full = openTensorEngine(pool, { ...fileTask(), output: { dtype: "BF16", file: "/dev/full" } });
      await assert.rejects(full.write(sum3), { code: "file-write", exitCode: 1, message: /\/dev\/full.*ENOSPC/ });
      full.close();
      assert.equal(pool.arena.usedBytes, 0);
      await pool.close();
    }
  });

  it("loads files once and whole, where memory has room for all", async () => {
    const pool = createPool({ threads: 2 });
    for (const [memoryBytes, isLoaded] of [
      [1 << 24, true],
      [300_000, false],
    ] as const) {
      let bytes = 0;
      const onBytes = (count: number): void => {
        bytes += count;
      };
      const task = fileTask();
      const engine = openTensorEngine(pool, { ...task, memoryBytes, onBytes });
      await engine.load();
      assert.equal(bytes, isLoaded ? 3 * 2 * size : 0);
      // What is in memory is not read again.
      if (isLoaded) for (const { file } of task.inputs) truncateSync(file as string, 0);
      const values = await engine.values(sum3);
      assert.deepEqual(values, createReferenceEngine({ name: "w", shape: [size], seed: 5, inputs: inputs.map((x) => widenToFloat32("BF16", x)) }).write(sum3));
      engine.close();
      assert.equal(pool.arena.usedBytes, 0);
    }
    await pool.close();
  });

  it("stops when cancelled", async () => {
    for (const [threads, variant] of [1, 2].flatMap((n) => [{}, SLOW_DEVICE].map((variant) => [n, variant] as const))) {
      const pool = createPool({ threads });
      const abort = new AbortController();
      const engine = openTensorEngine(pool, { ...fileTask(), tileBytes: 1, ...variant, signal: abort.signal });
      const write = engine.write(await ties(engine));
      abort.abort();
      await assert.rejects(write, { code: "cancelled", exitCode: 130 });
      await assert.rejects(engine.load(), { code: "cancelled", exitCode: 130 });
      engine.close();
      assert.equal(pool.arena.usedBytes, 0);
      assert.throws(() => openTensorEngine(pool, { ...fileTask(), signal: abort.signal }), { code: "cancelled" });
      await pool.close();
    }
  });

  it("reports a worker that dies instead of waiting for it", async () => {
    const program = join(folder, "dead.mjs");
    writeFileSync(program, `import { parentPort } from "node:worker_threads"; parentPort.on("message", () => process.exit(3));`);
    const pool = createPool({ threads: 2, workerUrl: pathToFileURL(program) });
    const engine = openTensorEngine(pool, fileTask());
    await assert.rejects(engine.write(sum3), /exit code 3/);
    writeFileSync(program, "throw new Error('broken');");
    await assert.rejects(engine.write(sum3), (error: Error) => /crashed/.test(error.message) && /broken/.test(String(error.cause)));
    engine.close();
    await pool.close();
  });

  it("rejects work in progress when the pool closes", async () => {
    const pool = createPool({ threads: 2 });
    const engine = openTensorEngine(pool, { ...fileTask(), tileBytes: 1 });
    const write = engine.write(sum3);
    const rejected = assert.rejects(write, /exit code/);
    await pool.close();
    await rejected;
  });

  it("reads a file that replaced another of its name", async () => {
    const pool = createPool({ threads: 1 });
    const file = join(folder, "same");
    const read = async (value: number): Promise<number[]> => {
      rmSync(file, { force: true });
      writeFileSync(file, new Uint8Array(Float32Array.of(value).buffer));
      const engine = openTensorEngine(pool, {
        name: "w",
        shape: [1],
        seed: 0,
        inputs: [{ dtype: "F32", file }],
        output: { dtype: "F32" },
        memoryBytes: 1 << 20,
      });
      const sums = await engine.reduce([{ op: "sum", x: e.input(0) }]);
      engine.close();
      return sums;
    };
    assert.deepEqual([await read(1), await read(2)], [[1], [2]]);
    await pool.close();
  });
});

describe("selection by magnitude", () => {
  // Few elements are looked at one by one, many are counted in histograms.
  const few = 30_001;
  const size = 70_001;
  const words = randomWords(size, 4);
  const cases: Record<string, Float32Array> = {
    weights: randomWeights(size, 3),
    "bf16 differences, full of ties": Float32Array.from(words, (w) => ((w % 61) - 30) / 256),
    "all equal": new Float32Array(size).fill(-0.25),
    "all zero, of both signs": Float32Array.from(words, (w) => (w & 1 ? 0 : -0)),
    "infinities and NaN": Float32Array.from(words, (w, i) => (i % 5 === 0 ? Number.NaN : i % 5 === 1 ? Number.NEGATIVE_INFINITY : w / 2 ** 32)),
    subnormal: Float32Array.from(words, (w) => (w % 1000) * 2 ** -149),
  };

  const both = Object.entries(cases).flatMap(([name, values]) => [
    { name, values },
    { name: `${name}; few elements`, values: values.slice(0, few) },
  ]);
  for (const { name, values } of both) {
    it(`agrees with sorting: ${name}`, async () => {
      const size = values.length;
      const keeps = size === few ? [0, 1, 2, size >> 2, size >> 1, size - 1, size] : [1, size >> 1, size - 1];
      const expected = keeps.map((keep) => selectLargest(values, keep));
      for (const threads of [1, 2]) {
        const pool = createPool({ threads });
        const places = [{ dtype: "F32" as const, bytes: new Uint8Array(values.buffer) }];
        const engine = openTensorEngine(pool, {
          name: "w",
          shape: [size],
          seed: 0,
          inputs: places,
          output: { dtype: "F32" },
          memoryBytes: 1 << 22,
          tileBytes: 1 << 14,
        });
        const found = await engine.selectLargest(keeps.map((keep) => ({ x: e.input(0), keep })));
        assert.deepEqual(found, expected);
        for (const [i, keep] of keeps.entries()) {
          const kept = await engine.values(e.trim(e.input(0), found[i] as e.MagnitudeSelection));
          const count = kept.filter((x) => x !== 0).length;
          assert.equal(count, name.startsWith("all zero") ? 0 : values.filter((x) => x === 0).length === 0 || count < keep ? count : keep);
          if (name.startsWith("all equal")) assert.equal(count, keep);
        }
        engine.close();
        await pool.close();
      }
    });
  }

  it("agrees with sorting where a sample decides what is read, and where it misleads", async () => {
    const large = 2 ** 22 + 4099;
    const random = randomWords(large, 8);
    const make = (value: (word: number, i: number) => number): Float32Array => {
      const values = new Float32Array(large);
      for (let i = 0; i < large; i++) values[i] = value(random[i] as number, i);
      return values;
    };
    const tensors = {
      bell: make((w) => ((w & 0xffff) + (w >>> 16) - 65535) * 2 ** -24 * (1 + (w & 7) * 2 ** -20)),
      ties: make((w) => ((w % 13) - 6) / 512),
      // Samples are the first 16384 of every 262144 elements.
      misleading: make((w, i) => (i % 262144 < 16384 ? w * 2 ** -40 : 1 + w * 2 ** -32)),
    };
    const pool = createPool({ threads: 2 });
    for (const [name, values] of Object.entries(tensors)) {
      const places = [{ dtype: "F32" as const, bytes: new Uint8Array(values.buffer) }];
      let bytes = 0;
      const onBytes = (count: number): void => {
        bytes += count;
      };
      const engine = openTensorEngine(pool, { name, shape: [large], seed: 0, inputs: places, output: { dtype: "F32" }, memoryBytes: 1 << 25, onBytes });
      const keys = magnitudeKeys(values);
      const sorted = keys.slice().sort();
      for (const keep of [large >> 1, Math.round(large / 10), 3]) {
        bytes = 0;
        const [found] = await engine.selectLargest([{ x: e.input(0), keep }]);
        const key = sorted[large - keep] as number;
        let kept = keep - (large - 1 - sorted.lastIndexOf(key));
        const cut = sorted[large - keep - 1] === key;
        const last = keys.findIndex((k) => k === key && --kept === 0);
        assert.equal(found?.threshold, keyToValue(key), name);
        assert.equal(found?.tieLimit, cut ? last + 1 : Number.POSITIVE_INFINITY, name);
        if (name === "ties" && keep > 3) assert.ok(bytes < large * 4 + 4 * 4096 * 4, "one pass, and a look at the block of the last tie");
      }
      engine.close();
    }
    await pool.close();
  });

  it("refuses to keep more than there is", async () => {
    const pool = createPool({ threads: 1 });
    const engine = openTensorEngine(pool, {
      name: "w",
      shape: [2],
      seed: 0,
      inputs: [{ dtype: "F32", bytes: new Uint8Array(8) }],
      output: { dtype: "F32" },
      memoryBytes: 1 << 22,
    });
    await assert.rejects(engine.selectLargest([{ x: e.input(0), keep: 3 }]), RangeError);
    engine.close();
    await pool.close();
  });
});
