// MatrixSpace in the pool's shared memory, on all its threads.
import { throwIfCancelled } from "../../diagnostics.ts";
import { cut, gemm, gemmSymmetric, matrix as gemmView } from "../gemm.ts";
import type { GpuEngine } from "../gpu/engine.ts";
import type { ComputePool } from "../pool.ts";
import type { Blas } from "../providers/blas.ts";
import { lowerFactor } from "./lower-factor.ts";
import { type Matrix, type MatrixSpace, mirrorLower, type ProductOptions, type Reals } from "./matrix.ts";
import { sweepUntilOrthogonal, tournament } from "./one-sided-jacobi.ts";
import { solvePositive } from "./positive-solve.ts";
import { gram64, product64 } from "./strided.ts";
import { addWeightedRows, largestInRows } from "./weighted-rows.ts";

export interface PoolSpace extends MatrixSpace {
  /** Gives all memory back; matrices and scratch are gone. */
  close(): void;
}

/** Views stay valid while the memory grows: shared memory never moves. */
export function poolSpace(pool: ComputePool, signal?: AbortSignal): PoolSpace {
  const blocks = new Map<ArrayBufferView, number>();
  const place = (bytes: number): number => pool.arena.alloc(Math.max(8, bytes));
  const addressOf = (data: Reals): number => data.byteOffset;
  const zeros = (rows: number, columns: number): Matrix => {
    const address = place(rows * columns * 4);
    const data = new Float32Array(pool.memory.buffer, address, rows * columns).fill(0);
    blocks.set(data, address);
    return { rows, columns, data };
  };
  const release = (data: ArrayBufferView): void => {
    const address = blocks.get(data);
    if (address !== undefined) pool.arena.free(address);
    blocks.delete(data);
  };
  const pause = turns(signal);
  return {
    zeros,
    free: (...matrices) => {
      for (const { data } of matrices) release(data);
    },
    product: (a, b, options = {}) => multiply(pool, a, b, options, zeros),
    gram: (a, into = zeros(a.rows, a.rows)) => {
      const { rows, columns: depth, data } = a;
      const product = { rows, columns: rows, depth, a: data, transposeA: false, b: data, transposeB: true, c: into.data, accumulate: false };
      if (pool.gpu?.product(product)) return into;
      const address = data.byteOffset;
      if (pool.blas !== undefined) pool.blas.ssyrk(rows, depth, data, into.data);
      else gemmSymmetric(pool, { rows, depth, a: gemmView(address, rows, depth), b: gemmView(address, rows, depth, true), c: into.data.byteOffset });
      mirrorLower(into);
      return into;
    },
    symmetricProduct: (a, b, into = zeros(a.rows, a.rows)) => {
      const { rows } = a;
      if (pool.gpu !== undefined || pool.blas !== undefined) multiply(pool, a, b, { into }, zeros);
      else
        gemmSymmetric(pool, {
          rows,
          depth: rows,
          a: gemmView(a.data.byteOffset, rows, rows),
          b: gemmView(b.data.byteOffset, rows, rows),
          c: into.data.byteOffset,
        });
      mirrorLower(into);
      return into;
    },
    doubles: (length) => {
      const address = place(length * 8);
      const data = new Float64Array(pool.memory.buffer, address, length);
      blocks.set(data, address);
      return data;
    },
    gramDoubles: (y, rows, columns, into) => (pool.blas === undefined ? gram64(pool, y, rows, columns, into) : pool.blas.dsyrk(rows, columns, y, into)),
    lowerFactor: (y, rows, columns) => lowerFactor(pool, y, rows, columns),
    productDoubles: (a, rows, depth, b, columns, into) => product64(pool, a, rows, depth, b, columns, into),
    addWeightedRows: (sums) => addWeightedRows(pool, sums),
    largestInRows: (a) => largestInRows(pool, a),
    solvePositive: async (s, size, b, columns) => {
      const steps = pool.blas?.lapack?.posv(size, columns, s, b) ?? solvePositive(pool, s, size, b, columns);
      try {
        for (;;) {
          const step = steps.next();
          if (step.done) return step.value;
          await pause();
        }
      } finally {
        // Gives its scratch memory back where it was cut short.
        steps.return(false);
      }
    },
    pause,
    ...decomposeBy(pool.blas, zeros),
    ...(pool.gpu === undefined ? {} : { polar: polarBy(pool.gpu, zeros, release) }),
    orthogonalizeRows: (work, rows, columns) => orthogonalize(pool, addressOf(work), rows, columns),
    close: () => {
      for (const data of [...blocks.keys()]) release(data);
    },
  };
}

