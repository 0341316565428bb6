// Writing safetensors. The same tensors in the same order always give the same bytes.
import { DTYPE_BYTES, type DType, elementCount } from "./dtypes.ts";
import { LENGTH_BYTES, type TensorRange } from "./safetensors.ts";

/** What the Hugging Face libraries write; transformers refuses files without it. */
export const PYTORCH_METADATA: Readonly<Record<string, string>> = { format: "pt" };

export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Everything known of a file before its first tensor byte is. */
export interface FileLayout {
  /** Length field and JSON, ready to be written at offset 0. */
  readonly header: Uint8Array;
  readonly tensors: readonly TensorRange[];
  readonly sizeBytes: number;
}

/**
 * Lays tensors out in the order given, without gaps, behind a header padded with spaces to a multiple of 8 bytes.
 * JSON is put together by hand because objects would move names such as "0" to the front.
 */
export function layoutFile(tensors: readonly TensorSpec[], metadata: Readonly<Record<string, string>> = PYTORCH_METADATA): FileLayout {
  const entries: string[] = Object.keys(metadata).length === 0 ? [] : [`"__metadata__":${JSON.stringify(metadata)}`];
  const relative: TensorRange[] = [];
  let position = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = position + elementCount(shape) * DTYPE_BYTES[dtype];
    entries.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [position, end] })}`);
    relative.push({ name, dtype, shape, begin: position, end });
    position = end;
  }
  const header = frameHeader(`{${entries.join(",")}}`);
  const base = header.byteLength;
  return { header, tensors: relative.map((t) => ({ ...t, begin: base + t.begin, end: base + t.end })), sizeBytes: base + position };
}

function frameHeader(json: string): Uint8Array {
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.byteLength / 8) * 8;
  const header = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(text, LENGTH_BYTES);
  return header;
}

/** A whole small file in memory. `data` must have the length that shape and dtype imply. */
export function encodeSafetensors(tensors: readonly (TensorSpec & { readonly data: Uint8Array })[], metadata?: Readonly<Record<string, string>>): Uint8Array {
  const layout = layoutFile(tensors, metadata);
  const file = new Uint8Array(layout.sizeBytes);
  file.set(layout.header);
  for (const [i, { name, data }] of tensors.entries()) {
    const range = layout.tensors[i];
    if (range === undefined || data.byteLength !== range.end - range.begin)
      throw new RangeError(`tensor ${name}: ${data.byteLength} bytes do not fit its shape and dtype`);
    file.set(data, range.begin);
  }
  return file;
}
