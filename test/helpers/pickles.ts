// PyTorch files put together byte by byte: honest ones, and hostile ones with the code of the diagnostic that must come of each.
import { crc32 } from "node:zlib";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

export function join(...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

const little = (value: number, bytes: number): number[] => Array.from({ length: bytes }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);

export interface ZipPart {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** What the headers say instead of the truth. */
  readonly method?: number;
  readonly flags?: number;
  readonly claimedSize?: number;
  readonly localName?: string;
  /** Write sizes and offset as 64-bit numbers. */
  readonly wide?: boolean;
}

/** A zip archive with stored entries. */
export function zipFile(parts: readonly ZipPart[]): Uint8Array {
  const pieces: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const { name, bytes, method = 0, flags = 0, claimedSize = bytes.length, localName = name, wide = false } of parts) {
    const sums = [...little(crc(bytes), 4), ...little(wide ? 0xffffffff : claimedSize, 4), ...little(wide ? 0xffffffff : claimedSize, 4)];
    const shared = [...little(flags, 2), ...little(method, 2), 0, 0, 0, 0, ...sums];
    const local = join([0x50, 0x4b, 3, 4, 45, 0, ...shared, ...little(utf8(localName).length, 2), 0, 0], utf8(localName), bytes);
    const extra = wide ? [1, 0, 24, 0, ...little(claimedSize, 8), ...little(claimedSize, 8), ...little(offset, 8)] : [];
    const lengths = [...little(utf8(name).length, 2), ...little(extra.length, 2), ...Array(10).fill(0)];
    directory.push(join([0x50, 0x4b, 1, 2, 45, 0, 45, 0, ...shared, ...lengths, ...little(wide ? 0xffffffff : offset, 4)], utf8(name), extra));
    pieces.push(local);
    offset += local.length;
  }
  const central = join(...directory);
  const end = [0x50, 0x4b, 5, 6, 0, 0, 0, 0, ...little(parts.length, 2), ...little(parts.length, 2), ...little(central.length, 4), ...little(offset, 4), 0, 0];
  return join(...pieces, central, end);
}

const crc = (bytes: Uint8Array): number => (typeof crc32 === "function" ? crc32(bytes) : 0);

/** Pickle instructions by what they do. */
export const op = {
  proto: [0x80, 2],
  stop: [0x2e],
  mark: [0x28],
  dict: [0x7d],
  list: [0x5d],
  none: [0x4e],
  emptyTuple: [0x29],
  setItems: [0x75],
  tuple: [0x74],
  tuple1: [0x85],
  reduce: [0x52],
  build: [0x62],
  persistent: [0x51],
  global: (module: string, name: string) => [0x63, ...utf8(`${module}\n${name}\n`)],
  text: (text: string) => [0x58, ...little(utf8(text).length, 4), ...utf8(text)],
  int: (value: number) => [0x4a, ...little(value, 4)],
  put: (index: number) => [0x71, index],
  get: (index: number) => [0x68, index],
};

/** `(storage, type, key, location, count)` and the instruction that asks for it. */
export const storage = (type: string, key: string, count: number): number[] => [
  ...op.mark,
  ...op.text("storage"),
  ...op.global("torch", type),
  ...op.text(key),
  ...op.text("cpu"),
  ...op.int(count),
  ...op.tuple,
  ...op.persistent,
];

/** A call of `_rebuild_tensor_v2`. */
export function tensor(store: readonly number[], offset: number, shape: readonly number[], strides: readonly number[]): number[] {
  const counts = (list: readonly number[]) => [...op.mark, ...list.flatMap(op.int), ...op.tuple];
  const hooks = [...op.global("collections", "OrderedDict"), ...op.emptyTuple, ...op.reduce];
  const args = [...op.mark, ...store, ...op.int(offset), ...counts(shape), ...counts(strides), 0x89, ...hooks, ...op.tuple];
  return [...op.global("torch._utils", "_rebuild_tensor_v2"), ...args, ...op.reduce];
}

/** A pickle of a dictionary with one entry `w`. */
export const pickleOf = (value: readonly number[]): Uint8Array => join(op.proto, op.dict, op.mark, op.text("w"), value, op.setItems, op.stop);

export function torchFile(pickle: Uint8Array, data: readonly number[] = [], more: readonly ZipPart[] = []): Uint8Array {
  return zipFile([{ name: "archive/data.pkl", bytes: pickle }, { name: "archive/data/0", bytes: Uint8Array.from(data) }, ...more]);
}

const four = storage("FloatStorage", "0", 4);
const sixteen = Array<number>(16).fill(0);
const good = pickleOf(tensor(four, 0, [2, 2], [2, 1]));
const calling = (module: string, name: string): Uint8Array =>
  torchFile(pickleOf([...op.global(module, name), ...op.mark, ...op.text("x"), ...op.tuple, ...op.reduce]));
