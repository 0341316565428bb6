// Pickle, as far as torch.save writes it for tensors. A pickle is a program; this machine knows the instructions that build
// numbers, text, lists and dictionaries, hands every name of a class or function to the caller, who knows a closed set of
// them, and runs nothing. No recursion: what is built is bounded by the bytes read.
import { inputError, type WeightsmithError } from "../diagnostics.ts";

export interface PickleDict {
  readonly kind: "dict";
  readonly entries: Map<PickleValue, PickleValue>;
}

export interface PickleList {
  readonly kind: "list" | "tuple";
  readonly items: PickleValue[];
}

/** What a caller makes of a name or of a call; opaque here. */
export interface PickleObject {
  readonly kind: "object";
  readonly value: unknown;
}

export type PickleValue = null | boolean | number | string | PickleDict | PickleList | PickleObject;

/** What a pickle may use besides plain values. Each throws for what it does not know. */
export interface PickleWorld {
  /** The class or function of this name. */
  global(module: string, name: string): PickleObject;
  call(callee: PickleObject, args: readonly PickleValue[]): PickleValue;
  /** An object outside of the pickle, such as a tensor's storage. */
  persistent(id: PickleValue): PickleValue;
}

/** The largest checkpoints have some ten thousand tensors, of about a hundred instructions each. */
const MAX_INSTRUCTIONS = 20_000_000;
/** Dictionaries, lists and tuples in all: about six for each tensor. */
const MAX_CONTAINERS = 1_000_000;
/** Items waiting on the stack, and remembered ones. */
const MAX_ITEMS = 2_000_000;
const MAX_TEXT_BYTES = 1_000_000;

const MARK = Symbol("mark");
type StackItem = PickleValue | typeof MARK;

/**
 * Runs a pickle and returns its result.
 * @throws WeightsmithError `pickle-truncated`, `pickle-instruction-refused`, `pickle-invalid`, `pickle-too-large`, and what `world` throws
 */
export function readPickle(bytes: Uint8Array, file: string, world: PickleWorld): PickleValue {
  return readLeadingPickle(bytes, file, world).value;
}

/** Runs the pickle that `bytes` begin with; what follows its end is left. */
export function readLeadingPickle(bytes: Uint8Array, file: string, world: PickleWorld): { value: PickleValue; length: number } {
  const machine = new PickleMachine(bytes, file, world);
  return { value: machine.run(), length: machine.at };
}

