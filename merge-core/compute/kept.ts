// What is kept of a tensor from one pass to the next, in the shared memory and as far as the budget allows.
import type { Arena } from "./arena.ts";
import { type Expr, input } from "./expr.ts";
import { findParts, replaceParts } from "./formula-parts.ts";
import { type PassInput, paddedBytes } from "./passes.ts";
import type { Sink } from "./program.ts";
import { keptMaskBytes, keptValueBytes } from "./side-values.ts";
import type { KeptMask } from "./tile-masks.ts";

export interface KeepingTensor {
  readonly arena: Arena;
  /** Elements. */
  readonly size: number;
  readonly memoryBytes: number;
}

type Kept = Extract<Expr, { readonly op: "kept" }>;
const isKept = (x: Expr): x is Kept => x.op === "kept";
/** A kept value as an input, but for where it is. It is never loaded. */
const RESIDENT = { dtype: "F32", store: { bytes: new Uint8Array(0) }, load: false } as const;

/** Values of formulas marked `kept`; each is one more input, behind the tensor's own. */
export class KeptValues {
  readonly #tensor: KeepingTensor;
  readonly #firstSlot: number;
  #values: { readonly node: Expr; readonly address: number; readonly isFilled: boolean }[] = [];

  constructor(tensor: KeepingTensor, firstSlot: number) {
    this.#tensor = tensor;
    this.#firstSlot = firstSlot;
  }

  /** How many there are. */
  get count(): number {
    return this.#values.length;
  }

  get inputs(): PassInput[] {
    return this.#values.map(({ address }) => ({ ...RESIDENT, resident: address }));
  }

  /** Makes room for what these use, and gives the sinks that fill it. */
  reserve(sinks: readonly Sink[]): Sink[] {
    const { arena, size, memoryBytes } = this.#tensor;
    const fresh = findParts(sinks, isKept).filter((node) => this.#values.every((value) => value.node !== node));
    if (keptValueBytes(this.#values.length + fresh.length, size, memoryBytes) > 0)
      for (const node of fresh) this.#values.push({ node, address: arena.alloc(paddedBytes(size * 4)), isFilled: false });
    return this.#values.flatMap(({ node, isFilled }, i): Sink[] => (isFilled ? [] : [{ kind: "keep", x: node, slot: this.#firstSlot + i }]));
  }

  /** All of them are there now. */
  fill(): void {
    this.#values = this.#values.map((value) => ({ ...value, isFilled: true }));
  }

  /** The same sinks with what is there as an input. */
  use(sinks: readonly Sink[]): readonly Sink[] {
    if (this.#values.every(({ isFilled }) => !isFilled)) return sinks;
    return replaceParts(sinks, (x) => {
      const at = this.#values.findIndex(({ node, isFilled }) => node === x && isFilled);
      return at < 0 ? undefined : input(this.#firstSlot + at);
    });
  }

  free(): void {
    for (const { address } of this.#values) this.#tensor.arena.free(address);
    this.#values = [];
  }
}

/** Random draws, one bit an element. */
export class KeptMasks {
  readonly #tensor: KeepingTensor;
  readonly #masks = new Map<Expr, KeptMask>();

  constructor(tensor: KeepingTensor) {
    this.#tensor = tensor;
  }

  get(draw: Expr): KeptMask | undefined {
    return this.#masks.get(draw);
  }

  reserve(draws: readonly Expr[]): void {
    const { arena, size, memoryBytes } = this.#tensor;
    const fresh = draws.filter((draw) => !this.#masks.has(draw));
    if (keptMaskBytes(this.#masks.size + fresh.length, size, memoryBytes) === 0) return;
    for (const draw of fresh) this.#masks.set(draw, { address: arena.alloc(keptMaskBytes(1, size, memoryBytes)), isFilled: false });
  }

  /** These are there now, as far as there was room. */
  fill(draws: readonly Expr[]): void {
    for (const draw of draws) {
      const mask = this.#masks.get(draw);
      if (mask !== undefined) this.#masks.set(draw, { ...mask, isFilled: true });
    }
  }

  free(): void {
    for (const { address } of this.#masks.values()) this.#tensor.arena.free(address);
    this.#masks.clear();
  }
}
