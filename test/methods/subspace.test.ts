// Conflict-aware and subspace methods: worked examples, golden results of the authors' formulas, laws, and tensors they cannot take.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createPool } from "../../merge-core/compute/pool.ts";
import { encodeOutput } from "../../merge-core/compute/reference.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { shares } from "../../merge-core/methods/iso-cts.ts";
import { findMethod } from "../../merge-core/methods/registry.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { randomWeights } from "../helpers/floats.ts";
import { type ArrayModel, arrayTask, mergeArrays } from "../helpers/merge-arrays.ts";

const MATRIX_METHODS = ["iso_c", "iso_cts", "tsv_m", "knots", "wudi"];
const ALL = [...MATRIX_METHODS, "pcb", "cabs"];

const largest = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] ?? Number.NaN))), 0);
const near = (a: ArrayLike<number>, b: ArrayLike<number>, tolerance: number, what = "") => {
  assert.equal(a.length, b.length);
  assert.ok(largest(a, b) <= tolerance, `${what} differs by ${largest(a, b)}: ${Array.from(a).slice(0, 8)} and ${Array.from(b).slice(0, 8)}`);
};

interface Given {
  readonly shape?: readonly number[];
  readonly parameters?: Record<string, number>;
  readonly model?: Record<string, number>;
  readonly warnings?: Omit<Diagnostic, "severity">[];
  readonly inputsAlongRows?: boolean;
}

/** Merges differences from a base of zeros. */
function merge(id: string, differences: readonly ArrayLike<number>[], { shape, parameters, model, warnings, inputsAlongRows = false }: Given = {}) {
  const size = differences[0]?.length ?? 0;
  const models: ArrayModel[] = [
    { values: new Float32Array(size), isBase: true },
    ...differences.map((values) => ({ values: Float32Array.from(values), ...(model === undefined ? {} : { parameters: { ...modelDefaults(id), ...model } }) })),
  ];
  return mergeArrays(id, models, { ...(shape === undefined ? {} : { shape }), ...(parameters === undefined ? {} : { parameters }), inputsAlongRows }, warnings);
}

const modelDefaults = (id: string) =>
  Object.fromEntries(findMethod(id)?.parameters.flatMap((p) => (p.scope === "model" && p.default !== undefined ? [[p.name, p.default]] : [])) ?? []);

const T1 = [0.5, -0.4, 0.1, -0.05, 0.3, -0.2, 0.02, 0];
const T2 = [-0.3, -0.6, 0.2, 0.04, 0.1, 0.25, -0.01, 0.07];

describe("worked examples", () => {
  it("of pcb, in its three variants", async () => {
    const fifth = [0.292524, 0.287613, 0.289188];
    for (const [i, expected] of fifth.entries()) {
      const merged = await merge("pcb", [T1, T2], { parameters: { ratio: 0.5, quantile: 0, variant: i + 1 }, model: { weight: 1 } });
      near(merged, [0.5, -0.5, 0.2, 0, expected, 0, 0, 0], 2e-6, `variant ${i + 1}`);
    }
  });

  it("of cabs: the second model takes what the first left", async () => {
    near(await merge("cabs", [T1, T2], { parameters: { n: 2, m: 4 } }), [0.5, -0.4, 0.2, 0.04, 0.3, -0.2, -0.01, 0.07], 1e-7);
  });

  it("of cabs where models must overlap, and of a short last block", async () => {
    // 3 of 4: the second takes the one element that is free and its two largest of the others.
    const merged = await merge(
      "cabs",
      [
        [4, 3, 2, 1],
        [10, 30, 20, 40],
      ],
      { parameters: { n: 3, m: 4 } },
    );
    assert.deepEqual([...merged], [4, 33, 22, 40]);
    // 1 of 4, and of a last block of two one, rounded up.
    assert.deepEqual([...(await merge("cabs", [[1, 2, 3, 4, 6, 5]], { parameters: { n: 1, m: 4 } }))], [0, 0, 0, 4, 6, 0]);
  });

  it("of iso_c", async () => {
    near(
      await merge(
        "iso_c",
        [
          [3, 0, 0, 1],
          [0, 1, 1, 0],
        ],
        { shape: [2, 2] },
      ),
      [2, 0, 0, 2],
      1e-5,
    );
  });

  it("of tsv_m", async () => {
    near(
      await merge(
        "tsv_m",
        [
          [3, 0, 0, 1],
          [1, 1, 1, 1],
        ],
        { shape: [2, 2] },
      ),
      [2.853553, -0.353553, -0.353553, 2.146447],
      1e-5,
    );
  });

  it("of the shares of iso_cts, rounded as the authors' code does", () => {
    assert.deepEqual(shares(768, 8, 0.8), { common: 616, own: 19 });
    assert.deepEqual(shares(10, 4, 0.8), { common: 10, own: 0 });
    assert.deepEqual(shares(4, 8, 0), { common: 4, own: 0 });
    assert.deepEqual(shares(100, 3, 1), { common: 100, own: 0 });
  });
});

