// Ranks of magnitudes within rows, by a stable radix sort of three digits that carries keys and places along: a row stays in the
// cache, and no comparison is made.
import { magnitudeKeys } from "./reference.ts";

const DIGIT_BITS = 11;
const DIGITS = 1 << DIGIT_BITS;
const DIGIT_MASK = DIGITS - 1;

/** For each element its place in its row by ascending magnitude, from 0 to 1; ties in index order, NaN last; 0.5 in rows of one. */
export function rowRanks(values: Float32Array, columns: number): Float32Array {
  const keys = magnitudeKeys(values);
  const ranks = new Float32Array(keys.length);
  if (columns === 1) return ranks.fill(0.5);
  const row = new RowRanker(columns);
  for (let start = 0; start < keys.length; start += columns) row.rank(keys, ranks, start);
  return ranks;
}

/** Memory for rows of one length. */
class RowRanker {
  readonly #columns: number;
  readonly #low: Sorted;
  readonly #middle: Sorted;
  /** For each digit of each of the three, where its next element goes. */
  readonly #places = new Uint32Array(3 * DIGITS);

  constructor(columns: number) {
    this.#columns = columns;
    this.#low = emptyRow(columns);
    this.#middle = emptyRow(columns);
  }

  rank(keys: Uint32Array, ranks: Float32Array, start: number): void {
    const [columns, places] = [this.#columns, this.#places];
    const [low, middle] = [this.#low, this.#middle];
    this.#count(keys, start);
    for (let i = 0; i < columns; i++) {
      const key = keys[start + i] as number;
      const at = places[key & DIGIT_MASK]!++;
      low.keys[at] = key;
      low.from[at] = i;
    }
    for (let i = 0; i < columns; i++) {
      const key = low.keys[i] as number;
      const at = places[DIGITS + ((key >>> DIGIT_BITS) & DIGIT_MASK)]!++;
      middle.keys[at] = key;
      middle.from[at] = low.from[i] as number;
    }
    for (let i = 0; i < columns; i++) {
      const at = places[2 * DIGITS + ((middle.keys[i] as number) >>> (2 * DIGIT_BITS))]!++;
      ranks[start + (middle.from[i] as number)] = at / (columns - 1);
    }
  }

  /** Counts the digits of a row and turns the counts into first places. */
  #count(keys: Uint32Array, start: number): void {
    const places = this.#places.fill(0);
    for (let i = start; i < start + this.#columns; i++) {
      const key = keys[i] as number;
      places[key & DIGIT_MASK]!++;
      places[DIGITS + ((key >>> DIGIT_BITS) & DIGIT_MASK)]!++;
      places[2 * DIGITS + (key >>> (2 * DIGIT_BITS))]!++;
    }
    for (let digit = 0, next = 0; digit < 3 * DIGITS; digit++) {
      if (digit % DIGITS === 0) next = 0;
      const count = places[digit] as number;
      places[digit] = next;
      next += count;
    }
  }
}

interface Sorted {
  readonly keys: Uint32Array;
  readonly from: Uint32Array;
}

const emptyRow = (columns: number): Sorted => ({ keys: new Uint32Array(columns), from: new Uint32Array(columns) });
