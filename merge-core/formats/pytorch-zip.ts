// Files of torch.save (since 1.6): a zip archive of one pickle, which describes tensors, and one stored entry per storage.
// Tensors are read in place, like those of safetensors. The pickle may build tensors and nothing else.
import type { ByteSource, ReadOptions } from "../bytes/source.ts";
import { inputError, type WeightsmithError } from "../diagnostics.ts";
import { DTYPE_BYTES, type DType, elementCount } from "./dtypes.ts";
import { isDict, isList, isObject, type PickleDict, type PickleObject, type PickleValue, type PickleWorld, readPickle } from "./pickle.ts";
import type { TensorRange } from "./safetensors.ts";
import { entryOffset, readZipDirectory, type ZipDirectory } from "./zip.ts";

const PICKLE = "data.pkl";
/** As for the header of safetensors. */
const MAX_PICKLE_BYTES = 100_000_000;
const MAX_DIMENSIONS = 64;

const STORAGES: Readonly<Record<string, DType>> = {
  DoubleStorage: "F64",
  FloatStorage: "F32",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
};
const DTYPES: Readonly<Record<string, DType>> = {
  float64: "F64",
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
  float8_e4m3fn: "F8_E4M3",
  float8_e5m2: "F8_E5M2",
  int64: "I64",
  int32: "I32",
  int16: "I16",
  int8: "I8",
  uint8: "U8",
  bool: "BOOL",
};
/** Keys under which training programs keep the weights beside other things. */
const NESTED = ["state_dict", "model_state_dict", "model", "module"];

/** The names a pickle of tensors uses, each with what it stands for here. */
type TorchName =
  | { readonly type: "storage"; readonly dtype: DType | undefined }
  | { readonly type: "dtype"; readonly dtype: DType }
  | { readonly type: "rebuild"; readonly version: 2 | 3 }
  | { readonly type: "parameter" | "dict" | "size" };

/** Elements in an entry of the archive; untyped storages count bytes. */
interface Storage {
  readonly type: "stored";
  readonly key: string;
  readonly dtype: DType | undefined;
  readonly count: number;
}

interface StoredTensor {
  readonly type: "tensor";
  readonly storage: Storage;
  readonly dtype: DType;
  /** In elements. */
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

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

class TorchWorld implements PickleWorld {
  constructor(private readonly file: string) {}

  global(module: string, name: string): PickleObject {
    const known = torchName(module, name);
    if (known !== undefined) return { kind: "object", value: known };
    throw inputError("pickle-global-refused", "the file asks for code that is not needed to hold tensors", {
      file: this.file,
      found: `${module}.${name}`.slice(0, 200),
      expected: "tensors, storages and dictionaries of torch",
      remedy: "do not load this file elsewhere unless you trust it; ask for safetensors",
    });
  }

  call({ value }: PickleObject, args: readonly PickleValue[]): PickleValue {
    const callee = value as TorchName;
    if (callee.type === "rebuild") return { kind: "object", value: this.rebuild(callee.version, args) };
    if (callee.type === "parameter" && isObject(args[0])) return args[0];
    if (callee.type === "size" && isList(args[0])) return args[0];
    if (callee.type === "dict") return this.dictionary(args[0]);
    throw this.invalid(`a call of ${callee.type}`);
  }

  persistent(id: PickleValue): PickleValue {
    const [tag, type, key, , count] = isList(id) ? id.items : [];
    const storage = isObject(type) ? (type.value as TorchName) : undefined;
    if (tag !== "storage" || storage?.type !== "storage" || typeof key !== "string" || !/^[\w.-]+$/.test(key) || !isCount(count))
      throw this.invalid("a storage");
    return { kind: "object", value: { type: "stored", key, dtype: storage.dtype, count } satisfies Storage };
  }

  private dictionary(pairs: PickleValue | undefined): PickleValue {
    const entries = new Map<PickleValue, PickleValue>();
    for (const pair of isList(pairs) ? pairs.items : []) {
      if (!isList(pair) || pair.items.length !== 2) throw this.invalid("a dictionary");
      entries.set(pair.items[0] ?? null, pair.items[1] ?? null);
    }
    return { kind: "dict", entries };
  }

