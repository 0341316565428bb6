// Files of torch.save (since 1.6): a zip archive of one pickle, which describes tensors, and one stored entry per storage.
// Tensors are read in place, like those of safetensors. The pickle may build tensors and nothing else.
import type { ByteSource, ReadOptions } from "../bytes/source.ts";
import { inputError } from "../diagnostics.ts";
import { readPickle } from "./pickle.ts";
import type { TensorRange } from "./safetensors.ts";
import { MAX_PICKLE_BYTES, namedTensors, rangeOf, TorchWorld } from "./torch-pickle.ts";
import { entryOffset, readZipDirectory, type ZipDirectory } from "./zip.ts";

const PICKLE = "data.pkl";

/**
 * The tensors of a file in the order of their bytes; touches none of their data.
 * @throws WeightsmithError `pytorch-*`, `pickle-*`, `zip-*`
 */
export async function readPytorchHeader(source: ByteSource, options?: ReadOptions): Promise<TensorRange[]> {
  const directory = await readZipDirectory(source, options);
  const prefix = findPrefix(directory, source);
  const read = (name: string, limit: number) => readEntry(source, directory, prefix + name, limit, options);
  if (directory.entries.has(`${prefix}byteorder`) && new TextDecoder().decode(await read("byteorder", 16)) !== "little")
    throw inputError("pytorch-byte-order", "tensors are stored big-endian", { file: source.name, remedy: "save the model on a little-endian machine" });
  const root = readPickle(await read(PICKLE, MAX_PICKLE_BYTES), source.name, new TorchWorld(source.name));
  const places = new Map<string, { start: number; sizeBytes: number }>();
  const ranges: TensorRange[] = [];
  for (const [name, tensor] of namedTensors(root, source.name)) {
    const { key } = tensor.storage;
    const place = places.get(key) ?? (await findStorage(source, directory, `${prefix}data/${key}`, options));
    places.set(key, place);
    ranges.push(rangeOf(name, tensor, place, source.name));
  }
  return ranges.sort((a, b) => a.begin - b.begin || a.end - b.end);
}

function findPrefix({ entries }: ZipDirectory, { name: file }: ByteSource): string {
  const pickles = [...entries.keys()].filter((name) => name === PICKLE || name.endsWith(`/${PICKLE}`));
  const [only] = pickles;
  if (only !== undefined && pickles.length === 1) return only.slice(0, -PICKLE.length);
  throw inputError("pytorch-invalid", "the archive is not a file of torch.save", {
    file,
    found: pickles.length === 0 ? [...entries.keys()].slice(0, 5).join(", ") : pickles.slice(0, 5).join(", "),
    expected: `one ${PICKLE}`,
  });
}

async function readEntry(source: ByteSource, directory: ZipDirectory, name: string, limit: number, options?: ReadOptions): Promise<Uint8Array> {
  const { start, sizeBytes } = await findStorage(source, directory, name, options);
  if (sizeBytes > limit)
    throw inputError("pickle-too-large", `${name} is larger than that of any model`, {
      file: source.name,
      found: `${sizeBytes} bytes`,
      expected: `at most ${limit}`,
    });
  return source.read(start, sizeBytes, options);
}

async function findStorage(source: ByteSource, directory: ZipDirectory, name: string, options?: ReadOptions): Promise<{ start: number; sizeBytes: number }> {
  const entry = directory.entries.get(name);
  if (entry === undefined) throw inputError("pytorch-invalid", `the archive lacks ${name}, which its pickle names`, { file: source.name });
  return { start: await entryOffset(source, directory, entry, options), sizeBytes: entry.sizeBytes };
}
