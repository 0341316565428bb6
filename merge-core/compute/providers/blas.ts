// The machine's own linear algebra (OpenBLAS, MKL, Accelerate) through koffi, where both are there. Operands stay where they are, in
// the shared WASM memory too. Results differ from the built-in engine's in the last digits, and between machines: never used unasked.
import { availableParallelism } from "node:os";
import { bindLapack, type Lapack, type Native } from "./lapack.ts";

/** Matrices are stored row by row. */
export interface Blas {
  /** What the library says of itself. */
  readonly name: string;
  /** Where it was loaded from: other threads load the same. */
  readonly file: string;
  /** How many threads one call may use. With one, all threads of a pool call it for parts of the same product. */
  readonly threads: number;
  /** C (+)= op(A) op(B). */
  sgemm(product: BlasProduct): void;
  /** The lower triangle of A A^T, A [rows, depth]; what lies above it stays. Of a stretch of columns that is not the first, added to it. */
  ssyrk(rows: number, depth: number, a: Float32Array, c: Float32Array, from?: number, to?: number): void;
  /** The same in float64. */
  dsyrk(rows: number, depth: number, a: Float64Array, c: Float64Array, from?: number, to?: number): void;
  /** Where the library has it. */
  readonly lapack?: Lapack;
}

export interface BlasProduct {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly a: Float32Array;
  readonly transposeA: boolean;
  readonly b: Float32Array;
  readonly transposeB: boolean;
  readonly c: Float32Array;
  readonly accumulate: boolean;
  /** Elements from one stored row to the next, where matrices are parts of larger ones. Default: the rows lie side by side. */
  readonly steps?: { readonly a: number; readonly b: number; readonly c: number };
}

/** The file named by this variable comes first. */
export const BLAS_VARIABLE = "WEIGHTSMITH_BLAS";
/** By platform, where libraries are looked for; a bare name is left to the system's loader. */
const LIBRARIES: Readonly<Record<string, readonly string[]>> = {
  linux: ["libopenblas.so.0", "libopenblas.so", "libmkl_rt.so.2", "libmkl_rt.so.1", "libmkl_rt.so"],
  darwin: [
    "/opt/homebrew/opt/openblas/lib/libopenblas.dylib",
    "/usr/local/opt/openblas/lib/libopenblas.dylib",
    "/System/Library/Frameworks/Accelerate.framework/Accelerate",
  ],
  win32: ["libopenblas.dll", "mkl_rt.2.dll", "mkl_rt.dll"],
};
/** Names as most builds have them, with 64-bit integers, and as the wheels of scipy and numpy have them. */
const SPELLINGS = [
  { before: "", after: "", integer: "int" },
  { before: "", after: "64_", integer: "int64" },
  { before: "scipy_", after: "", integer: "int" },
  { before: "scipy_", after: "64_", integer: "int64" },
] as const;
type Spelling = (typeof SPELLINGS)[number];

/** What is used of koffi. */
interface Library {
  func(definition: string): Native;
}

/**
 * Below this many multiplications, about a millisecond of one core, one thread does all. Libraries share out far smaller work and then
 * spin until the other thread has its turn: where other programs share the cores, products of side 192 took 17 ms on two threads and
 * 0.15 ms on one. On one thread the library is ahead of the kernels at every size (2 to 10 times, from side 8 on, the call included),
 * so that nothing is too small for it.
 */
export const MIN_SHARED = 2 ** 27;

const ROW_MAJOR = 101;
const [PLAIN, TRANSPOSED] = [111, 112];
const LOWER = 122;

/** Opens the library of that file, or the first that there is. @throws Error beginning with `absent:` if there is none, or what koffi throws */
export async function loadBlas(threads = availableParallelism(), file?: string): Promise<Blas> {
  const koffi = await import("koffi");
  const asked = file ?? process.env[BLAS_VARIABLE];
  const files = asked === undefined || asked === "" ? (LIBRARIES[process.platform] ?? []) : [asked];
  for (const file of files) {
    const library = attempt(() => koffi.load(file) as Library);
    const spelling = library && SPELLINGS.find((names) => attempt(() => library.func(`void ${names.before}cblas_sgemm${names.after}()`)) !== undefined);
    if (library !== undefined && spelling !== undefined) return bind(library, spelling, file, threads, () => quitBy(koffi));
  }
  throw new Error(`absent: no BLAS library found; looked for ${files.join(", ")}`);
}