interface GoldenCase {
  readonly name: string;
  readonly shape: readonly number[];
  readonly differences: readonly (readonly number[])[];
  readonly results: readonly { method: string; parameters: Record<string, number>; model?: Record<string, number>; merged: readonly number[] }[];
}
const golden = JSON.parse(readFileSync("test/fixtures/oracles/subspace/golden.json", "utf8")).cases as readonly GoldenCase[];

describe("golden results by the authors' formulas in float64", () => {
  for (const { name, shape, differences, results } of golden)
    for (const { method, parameters, model, merged } of results)
      it(`${method} ${JSON.stringify(parameters)}, ${name}`, async () => {
        const size = largest(merged, new Float32Array(merged.length));
        near(await merge(method, differences, { shape, parameters, ...(model === undefined ? {} : { model }) }), merged, 3e-5 * size);
      });

  it("come out the same on the pool, with any number of threads", async () => {
    const { shape, differences, results } = golden[1] as GoldenCase;
    for (const threads of [1, 2]) {
      const pool = createPool({ threads });
      for (const { method, parameters, model, merged } of results) {
        const values = [new Float32Array(merged.length), ...differences.map((d) => Float32Array.from(d))];
        const task = arrayTask(
          method,
          values.map((v, i) => ({ values: v, isBase: i === 0, ...(i > 0 && model ? { parameters: { ...modelDefaults(method), ...model } } : {}) })),
          { shape, parameters },
        );
        const inputs = values.map((v) => ({ dtype: "F32" as const, bytes: encodeOutput("F32", v) }));
        const engine = openTensorEngine(pool, { name: "x", shape, seed: 0, inputs, output: { dtype: "F32" }, memoryBytes: 2 ** 24 });
        const { bytes } = await engine.write(await (findMethod(method) as NonNullable<ReturnType<typeof findMethod>>).merge(task, engine));
        engine.close();
        const found = new Float32Array((bytes as Uint8Array).slice().buffer);
        near(found, merged, 3e-5 * largest(merged, new Float32Array(merged.length)), `${method} on ${threads} threads`);
      }
      assert.equal(pool.arena.usedBytes, 0);
      await pool.close();
    }
  });
});

