// Malformed safetensors files and indexes, each breaking one rule, with the code of the diagnostic that must come of it.

export interface HostileFile {
  readonly what: string;
  readonly code: string;
  readonly bytes: Uint8Array;
}

const utf8 = (text: string) => new TextEncoder().encode(text);

/** Length field, header and data as given: nothing is checked or padded. */
export function rawFile(header: string | Uint8Array, dataBytes = 0, length?: bigint): Uint8Array {
  const json = typeof header === "string" ? utf8(header) : header;
  const file = new Uint8Array(8 + json.byteLength + dataBytes);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(json.byteLength), true);
  file.set(json, 8);
  return file;
}

const entry = (dtype: unknown, shape: unknown, offsets: unknown) => JSON.stringify({ dtype, shape, data_offsets: offsets });
const one = (dtype: unknown, shape: unknown, offsets: unknown) => `{"a":${entry(dtype, shape, offsets)}}`;
const two = (first: number[], second: number[]) =>
  `{"a":${entry("F32", [((first[1] ?? 0) - (first[0] ?? 0)) / 4], first)},"b":${entry("F32", [((second[1] ?? 0) - (second[0] ?? 0)) / 4], second)}}`;

export const hostileSafetensors: readonly HostileFile[] = [
  { what: "no bytes at all", code: "safetensors-too-small", bytes: new Uint8Array(0) },
  { what: "seven bytes", code: "safetensors-too-small", bytes: new Uint8Array(7) },
  { what: "header length of 2^64 - 1", code: "safetensors-header-too-large", bytes: rawFile("{}", 0, 2n ** 64n - 1n) },
  { what: "header length one over the limit", code: "safetensors-header-too-large", bytes: rawFile("{}", 0, 100_000_001n) },
  { what: "header longer than the file", code: "safetensors-header-truncated", bytes: rawFile("{}", 0, 3n) },
  { what: "no header", code: "safetensors-header-start", bytes: rawFile("") },
  { what: "header that is a list", code: "safetensors-header-start", bytes: rawFile("[]") },
  { what: "header after a space", code: "safetensors-header-start", bytes: rawFile(" {}") },
  { what: "invalid UTF-8", code: "json-not-utf8", bytes: rawFile(Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d)) },
  { what: "cut JSON", code: "json-syntax", bytes: rawFile('{"a":') },
  { what: "unterminated string", code: "json-syntax", bytes: rawFile('{"a') },
  { what: "padding other than space", code: "json-syntax", bytes: rawFile("{}\0\0") },
  { what: "a million open brackets", code: "json-too-deep", bytes: rawFile(`{"a":${"[".repeat(1_000_000)}`) },
  { what: "a name twice", code: "json-duplicate-key", bytes: rawFile(`{"a":${entry("F32", [1], [0, 4])},"a":${entry("F32", [1], [0, 4])}}`, 4) },
  {
    what: "a name twice, once escaped",
    code: "json-duplicate-key",
    bytes: rawFile(`{"a":${entry("F32", [1], [0, 4])},"\\u0061":${entry("F32", [1], [0, 4])}}`, 4),
  },
  { what: "a key twice in one entry", code: "json-duplicate-key", bytes: rawFile('{"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}', 4) },
  { what: "metadata that holds a number", code: "safetensors-metadata-invalid", bytes: rawFile('{"__metadata__":{"a":1}}') },
  { what: "metadata that is a list", code: "safetensors-metadata-invalid", bytes: rawFile('{"__metadata__":["pt"]}') },
  { what: "entry that is null", code: "tensor-entry-invalid", bytes: rawFile('{"a":null}') },
  { what: "entry without a shape", code: "tensor-entry-invalid", bytes: rawFile('{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4) },
  { what: "entry with an extra key", code: "tensor-entry-invalid", bytes: rawFile('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}', 4) },
  { what: "unknown dtype", code: "dtype-unknown", bytes: rawFile(one("F4", [1], [0, 1]), 1) },
  { what: "dtype named like an object's method", code: "dtype-unknown", bytes: rawFile(one("constructor", [1], [0, 1]), 1) },
  { what: "dtype that is a number", code: "dtype-unknown", bytes: rawFile(one(32, [1], [0, 4]), 4) },
  { what: "negative dimension", code: "tensor-shape-invalid", bytes: rawFile(one("F32", [-1], [0, 4]), 4) },
  { what: "two negative dimensions", code: "tensor-shape-invalid", bytes: rawFile(one("F32", [-1, -1], [0, 4]), 4) },
  { what: "fractional dimension", code: "tensor-shape-invalid", bytes: rawFile(one("F32", [1.5], [0, 6]), 6) },
  { what: "dimension beyond 2^53", code: "tensor-shape-invalid", bytes: rawFile(one("U8", [2 ** 60], [0, 4]), 4) },
  { what: "dimension that is a string", code: "tensor-shape-invalid", bytes: rawFile(one("F32", ["1"], [0, 4]), 4) },
  { what: "65 dimensions", code: "tensor-shape-invalid", bytes: rawFile(one("F32", Array(65).fill(1), [0, 4]), 4) },
  { what: "negative offset", code: "tensor-offsets-invalid", bytes: rawFile(one("F32", [1], [-4, 0]), 4) },
  { what: "fractional offset", code: "tensor-offsets-invalid", bytes: rawFile(one("F32", [1], [0.5, 4.5]), 5) },
  { what: "three offsets", code: "tensor-offsets-invalid", bytes: rawFile(one("F32", [1], [0, 4, 8]), 8) },
  { what: "end before begin", code: "tensor-offsets-invalid", bytes: rawFile(one("F32", [1], [4, 0]), 4) },
  { what: "shape that overflows", code: "tensor-too-large", bytes: rawFile(one("F32", [2 ** 30, 2 ** 30], [0, 4]), 4) },
  { what: "overflow hidden by a zero", code: "tensor-too-large", bytes: rawFile(one("F32", [2 ** 30, 2 ** 30, 0], [0, 0])) },
  { what: "too few bytes for the shape", code: "tensor-size-mismatch", bytes: rawFile(one("F32", [2], [0, 4]), 4) },
  { what: "scalar with no bytes", code: "tensor-size-mismatch", bytes: rawFile(one("F32", [], [0, 0])) },
  { what: "tensor past the end", code: "safetensors-truncated", bytes: rawFile(one("F32", [2], [0, 8]), 7) },
  { what: "tensor far past the end", code: "safetensors-truncated", bytes: rawFile(one("U8", [2 ** 50], [0, 2 ** 50]), 8) },
  { what: "tensors sharing bytes", code: "tensor-overlap", bytes: rawFile(two([0, 8], [4, 12]), 12) },
  { what: "two names for the same bytes", code: "tensor-overlap", bytes: rawFile(two([0, 8], [0, 8]), 8) },
  { what: "gap between tensors", code: "tensor-gap", bytes: rawFile(two([0, 4], [8, 12]), 12) },
  { what: "gap before the first tensor", code: "tensor-gap", bytes: rawFile(one("F32", [1], [4, 8]), 8) },
  { what: "bytes after the last tensor", code: "safetensors-trailing-bytes", bytes: rawFile(one("F32", [1], [0, 4]), 5) },
  { what: "bytes after an empty header", code: "safetensors-trailing-bytes", bytes: rawFile("{}", 1) },
];

const shard = (name: unknown) => utf8(JSON.stringify({ metadata: {}, weight_map: { a: name } }));

export const hostileIndexes: readonly HostileFile[] = [
  { what: "no weight_map", code: "index-invalid", bytes: utf8('{"metadata":{}}') },
  { what: "a list", code: "index-invalid", bytes: utf8("[]") },
  { what: "an empty weight_map", code: "index-invalid", bytes: utf8('{"weight_map":{}}') },
  { what: "a shard that is a number", code: "index-invalid", bytes: shard(1) },
  { what: "a tensor twice", code: "json-duplicate-key", bytes: utf8('{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}') },
  { what: "deep nesting", code: "json-too-deep", bytes: utf8("[".repeat(100_000)) },
  ...[
    "../x.safetensors",
    "..",
    ".",
    "",
    "/etc/passwd",
    "sub/x.safetensors",
    "..\\x",
    "C:x",
    "C:\\x",
    "file:x",
    "https://host/x",
    "a\0b",
    "a\nb",
    "x".repeat(256),
  ].map((name) => ({
    what: `shard named ${JSON.stringify(name).slice(0, 40)}`,
    code: "shard-name-unsafe",
    bytes: shard(name),
  })),
];