  /** `(storage, offset, size, stride, requires_grad, hooks[, dtype])`. */
  private rebuild(version: 2 | 3, [stored, offset, size, stride, , , type]: readonly PickleValue[]): StoredTensor {
    const storage = isObject(stored) ? (stored.value as Storage) : undefined;
    const named = isObject(type) ? (type.value as TorchName) : undefined;
    const dtype = version === 3 && named?.type === "dtype" ? named.dtype : storage?.dtype;
    const [shape, strides] = [countsOf(size), countsOf(stride)];
    const whole = storage?.type === "stored" && dtype !== undefined && isCount(offset) && shape !== undefined && strides?.length === shape.length;
    if (!whole) throw this.invalid("a tensor");
    return { type: "tensor", storage, dtype, offset, shape, strides };
  }

  private invalid(what: string): WeightsmithError {
    return inputError("pytorch-invalid", `the pickle describes ${what} in a way that torch does not`, { file: this.file });
  }
}

function torchName(module: string, name: string): TorchName | undefined {
  const own = <T>(table: Readonly<Record<string, T>>): T | undefined => (Object.hasOwn(table, name) ? table[name] : undefined);
  const storage = own(STORAGES);
  const dtype = own(DTYPES);
  if (module === "torch" && storage !== undefined) return { type: "storage", dtype: storage };
  if (module === "torch.storage" && name === "UntypedStorage") return { type: "storage", dtype: undefined };
  if (module === "torch" && dtype !== undefined) return { type: "dtype", dtype };
  switch (`${module}.${name}`) {
    case "torch._utils._rebuild_tensor_v2":
      return { type: "rebuild", version: 2 };
    case "torch._utils._rebuild_tensor_v3":
      return { type: "rebuild", version: 3 };
    case "torch._utils._rebuild_parameter":
      return { type: "parameter" };
    case "collections.OrderedDict":
      return { type: "dict" };
    case "torch.Size":
      return { type: "size" };
    default:
      return undefined;
  }
}

const isCount = (value: PickleValue | undefined): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

function countsOf(value: PickleValue | undefined): number[] | undefined {
  if (!isList(value) || value.items.length > MAX_DIMENSIONS) return undefined;
  const counts = value.items.filter(isCount);
  return counts.length === value.items.length ? counts : undefined;
}

/** The tensors of the dictionary that holds the weights: the outermost one, or one that it keeps under a usual key. */
function namedTensors(root: PickleValue, file: string): [string, StoredTensor][] {
  const inner = isDict(root) ? NESTED.map((key) => root.entries.get(key)).find((value) => isDict(value) && tensorsIn(value).length > 0) : undefined;
  const own = isDict(root) ? tensorsIn(root) : [];
  const tensors = own.length === 0 && isDict(inner) ? tensorsIn(inner) : own;
  if (tensors.length > 0) return tensors;
  throw inputError("pytorch-without-tensors", "the file holds no named tensors", { file, expected: "a dictionary of tensors, as model.state_dict() gives" });
}

function tensorsIn({ entries }: PickleDict): [string, StoredTensor][] {
  return [...entries].flatMap(([name, value]): [string, StoredTensor][] => {
    const tensor = isObject(value) ? (value.value as TorchName | Storage | StoredTensor) : undefined;
    return typeof name === "string" && tensor?.type === "tensor" ? [[name, tensor]] : [];
  });
}

function rangeOf(
  name: string,
  { dtype, storage, offset, shape, strides }: StoredTensor,
  place: { start: number; sizeBytes: number },
  file: string,
): TensorRange {
  const width = DTYPE_BYTES[dtype];
  const [first, length] = [offset * width, elementCount(shape) * width];
  if (!Number.isSafeInteger(first + length) || first + length > Math.min(place.sizeBytes, storage.count * (storage.dtype === undefined ? 1 : width)))
    throw inputError("pytorch-invalid", `tensor ${name} lies outside its storage`, {
      file,
      found: `${first + length} bytes`,
      expected: `at most ${place.sizeBytes}`,
    });
  if (!isRowMajor(shape, strides))
    throw inputError("pytorch-strided", `tensor ${name} is not stored row by row`, {
      file,
      found: `strides [${strides.join(", ")}] for [${shape.join(", ")}]`,
      remedy: "save the model again with contiguous tensors, or convert it to safetensors",
    });
  return { name, dtype, shape, begin: place.start + first, end: place.start + first + length };
}

/** Strides of dimensions of size 1 mean nothing, nor do any of an empty tensor. */
function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  if (shape.includes(0)) return true;
  let expected = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    const size = shape[d] ?? 0;
    if (size > 1 && strides[d] !== expected) return false;
    expected *= size;
  }
  return true;
}