const repeated = (code: readonly number[], times: number): Uint8Array => {
  const bytes = new Uint8Array(code.length * times);
  for (let i = 0; i < times; i++) bytes.set(code, i * code.length);
  return bytes;
};
/** Like `join`, without spreading large parts. */
function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}
const start = Uint8Array.from(op.proto);
const stop = Uint8Array.from(op.stop);
const large = (...pickle: readonly Uint8Array[]): Uint8Array =>
  new Uint8Array(Buffer.concat([zipHeadOf("archive/data.pkl", concat(...pickle)), zipTailOf("archive/data.pkl", concat(...pickle))]));

function zipHeadOf(name: string, bytes: Uint8Array): Uint8Array {
  const sizes = [...little(0, 4), ...little(bytes.length, 4), ...little(bytes.length, 4)];
  return new Uint8Array(Buffer.concat([join([0x50, 0x4b, 3, 4, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...sizes, ...little(name.length, 2), 0, 0], utf8(name)), bytes]));
}

function zipTailOf(name: string, bytes: Uint8Array): Uint8Array {
  const sizes = [...little(0, 4), ...little(bytes.length, 4), ...little(bytes.length, 4)];
  const offset = 30 + name.length + bytes.length;
  const central = join([0x50, 0x4b, 1, 2, 45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...sizes, ...little(name.length, 2), ...Array(16).fill(0)], utf8(name));
  return join(central, [0x50, 0x4b, 5, 6, 0, 0, 0, 0, 1, 0, 1, 0, ...little(central.length, 4), ...little(offset, 4), 0, 0]);
}

export interface HostilePytorch {
  readonly what: string;
  readonly code: string;
  readonly bytes: Uint8Array;
}

