// Elements of any dtype as numbers, for small tensors.
import { widenToFloat32 } from "./dtype-codecs.ts";
import { type DType, isFloat } from "./dtypes.ts";

const WIDTHS = { I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1 } as const;

/** Floats as float32, whole numbers and booleans exactly (64-bit ones up to 2^53). `bytes` need not be aligned. */
export function readNumbers(dtype: DType, bytes: Uint8Array): Float32Array | Float64Array {
  if (isFloat(dtype)) return widenToFloat32(dtype, bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const read = {
    I64: (at: number) => Number(view.getBigInt64(at, true)),
    I32: (at: number) => view.getInt32(at, true),
    I16: (at: number) => view.getInt16(at, true),
    I8: (at: number) => view.getInt8(at),
    U8: (at: number) => view.getUint8(at),
    BOOL: (at: number) => view.getUint8(at),
  }[dtype as keyof typeof WIDTHS];
  const width = WIDTHS[dtype as keyof typeof WIDTHS];
  return Float64Array.from({ length: bytes.byteLength / width }, (_, i) => read(i * width));
}