class PickleMachine {
  private readonly view: DataView;
  private readonly stack: StackItem[] = [];
  private readonly memo = new Map<number, PickleValue>();
  at = 0;
  private containers = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly file: string,
    private readonly world: PickleWorld,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): PickleValue {
    for (let count = 0; count < MAX_INSTRUCTIONS; count++) {
      const code = this.take(1)[0] ?? 0;
      if (code === 0x2e) return this.pop();
      const instruction = INSTRUCTIONS.get(code);
      if (instruction === undefined) throw this.error("pickle-instruction-refused", "an instruction that tensors do not need", describeCode(code));
      instruction(this);
      if (this.containers > MAX_CONTAINERS || this.stack.length > MAX_ITEMS || this.memo.size > MAX_ITEMS)
        throw this.error(
          "pickle-too-large",
          "the pickle builds more than any model holds",
          `${this.containers} lists and dictionaries after ${count} instructions`,
        );
    }
    throw this.error("pickle-too-large", "the pickle runs longer than that of any model", `${MAX_INSTRUCTIONS} instructions`);
  }

  error(code: string, message: string, found: string): WeightsmithError {
    return inputError(code, message, { file: this.file, found, remedy: "convert the model to safetensors where it comes from" });
  }

  private invalid(found: string): WeightsmithError {
    return this.error("pickle-invalid", `the pickle is damaged at byte ${this.at}`, found);
  }

  take(length: number): Uint8Array {
    if (this.at + length > this.bytes.byteLength) throw this.error("pickle-truncated", "the pickle ends too early", `${this.bytes.byteLength} bytes`);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  /** A little-endian number of 1, 2 or 4 bytes, or of 8 that must fit. */
  number(size: 1 | 2 | 4 | 8, signed = false): number {
    const at = this.at;
    this.take(size);
    if (size === 1) return this.view.getUint8(at);
    if (size === 2) return this.view.getUint16(at, true);
    if (size === 4) return signed ? this.view.getInt32(at, true) : this.view.getUint32(at, true);
    return this.safe(signed ? this.view.getBigInt64(at, true) : this.view.getBigUint64(at, true));
  }

  private safe(value: bigint): number {
    if (value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
    throw this.invalid(`the number ${value}`);
  }

  float(): number {
    this.take(8);
    return this.view.getFloat64(this.at - 8, false);
  }

  /** Two's complement of up to 8 bytes. */
  long(length: number): number {
    if (length > 8) throw this.invalid(`a number of ${length} bytes`);
    const bytes = new Uint8Array(8).fill((this.bytes[this.at + length - 1] ?? 0) & 0x80 && length > 0 ? 0xff : 0);
    bytes.set(this.take(length));
    return this.safe(new DataView(bytes.buffer).getBigInt64(0, true));
  }

  text(length: number): string {
    if (length > MAX_TEXT_BYTES) throw this.invalid(`text of ${length} bytes`);
    return new TextDecoder().decode(this.take(length));
  }

  line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) throw this.error("pickle-truncated", "the pickle ends inside a name", `${this.bytes.byteLength} bytes`);
    const line = this.text(end - this.at);
    this.at++;
    return line;
  }

  push(value: StackItem): void {
    this.stack.push(value);
  }

  /** Pushes a new dictionary, list or tuple. */
  make(value: PickleDict | PickleList): void {
    this.containers++;
    this.stack.push(value);
  }

  pushMark(): void {
    this.stack.push(MARK);
  }

  pop(): PickleValue {
    const value = this.stack.pop();
    if (value === undefined || value === MARK) throw this.invalid("an empty stack");
    return value;
  }

  /** Everything since the last mark, which goes too. */
  popToMark(): PickleValue[] {
    const mark = this.stack.lastIndexOf(MARK);
    if (mark < 0) throw this.invalid("no mark on the stack");
    const items = this.stack.splice(mark) as PickleValue[];
    return items.slice(1);
  }

  tuple(length: number): void {
    const items = Array.from({ length }, () => this.pop()).reverse();
    this.make({ kind: "tuple", items });
  }

  append(items: readonly PickleValue[]): void {
    const list = this.pop();
    if (!isList(list) || list.kind !== "list") throw this.invalid("something appended to what is no list");
    for (const item of items) list.items.push(item);
    this.push(list);
  }

  setItems(items: readonly PickleValue[]): void {
    const dict = this.pop();
    if (!isDict(dict) || items.length % 2 !== 0) throw this.invalid("keys set in what is no dictionary");
    for (let i = 0; i < items.length; i += 2) dict.entries.set(items[i] ?? null, items[i + 1] ?? null);
    this.push(dict);
  }

  remember(index: number): void {
    const top = this.stack.at(-1);
    if (top === undefined || top === MARK) throw this.invalid("nothing to remember");
    this.memo.set(index, top);
  }

  rememberNext(): void {
    this.remember(this.memo.size);
  }

  recall(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) throw this.invalid(`nothing remembered as ${index}`);
    this.push(value);
  }

  global(module: PickleValue, name: PickleValue): void {
    if (typeof module !== "string" || typeof name !== "string") throw this.invalid("a name that is no text");
    this.push(this.world.global(module, name));
  }

  call(): void {
    const args = this.pop();
    const callee = this.pop();
    if (!isList(args) || args.kind !== "tuple" || !isObject(callee)) throw this.invalid("a call of what cannot be called");
    this.containers++;
    this.push(this.world.call(callee, args.items));
  }

  persistent(): void {
    this.push(this.world.persistent(this.pop()));
  }

  /** State of a dictionary, such as the versions that torch notes; other objects have none. */
  build(): void {
    this.pop();
    const target = this.stack.at(-1);
    if (target === MARK || target === undefined || !isDict(target))
      throw this.error("pickle-instruction-refused", "state set on what is no dictionary", "BUILD");
  }
}

