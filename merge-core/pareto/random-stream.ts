// One sequence of random numbers for a search whose steps follow one another.
import { uniforms } from "../nn/random.ts";

const BLOCK = 1024;

/** The numbers depend on seed and name alone, and on how many were drawn before. */
export class RandomStream {
  readonly #seed: number;
  readonly #name: string;
  #block: Float64Array = new Float64Array(0);
  #blocks = 0;
  #next = 0;

  constructor(seed: number, name: string) {
    this.#seed = seed;
    this.#name = name;
  }

  /** In [0, 1). */
  uniform(): number {
    if (this.#next === this.#block.length) {
      this.#block = uniforms(this.#seed, `${this.#name} ${this.#blocks++}`, BLOCK);
      this.#next = 0;
    }
    return this.#block[this.#next++] ?? 0;
  }

  /** Standard normal (Box and Muller 1958). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** A whole number in 0..count - 1. */
  index(count: number): number {
    return Math.floor(this.uniform() * count);
  }

  /** The items in random order (Fisher and Yates). */
  shuffled<T>(items: readonly T[]): T[] {
    const order = [...items];
    for (let i = order.length - 1; i > 0; i--) {
      const j = this.index(i + 1);
      [order[i], order[j]] = [order[j] as T, order[i] as T];
    }
    return order;
  }
}
