// The directory of a zip archive whose entries are stored as they are, so that their bytes can be read in place.
import type { ByteSource, ReadOptions } from "../bytes/source.ts";
import { inputError } from "../diagnostics.ts";

export interface ZipEntry {
  readonly name: string;
  /** Where the entry's own header starts; its bytes follow that. */
  readonly headerOffset: number;
  readonly sizeBytes: number;
}

export interface ZipDirectory {
  readonly entries: ReadonlyMap<string, ZipEntry>;
  /** Where the directory starts: every entry ends before it. */
  readonly offset: number;
}

const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const END_BYTES = 22;
const LOCATOR_BYTES = 20;
const END64_BYTES = 56;
const MAX_COMMENT_BYTES = 65_535;
/** Some hundred bytes for each of the tensors of the largest models. */
const MAX_DIRECTORY_BYTES = 100_000_000;

const invalid = (source: ByteSource, message: string, found?: string) =>
  inputError("zip-invalid", message, {
    file: source.name,
    ...(found === undefined ? {} : { found }),
    remedy: "the download is incomplete or damaged; get it again",
  });

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** @throws WeightsmithError `zip-invalid`, `zip-compressed` */
export async function readZipDirectory(source: ByteSource, options?: ReadOptions): Promise<ZipDirectory> {
  const { offset, length, count } = await findDirectory(source, options);
  if (length > MAX_DIRECTORY_BYTES) throw invalid(source, "the archive's directory is larger than that of any model", `${length} bytes`);
  const bytes = await source.read(offset, length, options);
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    const { entry, end } = readCentral(source, bytes, at, offset);
    if (entries.has(entry.name)) throw invalid(source, "an archive entry occurs twice", entry.name);
    entries.set(entry.name, entry);
    at = end;
  }
  return { entries, offset };
}

/** The end record lies within the last 64 KiB; of files over 4 GiB another one before it holds the numbers. */
async function findDirectory(source: ByteSource, options?: ReadOptions): Promise<{ offset: number; length: number; count: number }> {
  const tailBytes = Math.min(source.sizeBytes, END_BYTES + MAX_COMMENT_BYTES + LOCATOR_BYTES);
  const tail = viewOf(await source.read(source.sizeBytes - tailBytes, tailBytes, options));
  let end = tailBytes - END_BYTES;
  while (end >= 0 && !(tail.getUint32(end, true) === END && end + END_BYTES + tail.getUint16(end + 20, true) === tailBytes)) end--;
  if (end < 0) throw invalid(source, "the file is not a whole zip archive");
  const found = { offset: tail.getUint32(end + 16, true), length: tail.getUint32(end + 12, true), count: tail.getUint16(end + 10, true) };
  const wide = end >= LOCATOR_BYTES && tail.getUint32(end - LOCATOR_BYTES, true) === LOCATOR64;
  const directory = wide ? await readEnd64(source, Number(tail.getBigUint64(end - LOCATOR_BYTES + 8, true)), options) : found;
  if (directory.offset + directory.length <= source.sizeBytes) return directory;
  throw invalid(source, "the archive's directory lies outside the file", `bytes ${directory.offset} to ${directory.offset + directory.length}`);
}

async function readEnd64(source: ByteSource, at: number, options?: ReadOptions): Promise<{ offset: number; length: number; count: number }> {
  if (at + END64_BYTES > source.sizeBytes) throw invalid(source, "the archive's end record lies outside the file");
  const view = viewOf(await source.read(at, END64_BYTES, options));
  if (view.getUint32(0, true) !== END64) throw invalid(source, "the archive's end record is damaged");
  return { offset: Number(view.getBigUint64(48, true)), length: Number(view.getBigUint64(40, true)), count: Number(view.getBigUint64(32, true)) };
}

function readCentral(source: ByteSource, bytes: Uint8Array, at: number, directory: number): { entry: ZipEntry; end: number } {
  const view = viewOf(bytes);
  if (at + 46 > bytes.byteLength || view.getUint32(at, true) !== CENTRAL) throw invalid(source, "the archive's directory is damaged");
  const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) => view.getUint16(at + field, true)) as [number, number, number];
  const extraAt = at + 46 + nameBytes;
  const end = extraAt + extraBytes + commentBytes;
  if (end > bytes.byteLength) throw invalid(source, "the archive's directory is damaged");
  const name = new TextDecoder().decode(bytes.subarray(at + 46, extraAt));
  if (view.getUint16(at + 10, true) !== 0 || view.getUint16(at + 8, true) & 1)
    throw inputError("zip-compressed", `archive entry ${name} is compressed or encrypted`, {
      file: source.name,
      expected: "entries stored as they are, as torch.save writes them",
      remedy: "save the model again with torch.save, or convert it to safetensors",
    });
  const small = { stored: view.getUint32(at + 20, true), size: view.getUint32(at + 24, true), offset: view.getUint32(at + 42, true) };
  const { stored, size, offset } = widen(view, extraAt, extraBytes, small);
  if (stored !== size || offset + size > directory) throw invalid(source, `archive entry ${name} lies outside the file`, `${size} bytes at ${offset}`);
  return { entry: { name, headerOffset: offset, sizeBytes: size }, end };
}

interface Extent {
  readonly stored: number;
  readonly size: number;
  readonly offset: number;
}

/** Numbers that do not fit 32 bits stand in an extra field, in this order, those that do are left out. */
function widen(view: DataView, start: number, length: number, small: Extent): Extent {
  const wide = { ...small };
  for (let at = start; at + 4 <= start + length; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== 1) continue;
    let field = at + 4;
    for (const key of ["size", "stored", "offset"] as const) {
      if (small[key] !== 0xffffffff || field + 8 > start + length) continue;
      wide[key] = Number(view.getBigUint64(field, true));
      field += 8;
    }
  }
  return wide;
}

/** Where an entry's bytes start; its own header must agree with the directory. @throws WeightsmithError `zip-invalid` */
export async function entryOffset(
  source: ByteSource,
  directory: ZipDirectory,
  { name, headerOffset, sizeBytes }: ZipEntry,
  options?: ReadOptions,
): Promise<number> {
  const nameBytes = new TextEncoder().encode(name);
  const length = 30 + nameBytes.byteLength;
  if (headerOffset + length > directory.offset) throw invalid(source, `archive entry ${name} lies outside the file`);
  const bytes = await source.read(headerOffset, length, options);
  const view = viewOf(bytes);
  const same =
    view.getUint32(0, true) === LOCAL && view.getUint16(26, true) === nameBytes.byteLength && bytes.subarray(30).every((byte, i) => byte === nameBytes[i]);
  const start = headerOffset + length + view.getUint16(28, true);
  if (same && view.getUint16(8, true) === 0 && start + sizeBytes <= directory.offset) return start;
  throw invalid(source, `the header of archive entry ${name} is not what the directory says`);
}
