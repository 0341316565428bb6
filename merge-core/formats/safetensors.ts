// Reading safetensors: u64 little-endian header length, JSON header, tensor bytes without gaps.
// Parse, don't validate: a SafetensorsHeader exists only if every rule of the format held.
import type { ByteSource, ReadOptions } from "../bytes/source.ts";
import { inputError } from "../diagnostics.ts";
import { DTYPE_BYTES, type DType, isDType } from "./dtypes.ts";
import { isRecord, parseJsonBytes } from "./json.ts";

/** The limit of the reference implementation; a header of a 1000-layer model stays under 1 MB. It bounds what a lying length can make us allocate. */
export const MAX_HEADER_BYTES = 100_000_000;
/** File > entry > shape is 3 levels; nothing legal is deeper. */
const MAX_HEADER_DEPTH = 4;
/** Far above what any framework supports. */
const MAX_DIMENSIONS = 64;
/** Width of the length field. */
export const LENGTH_BYTES = 8;

/** One tensor; offsets are absolute in the file, `end` is exclusive. */
export interface TensorRange {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order in which their bytes lie. */
  readonly tensors: readonly TensorRange[];
  readonly metadata: Readonly<Record<string, string>>;
  /** Where tensor bytes start. */
  readonly dataOffset: number;
}

/**
 * Reads and checks a header; touches no tensor bytes.
 * @throws WeightsmithError with a code of its own for every rule broken: `safetensors-*`, `tensor-*`, `dtype-unknown`, `json-*`
 */
export async function readHeader(source: ByteSource, options?: ReadOptions): Promise<SafetensorsHeader> {
  const dataOffset = LENGTH_BYTES + (await readHeaderLength(source, options));
  const bytes = await source.read(LENGTH_BYTES, dataOffset - LENGTH_BYTES, options);
  if (bytes[0] !== 0x7b)
    throw inputError("safetensors-header-start", "header does not start with {", { file: source.name, remedy: "is this a safetensors file?" });
  const json = parseJsonBytes(bytes, source.name, { maxBytes: MAX_HEADER_BYTES, maxDepth: MAX_HEADER_DEPTH }) as Record<string, unknown>;
  const { __metadata__: metadata } = json;
  const names = Object.keys(json).filter((name) => name !== "__metadata__");
  const tensors = names.map((name) => parseEntry(name, json[name], dataOffset, source.name));
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkTiling(tensors, dataOffset, source);
  return { tensors, metadata: parseMetadata(metadata, source.name), dataOffset };
}

async function readHeaderLength(source: ByteSource, options?: ReadOptions): Promise<number> {
  const file = source.name;
  if (source.sizeBytes < LENGTH_BYTES)
    throw inputError("safetensors-too-small", "too small for a safetensors file", { file, found: `${source.sizeBytes} bytes`, expected: "at least 8" });
  const bytes = await source.read(0, LENGTH_BYTES, options);
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw inputError("safetensors-header-too-large", "header length beyond the limit", {
      file,
      found: `${length} bytes`,
      expected: `at most ${MAX_HEADER_BYTES}`,
      remedy: "is this a safetensors file?",
    });
  }
  if (LENGTH_BYTES + Number(length) > source.sizeBytes) {
    throw inputError("safetensors-header-truncated", "file ends inside its header", {
      file,
      found: `${source.sizeBytes} bytes`,
      expected: `at least ${LENGTH_BYTES + Number(length)}`,
      remedy: "the download is incomplete; get it again",
    });
  }
  return Number(length);
}

function parseMetadata(value: unknown, file: string): Record<string, string> {
  if (value === undefined) return {};
  if (isRecord(value) && Object.values(value).every((v) => typeof v === "string")) return value as Record<string, string>;
  throw inputError("safetensors-metadata-invalid", "__metadata__ is not a map of strings", { file });
}

/** One tensor's header, made absolute. */
function parseEntry(name: string, entry: unknown, dataOffset: number, file: string): TensorRange {
  const fail = (code: string, message: string, found: unknown, expected: string) =>
    inputError(code, `tensor ${name}: ${message}`, { file, found: JSON.stringify(found), expected });
  if (!isRecord(entry) || !hasExactly(entry, ENTRY_KEYS))
    throw fail("tensor-entry-invalid", "malformed header entry", entry, "exactly dtype, shape and data_offsets");
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !isDType(dtype)) throw fail("dtype-unknown", "unknown dtype", dtype, Object.keys(DTYPE_BYTES).join(", "));
  if (!isCountList(shape) || shape.length > MAX_DIMENSIONS)
    throw fail("tensor-shape-invalid", "shape is not a list of whole numbers", shape, `at most ${MAX_DIMENSIONS} numbers, each 0 or more`);
  if (!isCountList(offsets) || offsets.length !== 2)
    throw fail("tensor-offsets-invalid", "data_offsets is not a pair of whole numbers", offsets, "[begin, end]");
  const [begin = 0, end = 0] = offsets;
  if (begin > end) throw fail("tensor-offsets-invalid", "data ends before it begins", offsets, "begin <= end");
  const bytes = tensorBytes(shape, dtype);
  if (!Number.isSafeInteger(bytes)) throw fail("tensor-too-large", "size overflows", shape, "fewer than 2^53 bytes");
  if (bytes !== end - begin)
    throw fail("tensor-size-mismatch", "shape and dtype do not match the bytes", end - begin, `${bytes} bytes for ${dtype} [${shape.join(", ")}]`);
  return { name, dtype, shape, begin: dataOffset + begin, end: dataOffset + end };
}

const ENTRY_KEYS = ["dtype", "shape", "data_offsets"];

function hasExactly(entry: Readonly<Record<string, unknown>>, keys: readonly string[]): boolean {
  return Object.keys(entry).length === keys.length && keys.every((key) => Object.hasOwn(entry, key));
}

function isCountList(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

/** Bytes of a tensor, or NaN if the exact number cannot be held; a product once past 2^53 never comes back, unless by a zero, which is refused too. */
function tensorBytes(shape: readonly number[], dtype: DType): number {
  return [...shape, DTYPE_BYTES[dtype]].reduce((product, n) => (Number.isSafeInteger(product * n) ? product * n : Number.NaN), 1);
}

/** Tensors must cover the data from its start to the end of the file, each byte once: no smuggled bytes, no shared ones. */
function checkTiling(tensors: readonly TensorRange[], dataOffset: number, source: ByteSource): void {
  const file = source.name;
  let position = dataOffset;
  for (const { name, begin, end } of tensors) {
    const found = `bytes ${begin} to ${end}`;
    if (end > source.sizeBytes) {
      throw inputError("safetensors-truncated", `tensor ${name} lies beyond the end of the file`, {
        file,
        found: `${source.sizeBytes} bytes`,
        expected: `at least ${end}`,
        remedy: "the download is incomplete; get it again",
      });
    }
    if (begin < position) throw inputError("tensor-overlap", `tensor ${name} overlaps the one before it`, { file, found, expected: `start at ${position}` });
    if (begin > position) throw inputError("tensor-gap", `unused bytes before tensor ${name}`, { file, found, expected: `start at ${position}` });
    position = end;
  }
  if (position < source.sizeBytes)
    throw inputError("safetensors-trailing-bytes", "bytes after the last tensor", { file, found: `${source.sizeBytes} bytes`, expected: `${position}` });
}
