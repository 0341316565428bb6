// Polar factors on a GPU: the nearest matrix whose singular values are 1, by products alone.
import { GpuFailure } from "./device.ts";
import type { DeviceMatrix, DeviceSpace } from "./products.ts";
import { type Quintic, quintics } from "./quintics.ts";

/** Smaller singular values, as a share of a bound of the largest, count as rounding: float32 products leave about a millionth. */
export const LEAST_VALUE = 1e-5;
const STEPS = quintics(LEAST_VALUE);
/** For rows that are nearly orthonormal. */
export const FEW_STEPS = quintics(0.1);
/** As in linalg/polar.ts: part small values from large, then polish. */
const DECIDE: readonly Quintic[] = [
  [0, 3, -2],
  [1.5, -0.5, 0],
];
const UNDECIDED = 1e-5;
const MAX_DECISIONS = 12;

export interface Isometry {
  readonly x: DeviceMatrix;
  /** X X^T. */
  readonly gram: Float32Array;
}

interface Options {
  readonly steps?: readonly Quintic[];
  /** Bring values that the steps have left between 0 and 1 to either. */
  readonly decide?: boolean;
}

/** The polar factor of X, which is at most as high as wide, in its place: it is given back. @throws GpuFailure */
export async function isometry(space: DeviceSpace, x: DeviceMatrix, { steps = STEPS, decide = false }: Options = {}): Promise<Isometry> {
  const { rows, columns } = x;
  let [now, next] = [x, await space.make(rows, columns)];
  const [gram, square] = [await space.make(rows, rows), await space.make(rows, rows)];
  const measure = () => space.multiply({ matrix: now }, { matrix: now, transposed: true }, gram, { symmetric: true });
  const step = async ([linear, cubic, fifth]: Quintic): Promise<void> => {
    await space.multiply({ matrix: gram }, { matrix: gram }, square, { alpha: fifth, beta: cubic, d: gram, gamma: linear, symmetric: true });
    await space.multiply({ matrix: square }, { matrix: now }, next);
    [now, next] = [next, now];
    await measure();
  };
  await measure();
  await space.multiply({ matrix: gram }, { matrix: gram }, square, { symmetric: true });
  const bound = boundOf(await space.read(square));
  for (const [i, quintic] of steps.entries()) await step(i === 0 ? narrowed(quintic, bound) : quintic);
  const measured = await space.read(gram);
  for (let decision = 0; decide && decision < MAX_DECISIONS && undecided(measured, rows) > UNDECIDED * rows; decision++) {
    for (const quintic of DECIDE) await step(quintic);
    await space.read(gram, measured);
  }
  space.free(next, gram, square);
  return { x: now, gram: measured };
}

/** Of the largest singular value, from the square of X X^T: the eighth root of the sum of all values to the eighth, at most thrice too large. */
function boundOf(square: Float32Array): number {
  let sum = 0;
  for (const value of square) sum += value * value;
  if (!Number.isFinite(sum)) throw new GpuFailure("the polar iteration left the range of float32");
  return sum > 0 ? sum ** (1 / 8) : 1;
}

/** The polynomial of x / bound. */
const narrowed = ([linear, cubic, fifth]: Quintic, bound: number): Quintic => [linear / bound, cubic / bound ** 3, fifth / bound ** 5];

/** How far the squares of singular values are from 0 and 1 in sum, from the Gram matrix. */
function undecided(gram: Float32Array, n: number): number {
  let squares = 0;
  for (const value of gram) squares += value * value;
  if (!Number.isFinite(squares)) throw new GpuFailure("the polar iteration left the range of float32");
  return Math.abs(traceOf(gram, n) - squares);
}

export function traceOf(square: Float32Array, n: number): number {
  let trace = 0;
  for (let i = 0; i < n; i++) trace += square[i * n + i] as number;
  return trace;
}
