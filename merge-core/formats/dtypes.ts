// The element types of tensors on disk, under the names safetensors uses.

/** Bytes per element. The keys are the closed set of dtypes this library reads and writes. */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

export type DType = keyof typeof DTYPE_BYTES;

/** The dtypes a merge can compute with; the others are copied unchanged. */
export type FloatDType = "F64" | "F32" | "F16" | "BF16" | "F8_E4M3" | "F8_E5M2";

export function isDType(name: string): name is DType {
  return Object.hasOwn(DTYPE_BYTES, name);
}

export function isFloat(dtype: DType): dtype is FloatDType {
  return dtype.startsWith("F") || dtype === "BF16";
}

/** Element count of a shape; the empty shape is a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}
