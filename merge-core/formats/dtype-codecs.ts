// Float dtypes to and from float32 in plain TypeScript: the specification that the fast kernels are tested against,
// and the way in and out for small tensors. Narrowing rounds once, to nearest even; NaN stays NaN.
// Beyond the largest value F16, BF16 and F8_E5M2 give infinity; F8_E4M3 (the "fn" variant) has none and gives NaN, as ml_dtypes
// does and torch did until it began to saturate in 2026: an overflow should show.
import type { FloatDType } from "./dtypes.ts";

/** A sign bit, then exponent and mantissa bits, IEEE-like. */
interface SmallFloat {
  readonly bytes: 1 | 2;
  readonly mantissaBits: number;
  readonly bias: number;
  /** Code of the first magnitude past the finite ones: infinity, or NaN where there is no infinity. */
  readonly overflow: number;
  readonly nan: number;
}

const SMALL_FLOATS: Readonly<Record<"F16" | "BF16" | "F8_E4M3" | "F8_E5M2", SmallFloat>> = {
  F16: { bytes: 2, mantissaBits: 10, bias: 15, overflow: 0x7c00, nan: 0x7e00 },
  BF16: { bytes: 2, mantissaBits: 7, bias: 127, overflow: 0x7f80, nan: 0x7fc0 },
  F8_E4M3: { bytes: 1, mantissaBits: 3, bias: 7, overflow: 0x7f, nan: 0x7f },
  F8_E5M2: { bytes: 1, mantissaBits: 2, bias: 15, overflow: 0x7c, nan: 0x7f },
};

/** The value of one code. */
export function decodeSmall(dtype: keyof typeof SMALL_FLOATS, code: number): number {
  const format = SMALL_FLOATS[dtype];
  const signBit = format.bytes === 1 ? 0x80 : 0x8000;
  const sign = code & signBit ? -1 : 1;
  const magnitude = code & (signBit - 1);
  if (magnitude >= format.overflow) return magnitude === format.overflow && format.nan !== format.overflow ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  const exponent = Math.max(magnitude >> format.mantissaBits, 1);
  // Above the subnormals the exponent field contributes the implicit leading one.
  const mantissa = magnitude - ((exponent - 1) << format.mantissaBits);
  return sign * mantissa * 2 ** (exponent - format.bias - format.mantissaBits);
}

const bitsOf = { float: new Float32Array(1), word: new Uint32Array(0) };
bitsOf.word = new Uint32Array(bitsOf.float.buffer);

/** The code nearest to a float32 value, ties to even. */
export function encodeSmall(dtype: keyof typeof SMALL_FLOATS, value: number): number {
  const format = SMALL_FLOATS[dtype];
  bitsOf.float[0] = value;
  const bits = bitsOf.word[0] ?? 0;
  const sign = bits >>> 31 ? (format.bytes === 1 ? 0x80 : 0x8000) : 0;
  if (Number.isNaN(value)) return sign | format.nan;
  const exponent = Math.max(((bits >>> 23) & 0xff) - 127, 1 - format.bias);
  const units = roundHalfEven(Math.abs(bitsOf.float[0]) / 2 ** (exponent - format.mantissaBits));
  // A carry out of the mantissa runs into the exponent field, which is what rounding up means there.
  return sign | Math.min(((exponent + format.bias - 1) << format.mantissaBits) + units, format.overflow);
}

/** Exact for the small quotients it is given, infinity included. */
function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

const tables = new Map<string, Float32Array>();

/** All values of a small format by code. */
function decodeTable(dtype: keyof typeof SMALL_FLOATS): Float32Array {
  const known = tables.get(dtype);
  if (known !== undefined) return known;
  const table = Float32Array.from({ length: SMALL_FLOATS[dtype].bytes === 1 ? 256 : 65536 }, (_, code) => decodeSmall(dtype, code));
  tables.set(dtype, table);
  return table;
}

/** Little-endian elements to float32. F64 is rounded once; the others are exact. `bytes` need not be aligned. */
export function widenToFloat32(dtype: FloatDType, bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (dtype === "F64") return Float32Array.from({ length: bytes.byteLength / 8 }, (_, i) => view.getFloat64(i * 8, true));
  // Not slice(): on a Buffer that would share memory.
  if (dtype === "F32") return new Float32Array(new Uint8Array(bytes).buffer);
  const table = decodeTable(dtype);
  const out = new Float32Array(bytes.byteLength / SMALL_FLOATS[dtype].bytes);
  if (SMALL_FLOATS[dtype].bytes === 1) for (let i = 0; i < out.length; i++) out[i] = table[bytes[i] ?? 0] ?? 0;
  else for (let i = 0; i < out.length; i++) out[i] = table[view.getUint16(i * 2, true)] ?? 0;
  return out;
}

/** Float32 to little-endian elements. */
export function narrowFromFloat32(dtype: FloatDType, values: Float32Array): Uint8Array {
  if (dtype === "F64") return new Uint8Array(Float64Array.from(values).buffer);
  if (dtype === "F32") return new Uint8Array(values.slice().buffer);
  const codes = SMALL_FLOATS[dtype].bytes === 1 ? new Uint8Array(values.length) : new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) codes[i] = encodeSmall(dtype, values[i] ?? 0);
  return new Uint8Array(codes.buffer);
}
