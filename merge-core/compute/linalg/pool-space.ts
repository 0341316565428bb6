// MatrixSpace in the pool's shared memory, on all its threads.
import { cut, gemm, gemmSymmetric, matrix as gemmView, type SymmetricProduct } from "../gemm.ts";
import type { GpuEngine } from "../gpu/engine.ts";
import type { ComputePool } from "../pool.ts";
import type { Blas } from "../providers/blas.ts";
import { lowerFactor } from "./lower-factor.ts";
import { frobenius, type Matrix, type MatrixSpace, mirrorLower, type ProductOptions, productSteps, type Reals, SLICE_WORK } from "./matrix.ts";
import { pairsOfRound, sweepUntilOrthogonal, tournament } from "./one-sided-jacobi.ts";
import { solvePositive } from "./positive-solve.ts";
import { inTurns, type Steps, turns } from "./steps.ts";
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
  const product: MatrixSpace["product"] = (a, b, options = {}) => multiply(pool, a, b, options, zeros);
  return {
    zeros,
    free: (...matrices) => {
      for (const { data } of matrices) release(data);
    },
    product,
    *gram(a, into = zeros(a.rows, a.rows)) {
      const { rows, columns: depth, data } = a;
      const whole = { rows, columns: rows, depth, a: data, transposeA: false, b: data, transposeB: true, c: into.data, accumulate: false };
      if (pool.gpu?.product(whole)) return into;
      const address = data.byteOffset;
      if (pool.blas !== undefined) yield* byDepth(rows, depth, (from, to) => pool.blas?.ssyrk(rows, depth, data, into.data, from, to));
      else yield* lowerTriangle(pool, { rows, depth, a: gemmView(address, rows, depth), b: gemmView(address, rows, depth, true), c: into.data.byteOffset });
      mirrorLower(into);
      return into;
    },
    *symmetricProduct(a, b, into = zeros(a.rows, a.rows)) {
      const { rows } = a;
      const [viewA, viewB] = [gemmView(a.data.byteOffset, rows, rows), gemmView(b.data.byteOffset, rows, rows)];
      if (pool.gpu !== undefined) product(a, b, { into });
      else if (pool.blas !== undefined) yield* productSteps({ product }, a, b, into);
      else yield* lowerTriangle(pool, { rows, depth: rows, a: viewA, b: viewB, c: into.data.byteOffset });
      mirrorLower(into);
      return into;
    },
    doubles: (length) => {
      const address = place(length * 8);
      const data = new Float64Array(pool.memory.buffer, address, length);
      blocks.set(data, address);
      return data;
    },
    gramDoubles: (y, rows, columns, into) =>
      pool.blas === undefined ? gram64(pool, y, rows, columns, into) : byDepth(rows, columns, (from, to) => pool.blas?.dsyrk(rows, columns, y, into, from, to)),
    lowerFactor: (y, rows, columns) => lowerFactor(pool, y, rows, columns),
    productDoubles: (a, rows, depth, b, columns, into) => product64(pool, a, rows, depth, b, columns, into),
    addWeightedRows: (sums) => addWeightedRows(pool, sums),
    largestInRows: (a) => largestInRows(pool, a),
    solvePositive: (s, size, b, columns) => inTurns(pool.blas?.lapack?.posv(size, columns, s, b) ?? solvePositive(pool, s, size, b, columns), pause),
    pause,
    ...decomposeBy(pool.blas, zeros),
    ...(pool.gpu === undefined ? {} : { polar: polarBy(pool.gpu, zeros, release), leading: leadingBy(pool.gpu, zeros, release) }),
    orthogonalizeRows: (work, rows, columns) => orthogonalize(pool, addressOf(work), rows, columns),
    close: () => {
      for (const data of [...blocks.keys()]) release(data);
    },
  };
}

/** The lower triangle of a symmetric product, some of its rows at a time: a slice for each thread. */
function* lowerTriangle(pool: ComputePool, product: SymmetricProduct): Steps<void> {
  const { rows, depth } = product;
  const step = Math.ceil((SLICE_WORK * pool.threads) / Math.max(1, rows * depth));
  for (let from = 0; from < rows; from += step) {
    gemmSymmetric(pool, product, from, Math.min(rows, from + step));
    yield undefined;
  }
}

/** Multiplications of a library's step: a second of it or less. */
const LIBRARY_WORK = 2 ** 34;

/** A Gram matrix by a library, as a sum over stretches of the rows that hang on the shape alone. */
function* byDepth(rows: number, depth: number, add: (from: number, to: number) => void): Steps<void> {
  const step = Math.max(1, Math.floor((2 * LIBRARY_WORK) / Math.max(1, rows * rows)));
  for (let from = 0; from < Math.max(1, depth); from += step) {
    add(from, Math.min(depth, from + step));
    yield undefined;
  }
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

function leadingBy(gpu: GpuEngine, zeros: MatrixSpace["zeros"], release: (data: Float32Array) => void): MatrixSpace["leading"] {
  return (a, count, width) => {
    const { rows, columns, data } = a;
    const [left, right] = [zeros(count, rows), zeros(count, columns)];
    const values = new Float64Array(new SharedArrayBuffer(count * 8));
    if (gpu.triplets({ rows, columns, a: data, norm: frobenius(a), count, width, left: left.data, right: right.data, values })) return { left, values, right };
    release(left.data);
    release(right.data);
    return undefined;
  };
}

/** Whole decompositions by LAPACK, where there is one. */
function decomposeBy(blas: Blas | undefined, zeros: MatrixSpace["zeros"]): Pick<MatrixSpace, "decompose"> {
  const lapack = blas?.lapack;
  if (lapack === undefined) return {};
  return {
    decompose: async ({ rows, columns, data }) => {
      const found = await lapack.dgesdd(rows, columns, new Float64Array(data));
      if (found === undefined) return undefined;
      const { u, values, vt } = found;
      const [left, right] = [zeros(values.length, rows), zeros(values.length, columns)];
      right.data.set(vt);
      for (let i = 0; i < rows; i++) for (let k = 0; k < values.length; k++) left.data[k * rows + i] = u[i * values.length + k] as number;
      return { left, values, right };
    },
  };
}

/** Below this many elements a round is over before another thread would wake. */
const MIN_SHARED = 1 << 18;

/** Elements of rows that one thread rotates in a step: a second of a slow core or less. */
const STEP_ELEMENTS = 1 << 27;

function* orthogonalize(pool: ComputePool, work: number, rows: number, columns: number): Steps<number> {
  const rounds = tournament(rows);
  const parts = rows * columns < MIN_SHARED ? 1 : pool.threads;
  // On one thread a step may go beyond a round: the order of the pairs is the same.
  const together = parts === 1 ? Math.ceil(STEP_ELEMENTS / columns) : pairsOfRound(rows);
  const list = pool.arena.alloc(Math.max(1, rounds.byteLength));
  const results = pool.arena.alloc(parts * RESULT_BYTES);
  try {
    new Uint32Array(pool.memory.buffer, list, rounds.length).set(rounds);
    return yield* sweepUntilOrthogonal(rounds.length / 2, together, (first, end) => {
      const ranges = cut(end - first, parts, 1);
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
