// What pickles of torch.save may say: tensors, the storages they lie in, dictionaries. Everything else is refused by name.
import { inputError, type WeightsmithError } from "../diagnostics.ts";
import { DTYPE_BYTES, type DType, elementCount } from "./dtypes.ts";
import { isDict, isList, isObject, type PickleDict, type PickleObject, type PickleValue, type PickleWorld } from "./pickle.ts";
import type { TensorRange } from "./safetensors.ts";

/** As for the header of safetensors. */
export const MAX_PICKLE_BYTES = 100_000_000;
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

/** Elements that lie together under a key of the file; untyped storages count bytes. */
export interface Storage {
  readonly type: "stored";
  readonly key: string;
  readonly dtype: DType | undefined;
  readonly count: number;
}

export interface StoredTensor {
  readonly type: "tensor";
  readonly storage: Storage;
  readonly dtype: DType;
  /** In elements. */
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** Everything that such a pickle may name; notes the storages it speaks of. */
export class TorchWorld implements PickleWorld {
  readonly storages = new Map<string, Storage>();

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
    const [tag, type, key, , count, view] = isList(id) ? id.items : [];
    const storage = isObject(type) ? (type.value as TorchName) : undefined;
    if (tag !== "storage" || storage?.type !== "storage" || typeof key !== "string" || !/^[\w.-]+$/.test(key) || !isCount(count) || (view ?? null) !== null)
      throw this.invalid("a storage");
    const stored: Storage = { type: "stored", key, dtype: storage.dtype, count };
    this.storages.set(key, stored);
    return { kind: "object", value: stored };
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
export function namedTensors(root: PickleValue, file: string): [string, StoredTensor][] {
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

/** Where a tensor lies in the file whose storage is at `place`. */
export function rangeOf(
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
