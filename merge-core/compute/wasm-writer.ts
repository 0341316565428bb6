// Just enough of the WebAssembly binary format to write a module with one function (WebAssembly Core Specification 2.0, section 5).

export const I32 = 0x7f;
export const F64 = 0x7c;
export const V128 = 0x7b;

/** Unsigned LEB128. */
function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return bytes;
}

/** Signed LEB128 of a 32-bit value. */
function signed(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value | 0; ; rest >>= 7) {
    const low = rest & 0x7f;
    const done = (rest >> 7 === 0 && (low & 0x40) === 0) || (rest >> 7 === -1 && (low & 0x40) !== 0);
    bytes.push(done ? low : low | 0x80);
    if (done) return bytes;
  }
}

const OPS = {
  ...{ loop: 0x03, if: 0x04, end: 0x0b, brIf: 0x0d, select: 0x1b, f64Add: 0xa0, f64FromI32: 0xb8, i32LtS: 0x48, i32LtU: 0x49 },
  ...{ i32Add: 0x6a, i32Sub: 0x6b, i32And: 0x71, i32Shl: 0x74, i32ShrU: 0x76, i32Eqz: 0x45 },
};

/** Codes behind the SIMD prefix 0xfd. */
const SIMD = {
  ...{ load: 0x00, load16Splat: 0x08, load32Splat: 0x09, load64Zero: 0x5d, store: 0x0b, i32x4Splat: 0x11 },
  ...{ f32x4Eq: 0x41, f32x4Ne: 0x42, f32x4Lt: 0x43, f32x4Gt: 0x44, f32x4Le: 0x45, f32x4Ge: 0x46, i32x4LtS: 0x39, i32x4GtS: 0x3b },
  ...{
    and: 0x4e,
    andnot: 0x4f,
    bitselect: 0x52,
    i32x4Shl: 0xab,
    i32x4Add: 0xae,
    i32x4MinS: 0xb6,
    i32x4MaxS: 0xb8,
    i32x4ShrU: 0xad,
    i16x8NarrowU: 0x86,
    anyTrue: 0x53,
  },
  ...{ i32x4Eq: 0x37, i32x4Sub: 0xb1, f64x2PromoteLow: 0x5f, f64x2Add: 0xf0, f64x2Mul: 0xf2, f64x2Max: 0xf5, f64x2Abs: 0xec },
  ...{ f32x4Abs: 0xe0, f32x4Neg: 0xe1, f32x4Sqrt: 0xe3, f32x4Add: 0xe4, f32x4Sub: 0xe5, f32x4Mul: 0xe6, f32x4Div: 0xe7, f32x4Min: 0xe8, f32x4Max: 0xe9 },
  ...{ f32x4Pmin: 0xea, f32x4Pmax: 0xeb },
};

export type SimdOp = Exclude<keyof typeof SIMD, "load" | "load16Splat" | "load32Splat" | "load64Zero" | "store">;

/** The body of one function under construction: methods append instructions in stack order. */
export class FunctionWriter {
  readonly #code: number[] = [];
  readonly #locals: number[] = [];
  readonly #parameters: number;

  constructor(parameters: number) {
    this.#parameters = parameters;
  }

  /** A new local variable of type I32, F64 or V128. */
  local(type: number): number {
    return this.#parameters + this.#locals.push(type) - 1;
  }

  op(name: keyof typeof OPS): void {
    this.#code.push(OPS[name]);
  }

  get(local: number): void {
    this.#code.push(0x20, ...unsigned(local));
  }

  set(local: number): void {
    this.#code.push(0x21, ...unsigned(local));
  }

  /** Sets a local to what stays on the stack. */
  tee(local: number): void {
    this.#code.push(0x22, ...unsigned(local));
  }

  i32(value: number): void {
    this.#code.push(0x41, ...signed(value));
  }

  /** Loads 32 bits from the address on the stack. */
  loadI32(offset: number): void {
    this.#code.push(0x28, 0, ...unsigned(offset));
  }

  loadF64(offset: number): void {
    this.#code.push(0x2b, 0, ...unsigned(offset));
  }

  call(index: number): void {
    this.#code.push(0x10, ...unsigned(index));
  }

  /** A loop that runs again while the condition that `body` leaves on the stack holds. */
  loop(body: () => void): void {
    this.#code.push(OPS.loop, 0x40);
    body();
    this.#code.push(OPS.brIf, 0, OPS.end);
  }

  simd(name: SimdOp): void {
    this.#code.push(0xfd, ...unsigned(SIMD[name]));
  }

  /** Of the two vectors on the stack, the 16 bytes with these numbers. */
  shuffle(bytes: readonly number[]): void {
    this.#code.push(0xfd, 0x0d, ...bytes);
  }

  /** Runs `body` if the condition on the stack holds. */
  when(body: () => void): void {
    this.#code.push(OPS.if, 0x40);
    body();
    this.#code.push(OPS.end);
  }

  simdMemory(name: "load" | "load16Splat" | "load32Splat" | "load64Zero" | "store", offset: number): void {
    this.#code.push(0xfd, ...unsigned(SIMD[name]), 0, ...unsigned(offset));
  }

  /** Four equal lanes of 32 bits. */
  constant(word: number): void {
    this.words([word, word, word, word]);
  }

  /** Four lanes of 32 bits. */
  words(lanes: readonly number[]): void {
    this.#code.push(0xfd, 0x0c, ...lanes.flatMap((word) => [word & 0xff, (word >>> 8) & 0xff, (word >>> 16) & 0xff, word >>> 24]));
  }

  /** The lanes first, first + 1, first + 2, first + 3. */
  lanes(first: number): void {
    this.words([first, first + 1, first + 2, first + 3]);
  }

  body(): number[] {
    const locals = this.#locals.flatMap((type) => [1, type]);
    return sized([...unsigned(this.#locals.length), ...locals, ...this.#code, OPS.end]);
  }
}

export interface Signature {
  readonly parameters: readonly number[];
  readonly results: readonly number[];
}

/** A module that imports the shared memory and functions of module "env", and exports one function as `run`. */
export function writeModule(
  imports: readonly (Signature & { readonly name: string })[],
  run: Signature,
  body: readonly number[],
  maxPages: number,
): Uint8Array<ArrayBuffer> {
  const types = [...imports, run].map(({ parameters, results }) => [0x60, ...vector(parameters.map((p) => [p])), ...vector(results.map((r) => [r]))]);
  const memory = [...text("env"), ...text("memory"), 0x02, 0x03, ...unsigned(1), ...unsigned(maxPages)];
  const functions = imports.map(({ name }, type) => [...text("env"), ...text(name), 0x00, ...unsigned(type)]);
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, vector(types)),
    ...section(2, vector([memory, ...functions])),
    ...section(3, vector([unsigned(imports.length)])),
    ...section(7, vector([[...text("run"), 0x00, ...unsigned(imports.length)]])),
    ...section(10, vector([body])),
  ]);
}

function sized(bytes: readonly number[]): number[] {
  return [...unsigned(bytes.length), ...bytes];
}

function section(id: number, bytes: readonly number[]): number[] {
  return [id, ...sized(bytes)];
}

function vector(items: readonly (readonly number[])[]): number[] {
  return [...unsigned(items.length), ...items.flat()];
}

function text(value: string): number[] {
  return sized([...new TextEncoder().encode(value)]);
}