function multiply(pool: ComputePool, a: Matrix, b: Matrix, options: ProductOptions, zeros: MatrixSpace["zeros"]): Matrix {
  const { transposeA = false, transposeB = false, accumulate = false } = options;
  const [rows, depth] = transposeA ? [a.columns, a.rows] : [a.rows, a.columns];
  const [inner, columns] = transposeB ? [b.columns, b.rows] : [b.rows, b.columns];
  if (depth !== inner) throw new RangeError(`cannot multiply ${rows} x ${depth} by ${inner} x ${columns}`);
  const into = options.into ?? zeros(rows, columns);
  const product = { rows, columns, depth, a: a.data, transposeA, b: b.data, transposeB, c: into.data, accumulate };
  if (pool.gpu?.product(product)) return into;
  if (pool.blas !== undefined && rows * columns * depth > 0) {
    pool.blas.sgemm(product);
    return into;
  }
  gemm(pool, {
    ...{ rows, columns, depth, accumulate },
    a: gemmView(a.data.byteOffset, a.rows, a.columns, transposeA),
    b: gemmView(b.data.byteOffset, b.rows, b.columns, transposeB),
    c: gemmView(into.data.byteOffset, rows, columns),
  });
  return into;
}

function polarBy(gpu: GpuEngine, zeros: MatrixSpace["zeros"], release: (data: Float32Array) => void): MatrixSpace["polar"] {
  return ({ rows, columns, data }, norm) => {
    const into = zeros(rows, columns);
    if (gpu.polar(rows, columns, data, norm, into.data)) return into;
    release(into.data);
    return undefined;
  };
}

/** Whole decompositions by LAPACK, where there is one. */
function decomposeBy(blas: Blas | undefined, zeros: MatrixSpace["zeros"]): Pick<MatrixSpace, "decompose"> {
  const lapack = blas?.lapack;
  if (lapack === undefined) return {};
  return {
    decompose: ({ rows, columns, data }) => {
      const found = lapack.dgesdd(rows, columns, Float64Array.from(data));
      if (found === undefined) return undefined;
      const { u, values, vt } = found;
      const [left, right] = [zeros(values.length, rows), zeros(values.length, columns)];
      right.data.set(vt);
      for (let i = 0; i < rows; i++) for (let k = 0; k < values.length; k++) left.data[k * rows + i] = u[i * values.length + k] as number;
      return { left, values, right };
    },
  };
}

/** So often others get their turn while matrices are computed with, among them whoever cancels. */
const TURN_MS = 100;

function turns(signal: AbortSignal | undefined): MatrixSpace["pause"] {
  let last = performance.now();
  return async () => {
    if (performance.now() - last < TURN_MS) return;
    await new Promise((resume) => setImmediate(resume));
    last = performance.now();
    throwIfCancelled(signal);
  };
}

/** Below this many elements a round is over before another thread would wake. */
const MIN_SHARED = 1 << 18;

function orthogonalize(pool: ComputePool, work: number, rows: number, columns: number): number {
  const rounds = tournament(rows);
  const parts = rows * columns < MIN_SHARED ? 1 : pool.threads;
  // On one thread a whole sweep is one call: the order of the pairs is the same.
  const calls = parts === 1 ? [rounds.flat()] : rounds;
  const list = pool.arena.alloc(Math.max(1, rows * rows) * 4);
  const results = pool.arena.alloc(parts * RESULT_BYTES);
  try {
    new Uint32Array(pool.memory.buffer, list, rows * (rows - 1)).set(rounds.flat(2));
    return sweepUntilOrthogonal(calls, (pairs, first) => {
      const ranges = cut(pairs.length, parts, 1);
      pool.runSync(
        "jacobiRotate",
        ranges.map(([from, to], i) => [work, columns, list, first + from, first + to, results + i * RESULT_BYTES]),
      );
      const worst = new Float64Array(pool.memory.buffer, results, (ranges.length * RESULT_BYTES) / 8);
      return ranges.reduce((largest, _, i) => Math.max(largest, worst[(i * RESULT_BYTES) / 8] as number), 0);
    });
  } finally {
    pool.arena.free(list);
    pool.arena.free(results);
  }
}

/** A cache line for each thread's result. */
const RESULT_BYTES = 64;
