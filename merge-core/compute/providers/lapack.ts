// Systems and decompositions by the machine's LAPACK, where its BLAS has one. LAPACK counts by columns: it sees the transposes of our matrices.
import type { Reals } from "../linalg/matrix.ts";
import type { Steps } from "../linalg/steps.ts";

/** A function of the library, called as it is declared. */
export interface Native {
  (...args: readonly unknown[]): unknown;
  /** On a thread of its own; the last argument is called back. */
  async(...args: readonly unknown[]): unknown;
}
/** What the library counts with. */
export type IntegerType = "int" | "int64";

export interface Lapack {
  /**
   * B [size, columns] <- S^-1 B, both of one precision; the lower triangle of S is overwritten. Stops now and then, so that a caller can
   * give up. @returns false if S is not positive definite
   */
  posv(size: number, columns: number, s: Reals, b: Reals): Steps<boolean>;
  /**
   * A [rows, columns] = U diag(s) V^T, with U [rows, k] and V^T [k, columns]; A, in memory that is not shared, is overwritten. On a thread of its
   * own, which cannot be stopped. @returns undefined if it did not converge
   */
  dgesdd(rows: number, columns: number, a: Float64Array): Promise<{ u: Float64Array; values: Float64Array; vt: Float64Array } | undefined>;
}

export interface Bindings {
  readonly integer: IntegerType;
  /** A function of the C interface, or of Fortran's. */
  readonly cblas: (name: string, args: string) => Native;
  readonly fortran: (name: string, args: string) => Native;
  /** Says how many multiplications the next call has. */
  readonly share: (multiplications: number) => void;
  /** Ends the process without waiting for its threads. */
  readonly quit: (status: number) => void;
}

const ROW_MAJOR = 101;
const [PLAIN, TRANSPOSED] = [111, 112];
const LOWER = 122;
const NON_UNIT = 131;
const [LEFT, RIGHT] = [141, 142];
/** Rows of a block of a factorisation, and multiplications of a slice of right sides: a second or less even on one slow core. */
const BLOCK = 1024;
const SLICE_WORK = 2 ** 33;

const integersOf =
  (integer: IntegerType) =>
  (...values: number[]): Int32Array | BigInt64Array =>
    integer === "int" ? Int32Array.from(values) : BigInt64Array.from(values, BigInt);

/** @throws Error if the library lacks one of the functions */
export function bindLapack(bindings: Bindings): Lapack {
  const [single, double] = [positiveSolver(bindings, "s"), positiveSolver(bindings, "d")];
  return {
    posv: (size, columns, s, b) => (s instanceof Float64Array ? double : single)(size, columns, s, b),
    dgesdd: decomposer(bindings),
  };
}

function positiveSolver({ integer: I, cblas, fortran, share }: Bindings, letter: "s" | "d"): Lapack["posv"] {
  const real = letter === "s" ? "float" : "double";
  const trsm = cblas(`${letter}trsm`, `int, int, int, int, int, ${I}, ${I}, ${real}, const ${real} *, ${I}, ${real} *, ${I}`);
  const syrk = cblas(`${letter}syrk`, `int, int, int, ${I}, ${I}, ${real}, const ${real} *, ${I}, ${real}, ${real} *, ${I}`);
  const potrf = fortran(`${letter}potrf`, `const char *, const void *, ${real} *, const void *, void *`);
  const integers = integersOf(I);

  function* factor(size: number, s: Reals): Steps<boolean> {
    for (let at = 0; at < size; at += BLOCK) {
      const width = Math.min(BLOCK, size - at);
      const below = size - at - width;
      const diagonal = s.subarray(at * (size + 1));
      const info = integers(0);
      share(width ** 3 / 6);
      // The upper triangle of the transpose is our lower one.
      potrf("U", integers(width), diagonal, integers(size), info);
      if (Number(info[0]) !== 0) return false;
      if (below === 0) break;
      const panel = s.subarray((at + width) * size + at);
      share((below * width * width) / 2);
      trsm(ROW_MAJOR, RIGHT, LOWER, TRANSPOSED, NON_UNIT, below, width, 1, diagonal, size, panel, size);
      yield undefined;
      share((below * below * width) / 2);
      syrk(ROW_MAJOR, LOWER, PLAIN, below, width, -1, panel, size, 1, s.subarray((at + width) * (size + 1)), size);
      yield undefined;
    }
    return true;
  }

  return function* posv(size, columns, s, b) {
    if (!(yield* factor(size, s))) return false;
    const width = Math.max(64, Math.floor(SLICE_WORK / size ** 2));
    for (let from = 0; from < columns; from += width, yield undefined)
      for (const side of [PLAIN, TRANSPOSED]) {
        const count = Math.min(width, columns - from);
        share((size * size * count) / 2);
        trsm(ROW_MAJOR, LEFT, LOWER, side, NON_UNIT, size, count, 1, s, size, b.subarray(from), columns);
      }
    return true;
  };
}

function decomposer({ integer, fortran, share, quit }: Bindings): Lapack["dgesdd"] {
  const gesdd = fortran(
    "dgesdd",
    "const char *, const void *, const void *, double *, const void *, double *, double *, const void *, double *, const void *, double *, const void *, void *, void *",
  );
  const integers = integersOf(integer);
  return async (rows, columns, a) => {
    const k = Math.min(rows, columns);
    // Half of its work is in products of a vector, which gain little from threads.
    share(4 * rows * columns * k);
    // A^T = V diag(s) U^T: what LAPACK calls U is V by columns, hence V^T by rows; its V^T by columns is U by rows.
    const [vt, values, u] = [new Float64Array(k * columns), new Float64Array(k), new Float64Array(rows * k)];
    const [info, iwork] = [integers(0), integers(...new Array<number>(8 * k).fill(0))];
    const [m, n, least] = [integers(columns), integers(rows), integers(k)];
    const args = (work: Float64Array, size: number) => ["S", m, n, a, m, values, vt, m, u, least, work, integers(size), iwork, info];
    const query = new Float64Array(1);
    gesdd(...args(query, -1));
    const size = Math.ceil(query[0] as number);
    await onOwnThread(gesdd, args(new Float64Array(size), size), quit);
    return Number(info[0]) === 0 ? { u, values, vt } : undefined;
  };
}

/** Node waits for its threads before it ends: where a call is given up and the process ends, it is ended without. */
async function onOwnThread(call: Native, args: readonly unknown[], quit: Bindings["quit"]): Promise<void> {
  process.on("exit", quit);
  try {
    await new Promise<void>((resolve, reject) => call.async(...args, (error: unknown) => (error ? reject(error) : resolve())));
  } finally {
    process.off("exit", quit);
  }
}
