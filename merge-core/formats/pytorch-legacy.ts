// Files of torch.save before 1.6, and of later versions on request: a magic number, a version, facts of the machine, the description of the
// tensors and the list of storages, each a pickle, one after the other; then each storage, its number of elements before its bytes.
import type { ByteSource, ReadOptions } from "../bytes/source.ts";
import { inputError, WeightsmithError } from "../diagnostics.ts";
import { DTYPE_BYTES } from "./dtypes.ts";
import { isDict, isList, type PickleValue, type PickleWorld, readLeadingPickle } from "./pickle.ts";
import type { TensorRange } from "./safetensors.ts";
import { MAX_PICKLE_BYTES, namedTensors, rangeOf, TorchWorld } from "./torch-pickle.ts";

/** 0x1950a86a20f9469cfc6c, then 1001, each as protocol 2 has it. */
const START = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e, 0x80, 2, 0x4d, 0xe9, 0x03, 0x2e];
/** Enough for the pickles of most models. */
const FIRST_READ_BYTES = 1 << 20;

export async function isLegacyPytorch(source: ByteSource, options?: ReadOptions): Promise<boolean> {
  const start = await source.read(0, Math.min(START.length, source.sizeBytes), options);
  return START.every((byte, i) => start[i] === byte);
}

interface Pickles {
  readonly root: PickleValue;
  readonly world: TorchWorld;
  /** Keys of the storages, in the order of their bytes. */
  readonly keys: readonly string[];
  readonly byteLength: number;
}

/**
 * The tensors of a file in the order of their bytes; touches none of their data.
 * @throws WeightsmithError `pytorch-*`, `pickle-*`
 */
export async function readLegacyHeader(source: ByteSource, options?: ReadOptions): Promise<TensorRange[]> {
  const { root, world, keys, byteLength } = await readPickles(source, options);
  const places = new Map<string, { start: number; sizeBytes: number }>();
  let at = byteLength;
  for (const key of keys) {
    const { dtype, count } = world.storages.get(key) ?? { dtype: undefined, count: 0 };
    const sizeBytes = count * (dtype === undefined ? 1 : DTYPE_BYTES[dtype]);
    const found = at + 8 + sizeBytes > source.sizeBytes ? undefined : await source.read(at, 8, options);
    if (found === undefined || new DataView(found.buffer, found.byteOffset, 8).getBigUint64(0, true) !== BigInt(count))
      throw inputError("pytorch-invalid", `storage ${key} is not where its file says`, {
        file: source.name,
        expected: `${count} elements at byte ${at}`,
        remedy: "the download is incomplete; get it again",
      });
    places.set(key, { start: at + 8, sizeBytes });
    at += 8 + sizeBytes;
  }
  const ranges = namedTensors(root, source.name).map(([name, tensor]) => {
    const place = places.get(tensor.storage.key);
    if (place === undefined) throw inputError("pytorch-invalid", `the file lacks the storage of tensor ${name}`, { file: source.name });
    return rangeOf(name, tensor, place, source.name);
  });
  return ranges.sort((a, b) => a.begin - b.begin || a.end - b.end);
}

/** Everything before the storages. */
export async function legacyHeaderBytes(source: ByteSource, options?: ReadOptions): Promise<Uint8Array> {
  return source.read(0, (await readPickles(source, options)).byteLength, options);
}

/** How long the pickles are is known only once they have been read: more is read until they end. */
async function readPickles(source: ByteSource, options?: ReadOptions): Promise<Pickles> {
  for (let length = FIRST_READ_BYTES; ; length *= 4) {
    const bytes = await source.read(0, Math.min(length, source.sizeBytes, MAX_PICKLE_BYTES), options);
    try {
      return parsePickles(bytes, source.name);
    } catch (error) {
      const isCut = error instanceof WeightsmithError && error.code === "pickle-truncated" && bytes.byteLength === length;
      if (!isCut) throw error;
    }
  }
}

function parsePickles(bytes: Uint8Array, file: string): Pickles {
  let at = START.length;
  const next = (world: PickleWorld): PickleValue => {
    const { value, length } = readLeadingPickle(bytes.subarray(at), file, world);
    at += length;
    return value;
  };
  const world = new TorchWorld(file);
  const facts = next(world);
  if (isDict(facts) && facts.entries.get("little_endian") === false)
    throw inputError("pytorch-byte-order", "tensors are stored big-endian", { file, remedy: "save the model on a little-endian machine" });
  const root = next(world);
  const keys = next(world);
  const isKey = (key: PickleValue): key is string => typeof key === "string";
  if (!isList(keys) || !keys.items.every(isKey)) throw inputError("pytorch-invalid", "the file has no list of its storages", { file });
  return { root, world, keys: keys.items.filter(isKey), byteLength: at };
}