describe("laws of subspace methods", () => {
  const SHAPE = [9, 14];
  const [A, B, C] = [1, 2, 3].map((seed) => randomWeights(126, seed)) as [Float32Array, Float32Array, Float32Array];

  it("knots without trimming and election is task arithmetic", async () => {
    const merged = await merge("knots", [A, B, C], { shape: SHAPE, parameters: { elect: 0, alpha: 1 }, model: { density: 1 } });
    near(
      merged,
      A.map((x, i) => x + (B[i] ?? 0) + (C[i] ?? 0)),
      1e-5,
    );
  });

  it("take weights with a row per input as their transposes, which knots, iso_cts and wudi tell from others", async () => {
    const turn = (x: ArrayLike<number>, columns: number) =>
      Float32Array.from({ length: x.length }, (_, at) => x[(at % (x.length / columns)) * columns + Math.floor((at * columns) / x.length)] as number);
    const turned = [A, B, C].map((x) => turn(x, 14));
    for (const [id, given] of [
      ["knots", { model: { density: 0.4 } }],
      ["iso_cts", { parameters: { common: 0.5 } }],
      ["wudi", { parameters: { iterations: 30, learning_rate: 0.01 } }],
      ["iso_c", {}],
      ["tsv_m", {}],
    ] as const) {
      const plain = await merge(id, [A, B, C], { shape: SHAPE, ...given });
      near(turn(await merge(id, turned, { shape: [14, 9], inputsAlongRows: true, ...given }), 9), plain, 1e-6, id);
      const otherwise = turn(await merge(id, turned, { shape: [14, 9], ...given }), 9);
      const sided = id !== "iso_c" && id !== "tsv_m";
      assert.equal(
        otherwise.some((x, i) => Math.abs(x - (plain[i] ?? 0)) > 1e-3),
        sided,
        id,
      );
    }
  });

  it("iso_cts with all directions common is iso_c", async () => {
    near(await merge("iso_cts", [A, B, C], { shape: SHAPE, parameters: { common: 1 } }), await merge("iso_c", [A, B, C], { shape: SHAPE }), 2e-5);
  });

  it("one model alone is kept by tsv_m, wudi, knots at density 1 and cabs at n = m", async () => {
    near(await merge("tsv_m", [A], { shape: SHAPE }), A, 2e-5);
    near(await merge("wudi", [A], { shape: SHAPE }), A, 1e-5);
    near(await merge("knots", [A], { shape: SHAPE, parameters: { alpha: 1 }, model: { density: 1 } }), A, 1e-5);
    near(await merge("cabs", [A], { shape: SHAPE, parameters: { n: 8, m: 8 } }), A, 0);
  });

  it("the order of models matters to cabs alone", async () => {
    for (const id of ALL) {
      const [there, back] = [await merge(id, [A, B, C], { shape: SHAPE }), await merge(id, [C, B, A], { shape: SHAPE })];
      assert.equal(largest(there, back) < 1e-4, id !== "cabs", `${id}: ${largest(there, back)}`);
    }
  });

  it("zeros around a matrix change nothing in it", async () => {
    const pad = (x: Float32Array) =>
      Float32Array.from({ length: 11 * 16 }, (_, i) => (Math.floor(i / 16) < 9 && i % 16 < 14 ? (x[Math.floor(i / 16) * 14 + (i % 16)] ?? 0) : 0));
    for (const id of ["iso_c", "wudi"]) {
      const [plain, padded] = [await merge(id, [A, B], { shape: SHAPE }), await merge(id, [pad(A), pad(B)], { shape: [11, 16] })];
      near(padded, pad(plain), 3e-5, id);
    }
  });

  it("alpha 0 and equal models give the base", async () => {
    for (const id of MATRIX_METHODS) assert.equal(largest(await merge(id, [A, B], { shape: SHAPE, parameters: { alpha: 0 } }), new Float32Array(126)), 0, id);
    for (const id of ALL)
      assert.equal(largest(await merge(id, [new Float32Array(126), new Float32Array(126)], { shape: SHAPE }), new Float32Array(126)), 0, id);
  });

  it("pcb keeps exactly its share of one model, the largest, at weight 1", async () => {
    const merged = await merge("pcb", [A], { parameters: { ratio: 0.25, quantile: 0 }, model: { weight: 1 } });
    const kept = [...merged.keys()].filter((i) => merged[i] !== 0);
    // Of 32 elements the last scores 0 in the scale from 0 to 1.
    assert.equal(kept.length, 31);
    const order = [...A.keys()].sort((i, j) => Math.abs(A[j] ?? 0) - Math.abs(A[i] ?? 0)).slice(0, 31);
    assert.deepEqual(
      kept,
      order.sort((i, j) => i - j),
    );
  });

  it("pcb leaves out what the models contradict", async () => {
    const merged = await merge("pcb", [A, A.map((x, i) => (i < 63 ? x : -x))], { parameters: { ratio: 1, quantile: 0 }, model: { weight: 1 } });
    assert.ok(merged.subarray(63).every((x) => Math.abs(x) < 1e-6));
  });
});

describe("tensors that subspace methods cannot take as matrices", () => {
  it("are averaged if they have one dimension", async () => {
    for (const id of MATRIX_METHODS) {
      const { alpha = 1 } = Object.fromEntries(findMethod(id)?.parameters.map((p) => [p.name, p.default]) ?? []) as { alpha?: number };
      near(
        await merge(id, [
          [1, 2],
          [3, 6],
        ]),
        [2 * alpha, 4 * alpha],
        1e-6,
        id,
      );
    }
  });

  it("are averaged with a warning if they hold NaN", async () => {
    for (const id of MATRIX_METHODS) {
      const warnings: Omit<Diagnostic, "severity">[] = [];
      const merged = await merge(
        id,
        [
          [1, 2, 3, Number.NaN],
          [3, 4, 5, 6],
        ],
        { shape: [2, 2], warnings, parameters: { alpha: 1 } },
      );
      assert.deepEqual([...merged], [2, 3, 4, Number.NaN], id);
      assert.deepEqual(
        warnings.map(({ code }) => code),
        ["matrix-not-finite"],
        id,
      );
    }
  });

  it("are told of if they have lower rank", async () => {
    for (const id of MATRIX_METHODS.filter((method) => method !== "wudi")) {
      const warnings: Omit<Diagnostic, "severity">[] = [];
      const parameters = { alpha: 1, ...(id === "knots" && { elect: 0 }) };
      near(await merge(id, [[2, 4, 1, 2]], { shape: [2, 2], model: id === "knots" ? { density: 1 } : {}, warnings, parameters }), [2, 4, 1, 2], 1e-5, id);
      assert.deepEqual(
        warnings.map(({ code, found }) => [code, found]),
        [["rank-deficient", "1 of 2"]],
        id,
      );
    }
  });

  it("are the base's if no model has changed them, and a model that has not is told", async () => {
    const zeros = [0, 0, 0, 0];
    for (const id of MATRIX_METHODS) {
      const warnings: Omit<Diagnostic, "severity">[] = [];
      assert.deepEqual([...(await merge(id, [zeros, zeros], { shape: [2, 2], warnings }))], zeros, id);
      assert.deepEqual(
        warnings.map(({ code, found }) => [code, found]),
        [["difference-zero", "2 differences of zeros"]],
        id,
      );
      warnings.length = 0;
      const merged = await merge(id, [[2, 0, 0, 1], zeros], { shape: [2, 2], warnings });
      assert.ok(merged.every(Number.isFinite) && merged.some((value) => value !== 0), id);
      assert.deepEqual(
        warnings.filter(({ code }) => code === "difference-zero").map(({ found }) => found),
        ["model 2"],
        id,
      );
    }
  });

  it("are told of by pcb if they have nothing to be scored by", async () => {
    const told = async (...differences: readonly number[][]) => {
      const warnings: Omit<Diagnostic, "severity">[] = [];
      await merge("pcb", differences, { parameters: { ratio: 0.5, quantile: 0.2 }, warnings });
      return warnings.map(({ code, found }) => [code, found]);
    };
    const flat = T1.map((_, i) => (i % 2 === 0 ? 0.5 : -0.5));
    assert.deepEqual(await told(T1, T2), []);
    assert.deepEqual(await told(T1, [0, 0, 0, 0, 0, 0, 0, 9]), [["difference-zero", "model 2"]]);
    assert.deepEqual(await told(flat, T2), [["magnitudes-alike", "model 1"]]);
  });

  it("are refused while planning if cabs keeps more than a block has", () => {
    const { warn: _, ...task } = arrayTask("cabs", [{ values: [0], isBase: true }, { values: [1] }], { parameters: { n: 5, m: 4 } });
    assert.equal(findMethod("cabs")?.check?.(task)?.code, "parameter-range");
  });
});

