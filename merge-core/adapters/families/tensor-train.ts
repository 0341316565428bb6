// Tensor trains: a long vector as a product of small cores (Oseledets, 2011), as LoRETTA stores matrices.
import type { Algebra } from "../algebra/algebra.ts";
import type { ModuleTensor } from "../family.ts";
import { type Site, tensor } from "../family-training.ts";

export type Core = readonly [before: number, side: number, after: number];
const sizeOf = ([before, side, after]: Core): number => before * side * after;

/** Elements that all cores have together. */
export const trainSize = (cores: readonly Core[]): number => cores.reduce((sum, core) => sum + sizeOf(core), 0);

/** The sides that LoRETTA's authors give for common shapes. */
const SIDES: Readonly<Record<string, readonly number[]>> = {
  "8,768": [8, 8, 12, 8],
  "8,1024": [4, 8, 8, 8, 4],
  "8,4096": [16, 16, 8, 4, 4],
  "16,768": [8, 16, 12, 8],
};

/** Sides whose product is r width: the authors', or prime factors gathered into groups of about eight. */
export function trainSides(r: number, width: number): readonly number[] {
  const known = SIDES[`${r},${width}`];
  if (known !== undefined) return known;
  const sides: number[] = [];
  let [rest, side] = [r * width, 1];
  for (let prime = 2; rest > 1; prime++)
    for (; rest % prime === 0; rest /= prime) {
      if (side > 1 && side * prime > 12) [side] = [1, sides.push(side)];
      side *= prime;
    }
  return side > 1 || sides.length === 0 ? [...sides, side] : sides;
}

/** Of a matrix of r by width, with inner sides `rank`. */
export function coresOf(r: number, width: number, rank: number): Core[] {
  const sides = trainSides(r, width);
  return sides.map((side, k) => [k === 0 ? 1 : rank, side, k === sides.length - 1 ? 1 : rank]);
}

/** All elements of the train in a row; `values` holds the cores one behind the other. */
export function contractTrain<T>(m: Algebra<T>, values: T, cores: readonly Core[]): T {
  const flat = m.reshape(values, [m.shapeOf(values)[0] ?? 0, 1]);
  let first = 0;
  let product: T | undefined;
  let rows = 1;
  for (const [before, side, after] of cores) {
    const from = first;
    const size = before * side * after;
    const core = m.reshape(
      m.rows(
        flat,
        Int32Array.from({ length: size }, (_, i) => from + i),
      ),
      [before, side * after],
    );
    product = product === undefined ? core : m.matMul(m.reshape(product, [rows, before]), core);
    rows *= side;
    first += size;
  }
  return product ?? flat;
}

/** Normal numbers of which each element of the contracted train has about this deviation. */
export function startTrain({ random }: Site, name: string, cores: readonly Core[], deviation: number): ModuleTensor {
  const each = deviation ** (1 / cores.length);
  const values = cores.flatMap((core, k) => [...random.normal(`${name}/${k}`, sizeOf(core), each / Math.sqrt(core[2]))]);
  return tensor(Float32Array.from(values), values.length);
}
