// Rows of the Gram matrix of many points, worked out when they are asked for and kept as long as there is room: the whole matrix of a
// vocabulary of 100 000 would take 40 GB, but some points are asked for far more often than others.
import type { Matrix, MatrixSpace } from "../compute/linalg/matrix.ts";

/** Rows that are worked out by one product. */
const TOGETHER = 256;

export class GramRows {
  readonly #space: MatrixSpace;
  readonly #points: Matrix;
  /** [capacity, points] */
  readonly #kept: Matrix;
  /** Where the row of a point is, the one that was asked for longest ago first. */
  readonly #slots = new Map<number, number>();

  /** @param capacity rows that are kept */
  constructor(space: MatrixSpace, points: Matrix, capacity: number) {
    this.#space = space;
    this.#points = points;
    this.#kept = space.zeros(Math.min(capacity, points.rows), points.rows);
  }

  get capacity(): number {
    return this.#kept.rows;
  }

  /** Has the rows of these points ready, `capacity` of them at most, until the next call. */
  prepare(wanted: Iterable<number>): void {
    const missing = new Set<number>();
    for (const index of wanted) {
      const slot = this.#slots.get(index);
      if (slot === undefined) missing.add(index);
      else {
        this.#slots.delete(index);
        this.#slots.set(index, slot);
      }
    }
    const list = [...missing];
    for (let first = 0; first < list.length; first += TOGETHER) this.#make(list.slice(first, first + TOGETHER));
  }

  /** Products of a point with all points. */
  row(index: number): Float32Array {
    const slot = this.#slots.get(index);
    if (slot === undefined) throw new RangeError(`row ${index} is not ready`);
    return this.#kept.data.subarray(slot * this.#kept.columns, (slot + 1) * this.#kept.columns);
  }

  free(): void {
    this.#space.free(this.#kept);
  }

  #make(list: readonly number[]): void {
    const { columns: width, data } = this.#points;
    const chosen = this.#space.zeros(list.length, width);
    for (const [i, index] of list.entries()) chosen.data.set(data.subarray(index * width, (index + 1) * width), i * width);
    const products = this.#space.product(chosen, this.#points, { transposeB: true });
    for (const [i, index] of list.entries()) {
      const slot = this.#slots.size < this.capacity ? this.#slots.size : this.#oldest();
      this.#slots.set(index, slot);
      this.row(index).set(products.data.subarray(i * products.columns, (i + 1) * products.columns));
    }
    this.#space.free(chosen, products);
  }

  /** Gives up the row that was asked for longest ago. */
  #oldest(): number {
    const [[index, slot] = [0, 0]] = this.#slots;
    this.#slots.delete(index);
    return slot;
  }
}
