import { type DType, isFloat } from "../formats/dtypes.ts";

/** A number is NaN or infinite if the bits of `mask`, its exponent, are all set; F8_E4M3 has NaN only, in one magnitude. */
const EXPONENTS = { F64: 0x7ff00000, F32: 0x7f800000, F16: 0x7c00, BF16: 0x7f80, F8_E4M3: 0x7f, F8_E5M2: 0x7c } as const;

/** How many of little-endian `bytes`' elements are NaN or infinite. `bytes` must be aligned to the element; integers have none. */
export function countNonFinite(dtype: DType, bytes: Uint8Array): number {
  if (!isFloat(dtype)) return 0;
  const mask = EXPONENTS[dtype];
  let count = 0;
  if (dtype === "F64") {
    // The exponent is in the upper half, which comes second.
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
    for (let i = 1; i < words.length; i += 2) if (((words[i] ?? 0) & mask) === mask) count++;
    return count;
  }
  const codes = codesOf(dtype, bytes);
  for (let i = 0; i < codes.length; i++) if (((codes[i] ?? 0) & mask) === mask) count++;
  return count;
}

function codesOf(dtype: "F32" | "F16" | "BF16" | "F8_E4M3" | "F8_E5M2", bytes: Uint8Array): Uint8Array | Uint16Array | Uint32Array {
  if (dtype === "F32") return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
  if (dtype === "F16" || dtype === "BF16") return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1);
  return bytes;
}