export const isDict = (value: PickleValue | undefined): value is PickleDict => typeof value === "object" && value !== null && value.kind === "dict";
export const isObject = (value: PickleValue | undefined): value is PickleObject => typeof value === "object" && value !== null && value.kind === "object";
export const isList = (value: PickleValue | undefined): value is PickleList =>
  typeof value === "object" && value !== null && (value.kind === "list" || value.kind === "tuple");

const describeCode = (code: number): string => `0x${code.toString(16).padStart(2, "0")}${code > 32 && code < 127 ? ` (${String.fromCharCode(code)})` : ""}`;

type Instruction = (machine: PickleMachine) => void;

/** Protocols 2 to 5, by their code; what is not listed is refused. */
const INSTRUCTIONS: ReadonlyMap<number, Instruction> = new Map<number, Instruction>([
  [0x80, (m) => void m.take(1)], // PROTO
  [0x95, (m) => void m.take(8)], // FRAME
  [0x28, (m) => m.pushMark()],
  [0x30, (m) => void m.pop()],
  [0x31, (m) => void m.popToMark()],
  [0x4e, (m) => m.push(null)],
  [0x88, (m) => m.push(true)],
  [0x89, (m) => m.push(false)],
  [0x4b, (m) => m.push(m.number(1))], // BININT1
  [0x4d, (m) => m.push(m.number(2))], // BININT2
  [0x4a, (m) => m.push(m.number(4, true))], // BININT
  [0x8a, (m) => m.push(m.long(m.number(1)))], // LONG1
  [0x8b, (m) => m.push(m.long(m.number(4)))], // LONG4
  [0x47, (m) => m.push(m.float())], // BINFLOAT
  [0x58, (m) => m.push(m.text(m.number(4)))], // BINUNICODE
  [0x8c, (m) => m.push(m.text(m.number(1)))], // SHORT_BINUNICODE
  [0x8d, (m) => m.push(m.text(m.number(8)))], // BINUNICODE8
  [0x55, (m) => m.push(m.text(m.number(1)))], // SHORT_BINSTRING
  [0x54, (m) => m.push(m.text(m.number(4)))], // BINSTRING
  [0x7d, (m) => m.make({ kind: "dict", entries: new Map() })],
  [0x5d, (m) => m.make({ kind: "list", items: [] })],
  [0x29, (m) => m.tuple(0)],
  [0x85, (m) => m.tuple(1)],
  [0x86, (m) => m.tuple(2)],
  [0x87, (m) => m.tuple(3)],
  [0x74, (m) => m.make({ kind: "tuple", items: m.popToMark() })],
  [0x61, (m) => m.append([m.pop()])],
  [0x65, (m) => m.append(m.popToMark())],
  [
    0x73, // SETITEM
    (m) => {
      const value = m.pop();
      m.setItems([m.pop(), value]);
    },
  ],
  [0x75, (m) => m.setItems(m.popToMark())],
  [0x71, (m) => m.remember(m.number(1))],
  [0x72, (m) => m.remember(m.number(4))],
  [0x94, (m) => m.rememberNext()],
  [0x68, (m) => m.recall(m.number(1))],
  [0x6a, (m) => m.recall(m.number(4))],
  [0x63, (m) => m.global(m.line(), m.line())],
  [
    0x93, // STACK_GLOBAL
    (m) => {
      const name = m.pop();
      m.global(m.pop(), name);
    },
  ],
  [0x52, (m) => m.call()],
  [0x51, (m) => m.persistent()],
  [0x62, (m) => m.build()],
]);
