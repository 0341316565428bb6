// Singular triplets and symmetric eigenvectors on a GPU, by products alone: a basis of the leading directions by subspace iteration
// (Halko, Martinsson and Tropp, 2011), the polar factor P of what is left, and the eigenvectors of the symmetric factor by division of the
// spectrum: the sign function of H - m I tells the eigenvectors above m from those below (Nakatsukasa and Higham, 2013).
import { symmetricEigen } from "../linalg/symmetric-eigen.ts";
import { FEW_STEPS, isometry, LEAST_VALUE, traceOf } from "./isometry.ts";
import type { DeviceMatrix, DeviceSpace } from "./products.ts";

export interface TripletsRequest {
  /** At most as many as columns. */
  readonly rows: number;
  readonly columns: number;
  readonly a: Float32Array;
  /** Frobenius norm of `a`. */
  readonly norm: number;
  readonly count: number;
  /** Directions that the subspace iteration carries; the rows for none. */
  readonly width: number;
  /** Receives `count` rows each. */
  readonly left: Float32Array;
  readonly right: Float32Array;
  /** Receives `count` values in descending order; 0 where there are no more. */
  readonly values: Float64Array;
}

export interface EigenBlock {
  readonly values: Float64Array;
  /** Eigenvectors as rows, in the order of their values. */
  readonly vectors: DeviceMatrix;
}

const POWER_STEPS = 4;
/** Matrices of this side and less are decomposed by the processor, in float64. */
const LEAF = 192;
/** Eigenvalues that differ by less, as a share of the largest, have any basis for eigenvectors. */
const SAME = 1e-6;
/** Places for a cut beside the mean, in standard deviations: an eigenvalue that lies on the cut belongs to neither side. */
const CUTS = [0, 0.02, -0.02, 0.07, -0.07, 0.15, -0.15, 0.3, -0.3];
/** What the squares of all signs may miss in sum. */
const ON_CUT = 0.01;

/** @param leaf for tests */
export async function leadingTriplets(space: DeviceSpace, request: TripletsRequest, leaf = LEAF): Promise<void> {
  const { rows, columns, a, norm, count, width } = request;
  const matrix = await space.make(rows, columns, a, 1 / norm);
  const range = width < rows ? await rangeOf(space, matrix, width) : undefined;
  const small = range === undefined ? matrix : await product(space, range, matrix, true);
  if (range !== undefined) space.free(matrix);
  const { x: polar } = await isometry(space, await copyOf(space, small));
  const h = await space.make(small.rows, small.rows);
  await space.multiply({ matrix: small }, { matrix: polar, transposed: true }, h, { symmetric: true });
  space.free(small);
  const blocks = await symmetricBlocks(space, h, count, leaf);
  // H's eigenvectors V: small = V^T diag(values) (V polar), and A = small^T range.
  const [left, right] = range === undefined ? [undefined, polar] : [polar, range];
  await collect(space, blocks, left, request.left, rows, count);
  await collect(space, blocks, right, request.right, columns, count);
  let at = 0;
  for (const block of blocks) for (const value of block.values) if (at < count) request.values[at++] = Math.max(0, value * norm);
}

/** Orthonormal rows that span the leading right singular vectors. */
async function rangeOf(space: DeviceSpace, a: DeviceMatrix, width: number): Promise<DeviceMatrix> {
  const probe = await noise(space, width, a.rows);
  let range = await orthonormal(space, await product(space, probe, a));
  space.free(probe);
  for (let step = 0; step < POWER_STEPS; step++) {
    const back = await orthonormal(space, await product(space, range, a, true));
    space.free(range);
    range = await orthonormal(space, await product(space, back, a));
    space.free(back);
  }
  return range;
}

const orthonormal = async (space: DeviceSpace, x: DeviceMatrix): Promise<DeviceMatrix> => (await isometry(space, x)).x;

/** A B, or A B^T. */
async function product(space: DeviceSpace, a: DeviceMatrix, b: DeviceMatrix, transposed = false): Promise<DeviceMatrix> {
  const into = await space.make(a.rows, transposed ? b.rows : b.columns);
  await space.multiply({ matrix: a }, { matrix: b, transposed }, into);
  return into;
}

async function copyOf(space: DeviceSpace, x: DeviceMatrix): Promise<DeviceMatrix> {
  const copy = await space.make(x.rows, x.columns);
  await space.combine(x, 1, 0, copy);
  return copy;
}

/** The same numbers every time, from a generator that is as good as a basis needs. */
function noise(space: DeviceSpace, rows: number, columns: number): Promise<DeviceMatrix> {
  const values = new Float32Array(rows * columns);
  for (let i = 0; i < values.length; i++) {
    let x = Math.imul(i + 1, 0x9e3779b1);
    x = Math.imul(x ^ (x >>> 15), 0x85ebca77);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae3d);
    values[i] = (x ^ (x >>> 16)) / 2 ** 32;
  }
  return space.make(rows, columns, values);
}

/** Rows of all blocks times `by`, one after the other; the eigenvectors themselves without it. */
async function collect(
  space: DeviceSpace,
  blocks: readonly EigenBlock[],
  by: DeviceMatrix | undefined,
  into: Float32Array,
  columns: number,
  count: number,
): Promise<void> {
  let at = 0;
  for (const { vectors } of blocks) {
    const rows = Math.min(vectors.rows, count - at);
    const turned = by === undefined ? vectors : await product(space, { ...vectors, rows }, by);
    into.set((await space.read(turned)).subarray(0, rows * columns), at * columns);
    if (by !== undefined) space.free(turned);
    at += rows;
  }
}