describe("memory of subspace methods", () => {
  for (const shape of [
    [120, 400],
    [400, 120],
    [300, 300],
  ])
    it(`stays within what the plan states, ${shape.join(" x ")}`, async () => {
      const size = shape.reduce((a, b) => a * b, 1);
      const values = [0, 1, 2, 3].map((seed) => (seed === 0 ? new Float32Array(size) : randomWeights(size, seed)));
      const inputs = values.map((v) => ({ dtype: "F32" as const, bytes: encodeOutput("F32", v) }));
      for (const id of MATRIX_METHODS) {
        const pool = createPool({ threads: 1 });
        const task = arrayTask(
          id,
          values.map((v, i) => ({ values: v, isBase: i === 0 })),
          { shape, parameters: { iterations: 2 } },
        );
        const memoryBytes = 1 << 20;
        const engine = openTensorEngine(pool, { name: "x", shape, seed: 0, inputs, output: { dtype: "F32" }, memoryBytes, tileBytes: 16384 });
        let peak = 0;
        const { arena } = pool;
        const alloc = arena.alloc.bind(arena);
        arena.alloc = (bytes) => {
          const address = alloc(bytes);
          peak = Math.max(peak, arena.usedBytes);
          return address;
        };
        const method = findMethod(id);
        await engine.write((await method?.merge(task, engine)) as Awaited<ReturnType<NonNullable<typeof method>["merge"]>>);
        const stated = method?.workingBytes?.(shape, 3, task.parameters) ?? 0;
        // The result, a copy outside the pool, is counted too.
        assert.ok(peak + 4 * size <= stated + memoryBytes, `${id} took ${peak + 4 * size} bytes, stated ${stated} and ${memoryBytes}`);
        assert.ok(stated <= 4 * (peak + 4 * size), `${id} states ${stated} bytes but took ${peak + 4 * size}`);
        engine.close();
        await pool.close();
      }
    });
});

describe("large matrices", () => {
  const side = 1100;
  for (const id of ["wudi", "tsv_m", "knots"])
    it(`are given up by ${id} soon after the signal`, async () => {
      const values = [0, 1, 2].map((seed) => new Float32Array(side * side).map((_, i) => Math.sin(seed * i)));
      const stop = new AbortController();
      let at = Number.NaN;
      setTimeout(() => {
        at = performance.now();
        stop.abort();
      }, 600);
      const pool = createPool({ threads: 2 });
      const inputs = values.map((one) => ({ dtype: "F32" as const, bytes: encodeOutput("F32", one) }));
      const given = { name: "w", shape: [side, side], seed: 0, inputs, output: { dtype: "F32" as const }, memoryBytes: 2 ** 28, signal: stop.signal };
      const engine = openTensorEngine(pool, given);
      const models = values.map((_, i) => ({ values: [], isBase: i === 0 }));
      await rejectsWith("cancelled", () => findMethod(id)?.merge(arrayTask(id, models, { shape: [side, side] }), engine));
      assert.ok(performance.now() - at < 1000);
      engine.close();
      assert.equal(pool.arena.usedBytes, 0);
      await pool.close();
    });
});