/** Made when asked for: some are large. */
export function hostilePytorch(): HostilePytorch[] {
  return [
    { what: "os.system", code: "pickle-global-refused", bytes: calling("os", "system") },
    { what: "posix.system", code: "pickle-global-refused", bytes: calling("posix", "system") },
    { what: "builtins.eval", code: "pickle-global-refused", bytes: calling("builtins", "eval") },
    { what: "builtins.getattr", code: "pickle-global-refused", bytes: calling("builtins", "getattr") },
    { what: "subprocess.Popen", code: "pickle-global-refused", bytes: calling("subprocess", "Popen") },
    { what: "a getattr chain through an allowed module", code: "pickle-global-refused", bytes: calling("torch._utils", "_rebuild_tensor_v2.__globals__") },
    { what: "a name of every object", code: "pickle-global-refused", bytes: calling("torch", "constructor") },
    { what: "torch.load itself", code: "pickle-global-refused", bytes: calling("torch", "load") },
    { what: "a module object", code: "pickle-global-refused", bytes: calling("torch.nn.modules.linear", "Linear") },
    {
      what: "os.system by STACK_GLOBAL",
      code: "pickle-global-refused",
      bytes: torchFile(join(op.proto, [0x8c, 2], utf8("os"), [0x8c, 6], utf8("system"), [0x93], op.stop)),
    },
    { what: "INST", code: "pickle-instruction-refused", bytes: torchFile(join(op.proto, op.mark, [0x69], utf8("os\nsystem\n"), op.stop)) },
    { what: "OBJ", code: "pickle-instruction-refused", bytes: torchFile(join(op.proto, op.mark, [0x6f], op.stop)) },
    { what: "NEWOBJ", code: "pickle-instruction-refused", bytes: torchFile(join(op.proto, op.emptyTuple, [0x81], op.stop)) },
    { what: "EXT1", code: "pickle-instruction-refused", bytes: torchFile(join(op.proto, [0x82, 1], op.stop)) },
    { what: "DUP", code: "pickle-instruction-refused", bytes: torchFile(join(op.proto, op.list, [0x32], op.stop)) },
    { what: "state set on a tensor", code: "pickle-instruction-refused", bytes: torchFile(pickleOf([...tensor(four, 0, [4], [1]), ...op.dict, ...op.build])) },
    { what: "a called storage", code: "pytorch-invalid", bytes: torchFile(pickleOf([...op.global("torch", "FloatStorage"), ...op.emptyTuple, ...op.reduce])) },
    { what: "a called tensor", code: "pytorch-invalid", bytes: torchFile(pickleOf([...tensor(four, 0, [4], [1]), ...op.emptyTuple, ...op.reduce]), sixteen) },
    { what: "a called text", code: "pickle-invalid", bytes: torchFile(pickleOf([...op.text("x"), ...op.emptyTuple, ...op.reduce])) },
    { what: "a storage path that climbs", code: "pytorch-invalid", bytes: torchFile(pickleOf(tensor(storage("FloatStorage", "../../x", 4), 0, [4], [1]))) },
    { what: "a storage that is not there", code: "pytorch-invalid", bytes: torchFile(pickleOf(tensor(storage("FloatStorage", "7", 4), 0, [4], [1]))) },
    { what: "a complex storage", code: "pickle-global-refused", bytes: torchFile(pickleOf(tensor(storage("ComplexFloatStorage", "0", 4), 0, [4], [1]))) },
    { what: "a tensor beyond its storage", code: "pytorch-invalid", bytes: torchFile(pickleOf(tensor(four, 1, [4], [1])), sixteen) },
    {
      what: "a storage beyond its entry",
      code: "pytorch-invalid",
      bytes: torchFile(pickleOf(tensor(storage("FloatStorage", "0", 400), 0, [400], [1])), sixteen),
    },
    {
      what: "a size that overflows",
      code: "pytorch-invalid",
      bytes: torchFile(pickleOf(tensor(four, 0, Array<number>(60).fill(2 ** 30), Array<number>(60).fill(0)))),
    },
    { what: "one element shown as many", code: "pytorch-strided", bytes: torchFile(pickleOf(tensor(four, 0, [2, 2], [0, 1])), sixteen) },
    { what: "columns for rows", code: "pytorch-strided", bytes: torchFile(pickleOf(tensor(four, 0, [2, 2], [1, 2])), sixteen) },
    { what: "a negative size", code: "pytorch-invalid", bytes: torchFile(pickleOf(tensor(four, 0, [-2], [1])), sixteen) },
    { what: "no stop", code: "pickle-truncated", bytes: torchFile(join(op.proto, op.dict)) },
    { what: "text longer than the pickle", code: "pickle-truncated", bytes: torchFile(join(op.proto, [0x58, 0xff, 0xff, 0, 0], op.stop)) },
    { what: "text of 4 GiB", code: "pickle-invalid", bytes: torchFile(join(op.proto, [0x58, 0xff, 0xff, 0xff, 0xff], op.stop)) },
    { what: "a number of 255 bytes", code: "pickle-invalid", bytes: torchFile(join(op.proto, [0x8a, 255], Array<number>(255).fill(1), op.stop)) },
    { what: "an empty stack", code: "pickle-invalid", bytes: torchFile(join(op.proto, op.stop)) },
    { what: "a mark that is not there", code: "pickle-invalid", bytes: torchFile(join(op.proto, op.tuple, op.stop)) },
    { what: "something never remembered", code: "pickle-invalid", bytes: torchFile(join(op.proto, op.get(3), op.stop)) },
    { what: "no tensors", code: "pytorch-without-tensors", bytes: torchFile(join(op.proto, op.dict, op.stop)) },
    { what: "a list that holds itself", code: "pytorch-without-tensors", bytes: torchFile(join(op.proto, op.list, op.put(0), op.get(0), [0x61], op.stop)) },
    { what: "a million nested tuples", code: "pytorch-without-tensors", bytes: large(start, Uint8Array.from(op.none), repeated(op.tuple1, 999_000), stop) },
    { what: "five million nested tuples", code: "pickle-too-large", bytes: large(start, Uint8Array.from(op.none), repeated(op.tuple1, 5_000_000), stop) },
    { what: "five million lists", code: "pickle-too-large", bytes: large(start, repeated(op.list, 5_000_000), stop) },
    { what: "five million things remembered", code: "pickle-too-large", bytes: large(start, Uint8Array.from(op.none), repeated([0x94], 5_000_000), stop) },
    { what: "thirty million instructions", code: "pickle-too-large", bytes: large(start, repeated([0x4e, 0x30], 15_000_000), stop) },
    { what: "big-endian numbers", code: "pytorch-byte-order", bytes: torchFile(good, sixteen, [{ name: "archive/byteorder", bytes: utf8("big") }]) },
    { what: "two pickles", code: "pytorch-invalid", bytes: torchFile(good, sixteen, [{ name: "other/data.pkl", bytes: good }]) },
    { what: "no pickle", code: "pytorch-invalid", bytes: zipFile([{ name: "x", bytes: good }]) },
    { what: "a compressed pickle", code: "zip-compressed", bytes: zipFile([{ name: "a/data.pkl", bytes: good, method: 8 }]) },
    {
      what: "a compressed storage",
      code: "zip-compressed",
      bytes: zipFile([
        { name: "a/data.pkl", bytes: good },
        { name: "a/data/0", bytes: utf8("x"), method: 8 },
      ]),
    },
    { what: "an encrypted entry", code: "zip-compressed", bytes: zipFile([{ name: "a/data.pkl", bytes: good, flags: 1 }]) },
    { what: "an entry twice", code: "zip-invalid", bytes: torchFile(good, sixteen, [{ name: "archive/data/0", bytes: Uint8Array.from(sixteen) }]) },
    { what: "an entry larger than the file", code: "zip-invalid", bytes: zipFile([{ name: "a/data.pkl", bytes: good, claimedSize: 1_000_000 }]) },
    { what: "an entry of an exabyte", code: "zip-invalid", bytes: zipFile([{ name: "a/data.pkl", bytes: good, claimedSize: 2 ** 60, wide: true }]) },
    { what: "an entry whose own header says otherwise", code: "zip-invalid", bytes: zipFile([{ name: "a/data.pkl", bytes: good, localName: "b/data.pkl" }]) },
    { what: "a cut archive", code: "zip-invalid", bytes: torchFile(good, sixteen).slice(0, -30) },
    { what: "a head alone", code: "zip-invalid", bytes: Uint8Array.of(0x50, 0x4b, 3, 4) },
  ];
}