/** The leading eigenvectors, `count` or more, of a symmetric H, which is given back; what is rounding beside the largest is left out. */
export async function symmetricBlocks(space: DeviceSpace, h: DeviceMatrix, count: number, leaf = LEAF): Promise<EigenBlock[]> {
  const values = await space.read(h);
  // Between the largest eigenvalue and it times the fourth root of the side, whatever the spectrum is.
  const scale = lengthOf(values) / h.rows ** 0.25;
  return divide(space, h, values, { count, leaf, scale });
}

interface Division {
  readonly count: number;
  readonly leaf: number;
  readonly scale: number;
}

/** Splits until a part is small or has one eigenvalue. Blocks come in the order of their values. */
async function divide(space: DeviceSpace, h: DeviceMatrix, values: Float32Array, division: Division): Promise<EigenBlock[]> {
  const n = h.rows;
  const { count, leaf, scale } = division;
  if (lengthOf(values) <= LEAST_VALUE * scale * Math.sqrt(n)) {
    space.free(h);
    return [];
  }
  const mean = traceOf(values, n) / n;
  const deviation = deviationOf(values, n, mean);
  if (deviation <= SAME * scale) return [await alike(space, h, values)];
  const sign = n <= leaf ? undefined : await signOf(space, h, mean, deviation);
  if (sign === undefined) return [await byProcessor(space, h, values)];
  const above = Math.round((n + traceOf(await space.read(sign), n)) / 2);
  const upper = await part(space, h, sign, 1, above, division);
  const found = upper.reduce((sum, block) => sum + block.vectors.rows, 0);
  const lower = found >= count ? [] : await part(space, h, sign, -1, n - above, { ...division, count: count - found });
  space.free(h, sign);
  return [...upper, ...lower];
}

/** The eigenvectors of one side, in H's coordinates. */
async function part(space: DeviceSpace, h: DeviceMatrix, sign: DeviceMatrix, side: 1 | -1, size: number, division: Division): Promise<EigenBlock[]> {
  const basis = await basisOf(space, sign, side, size);
  const half = await product(space, basis, h);
  const inner = await space.make(size, size);
  await space.multiply({ matrix: half }, { matrix: basis, transposed: true }, inner, { symmetric: true });
  space.free(half);
  const blocks: EigenBlock[] = [];
  for (const { values, vectors } of await divide(space, inner, await space.read(inner), division)) {
    blocks.push({ values, vectors: await product(space, vectors, basis) });
    space.free(vectors);
  }
  space.free(basis);
  return blocks;
}

/** Orthonormal rows that span the range of (I + side S) / 2. Twice: the first basis of random combinations is as inexact as these are dependent. */
async function basisOf(space: DeviceSpace, sign: DeviceMatrix, side: 1 | -1, size: number): Promise<DeviceMatrix> {
  const projector = await space.make(sign.rows, sign.rows);
  await space.combine(sign, side / 2, 0.5, projector);
  const random = await noise(space, size, sign.rows);
  const rough = await orthonormal(space, await product(space, random, projector));
  const { x: basis } = await isometry(space, await product(space, rough, projector), { steps: FEW_STEPS });
  space.free(random, rough, projector);
  return basis;
}

/** sign(H - m I) for an m near the mean on which no eigenvalue lies; undefined if there is none. */
async function signOf(space: DeviceSpace, h: DeviceMatrix, mean: number, deviation: number): Promise<DeviceMatrix | undefined> {
  for (const cut of CUTS) {
    const shifted = await space.make(h.rows, h.rows);
    // Scaled, so that eighth powers of small numbers stay numbers.
    await space.combine(h, 1 / deviation, -(mean / deviation + cut), shifted);
    const { x: sign, gram } = await isometry(space, shifted);
    const above = (h.rows + traceOf(await space.read(sign), h.rows)) / 2;
    const split = above > 0.5 && above < h.rows - 0.5;
    if (split && Math.abs(h.rows - traceOf(gram, h.rows)) < ON_CUT) return sign;
    space.free(sign);
  }
  return undefined;
}

/** All eigenvalues are one: any basis does. */
async function alike(space: DeviceSpace, h: DeviceMatrix, values: Float32Array): Promise<EigenBlock> {
  const vectors = await space.make(h.rows, h.rows);
  await space.combine(h, 0, 1, vectors);
  space.free(h);
  return { values: Float64Array.from({ length: h.rows }, (_, i) => values[i * h.rows + i] as number), vectors };
}

async function byProcessor(space: DeviceSpace, h: DeviceMatrix, matrix: Float32Array): Promise<EigenBlock> {
  space.free(h);
  const { values, vectors } = symmetricEigen(Float64Array.from(matrix), h.rows);
  return { values, vectors: await space.make(h.rows, h.rows, Float32Array.from(vectors)) };
}

function lengthOf(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}

/** Standard deviation of the eigenvalues, from the matrix: its length without the mean's part. */
function deviationOf(values: Float32Array, n: number, mean: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      const value = (values[i * n + j] as number) - (i === j ? mean : 0);
      sum += value * value;
    }
  return Math.sqrt(sum / n);
}
