// Data of tensors in the shared memory: in their own type, or frozen weights in the 16 bits that files hold of them.
import { cut } from "../compute/gemm.ts";
import type { ComputePool } from "../compute/pool.ts";
import { DTYPE_CODES } from "../compute/program.ts";

export type Numeric = "float32" | "int32" | "bool";
export type NumericArray = Float32Array | Int32Array | Uint8Array;
export type HalfDType = "BF16" | "F16";

/** A block of the shared memory in the shape tfjs's cpu kernels expect of tensor data. */
export class SharedData {
  refCount = 1;
  #view: NumericArray | undefined;

  constructor(
    readonly memory: WebAssembly.Memory,
    readonly address: number,
    readonly size: number,
    readonly dtype: Numeric,
  ) {}

  /** A view of the block, made when first asked for: most tensors are only ever seen by WASM kernels. Read-only by contract. */
  get values(): NumericArray {
    if (this.#view === undefined) {
      const Type = this.dtype === "float32" ? Float32Array : this.dtype === "int32" ? Int32Array : Uint8Array;
      this.#view = new Type(this.memory.buffer, this.address, this.size);
    }
    return this.#view;
  }
}

/** Elements that one thread widens at once, a multiple of the kernel's eight. */
const PART = 1 << 16;

/** Float32 numbers in half the memory, for they need no more than 16 bits: widening is exact. Nothing writes to them. */
export class FrozenData extends SharedData {
  readonly #pool: ComputePool;
  readonly #code: number;

  constructor(pool: ComputePool, address: number, size: number, dtype: HalfDType, codes: Uint8Array) {
    super(pool.memory, address, size, "float32");
    this.#pool = pool;
    this.#code = DTYPE_CODES[dtype];
    new Uint8Array(pool.memory.buffer, address, size * 2).set(codes);
  }

  /** A copy: the block holds no float32 numbers. */
  override get values(): Float32Array {
    const { arena, memory } = this.#pool;
    const to = arena.alloc(this.size * 4);
    try {
      this.widenInto(to);
      return new Float32Array(memory.buffer, to, this.size).slice();
    } finally {
      arena.free(to);
    }
  }

  /** Writes elements [from, to) as float32 to an address, where there is room for up to seven more; `from` is a multiple of eight. */
  widenInto(address: number, from = 0, to = this.size): void {
    const parts = cut(to - from, Math.ceil((to - from) / PART), 8);
    this.#pool.runSync(
      "widen",
      parts.map(([start, end]) => [this.#code, this.address + (from + start) * 2, address + start * 4, end - start]),
    );
  }

  /** One row of a matrix, wherever it begins; up to seven numbers after it are overwritten. */
  widenRow(address: number, row: number, width: number): void {
    this.#pool.context.kernel("widen")(this.#code, this.address + row * width * 2, address, width);
  }
}