function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}

/** What ends the process as it is. */
function quitBy(koffi: { load(file: string | null): Library }): (status: number) => void {
  return process.platform === "win32" ? koffi.load("kernel32.dll").func("void ExitProcess(uint32_t)") : koffi.load(null).func("void _exit(int)");
}

function bind(library: Library, { before, after, integer: I }: Spelling, file: string, threads: number, quit: () => (status: number) => void): Blas {
  const cblas = (name: string, args: string): Native => library.func(`void ${before}cblas_${name}${after}(${args})`);
  const setThreads = threadSetter(library, before, after);
  const share = (multiplications: number): void => void setThreads?.(multiplications < MIN_SHARED ? 1 : threads);
  const gemm = cblas("sgemm", `int, int, int, ${I}, ${I}, ${I}, float, const float *, ${I}, const float *, ${I}, float, float *, ${I}`);
  const ssyrk = cblas("ssyrk", `int, int, int, ${I}, ${I}, float, const float *, ${I}, float, float *, ${I}`);
  const dsyrk = cblas("dsyrk", `int, int, int, ${I}, ${I}, double, const double *, ${I}, double, double *, ${I}`);
  const fortran = (name: string, args: string): Native => library.func(`void ${before}${name}_${after}(${args})`);
  const lapack = attempt(() => bindLapack({ integer: I, cblas, fortran, share, quit: quit() }));
  return {
    name: nameOf(library, before, after, file),
    file,
    threads,
    sgemm: ({ rows, columns, depth, a, transposeA, b, transposeB, c, accumulate, steps }) => {
      const [stepA, stepB] = [steps?.a ?? (transposeA ? rows : depth), steps?.b ?? (transposeB ? depth : columns)];
      const [opA, opB] = [transposeA ? TRANSPOSED : PLAIN, transposeB ? TRANSPOSED : PLAIN];
      share(rows * columns * depth);
      gemm(ROW_MAJOR, opA, opB, rows, columns, depth, 1, a, Math.max(1, stepA), b, Math.max(1, stepB), accumulate ? 1 : 0, c, steps?.c ?? columns);
    },
    ssyrk: (rows, depth, a, c, from = 0, to = depth) => {
      share((rows * rows * (to - from)) / 2);
      ssyrk(ROW_MAJOR, LOWER, PLAIN, rows, to - from, 1, a.subarray(from), depth, from === 0 ? 0 : 1, c, rows);
    },
    dsyrk: (rows, depth, a, c, from = 0, to = depth) => {
      share((rows * rows * (to - from)) / 2);
      dsyrk(ROW_MAJOR, LOWER, PLAIN, rows, to - from, 1, a.subarray(from), depth, from === 0 ? 0 : 1, c, rows);
    },
    ...(lapack === undefined ? {} : { lapack }),
  };
}

/** What sets the number of threads, where the library has it; it costs less than a microsecond. */
function threadSetter(library: Library, before: string, after: string): Native | undefined {
  return attempt(() => library.func(`void ${before}openblas_set_num_threads${after}(int)`)) ?? attempt(() => library.func("void MKL_Set_Num_Threads(int)"));
}

/** Library, version and the processor that it was made for, without the build's options. */
function nameOf(library: Library, before: string, after: string, file: string): string {
  const config = attempt(() => String(library.func(`const char *${before}openblas_get_config${after}()`)()));
  if (config === undefined) return /mkl/i.test(file) ? "MKL" : /Accelerate/.test(file) ? "Accelerate" : file;
  const [library_, version] = config.split(" ");
  const core = attempt(() => String(library.func(`const char *${before}openblas_get_corename${after}()`)()));
  return [library_, version, core].filter(Boolean).join(" ");
}
