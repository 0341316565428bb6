// Matrix-atom sharing of attention without training (MASA's matrix PCA, 2508.04581): the projections of all layers as combinations of a few
// matrices, in the least Frobenius error there is. Works from the Gram matrix of the layers, one stretch of elements at a time.
import { openFile } from "../bytes/file-source.ts";
import type { ByteSource } from "../bytes/source.ts";
import { gramOf } from "../compute/linalg/gram.ts";
import { symmetricEigen } from "../compute/linalg/symmetric-eigen.ts";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { DTYPE_BYTES } from "../formats/dtypes.ts";
import { readNumbers } from "../formats/read-numbers.ts";
import { type Place, readRows, sidesOf } from "./places.ts";

/** Elements of each layer that are in memory together. */
const CHUNK_ELEMENTS = 1 << 18;

export interface Atoms {
  /** W_l is about the sum over s of coefficients[l][s] times atom s. */
  readonly coefficients: readonly (readonly number[])[];
  /** Atom s is the sum over l of mixing[s][l] times W_l. Atoms are orthonormal. */
  readonly mixing: readonly (readonly number[])[];
  /** Norm of what is lost over the norm of all layers' matrices. */
  readonly relativeError: number;
}

/** The same elements of several matrices of one shape, as rows. */
export class Stack {
  readonly #places: readonly Place[];
  readonly #open = new Map<string, ByteSource>();
  readonly #signal: AbortSignal | undefined;

  constructor(places: readonly Place[], signal?: AbortSignal) {
    this.#places = places;
    this.#signal = signal;
  }

  /** Some rows of every matrix at a time, from row `first` on. */
  async *chunks(): AsyncGenerator<{ rows: Float64Array; count: number; first: number }> {
    const [height, width] = this.#places[0] === undefined ? [0, 0] : sidesOf(this.#places[0]);
    const step = Math.max(1, Math.floor(CHUNK_ELEMENTS / Math.max(1, width)));
    for (let first = 0; first < height; first += step) {
      throwIfCancelled(this.#signal);
      const end = Math.min(height, first + step);
      const count = (end - first) * width;
      const rows = new Float64Array(this.#places.length * count);
      for (const [l, place] of this.#places.entries()) rows.set(await this.#rows(place, first, end), l * count);
      yield { rows, count, first };
    }
  }

  async #rows(place: Place, from: number, to: number): Promise<Float64Array> {
    const { dtype, file, offset } = place.entry;
    const [source, width] = [await this.#source(file), DTYPE_BYTES[dtype]];
    return readRows(place, from, to, async (first, count) => readNumbers(dtype, await source.read(offset + first * width, count * width)));
  }

  async #source(file: string): Promise<ByteSource> {
    const source = this.#open.get(file) ?? (await openFile(file));
    this.#open.set(file, source);
    return source;
  }

  async close(): Promise<void> {
    for (const source of this.#open.values()) await source.close();
  }
}

/** Weighted sums of the stack's matrices, some rows from `first` on after the other: `weights[s][l]` of matrix l in result s. */
export async function* mixRows(stack: Stack, weights: readonly (readonly number[])[]): AsyncGenerator<{ mixed: Float32Array[]; first: number }> {
  for await (const { rows, count, first } of stack.chunks()) {
    const mixed = weights.map((own) => {
      const sum = new Float64Array(count);
      for (const [l, weight] of own.entries())
        if (weight !== 0) for (let i = 0; i < count; i++) sum[i] = (sum[i] as number) + weight * (rows[l * count + i] as number);
      return Float32Array.from(sum);
    });
    yield { mixed, first };
  }
}

/** Atoms of one projection over all layers. @throws WeightsmithError `non-finite` */
export async function findAtoms(places: readonly Place[], count: number, signal?: AbortSignal): Promise<Atoms> {
  const layers = places.length;
  const gram = new Float64Array(layers * layers);
  const stack = new Stack(places, signal);
  try {
    for await (const chunk of stack.chunks()) {
      const part = gramOf(chunk.rows, layers, chunk.count);
      for (let i = 0; i < gram.length; i++) gram[i] = (gram[i] as number) + (part[i] as number);
    }
  } finally {
    await stack.close();
  }
  if (!gram.every(Number.isFinite)) throw inputError("non-finite", `${places[0]?.entry.name} or the same of another layer holds NaN or infinite values`);
  return split(gram, layers, count);
}

/** W = sum of sigma u v^T over the stacked layers, from the eigenvectors v of the Gram matrix. */
function split(gram: Float64Array, layers: number, count: number): Atoms {
  const { values, vectors } = symmetricEigen(gram, layers);
  const largest = Math.max(0, values[0] ?? 0);
  const kept = Array.from({ length: count }, (_, s) => s).filter((s) => (values[s] as number) > 1e-14 * largest);
  const sigma = kept.map((s) => Math.sqrt(values[s] as number));
  const entry = (s: number, l: number): number => vectors[(kept[s] as number) * layers + l] as number;
  const total = values.reduce((sum, x) => sum + Math.max(0, x), 0);
  const lost = values.reduce((sum, x, s) => (kept.includes(s) ? sum : sum + Math.max(0, x)), 0);
  return {
    coefficients: Array.from({ length: layers }, (_, l) => kept.map((_, s) => (sigma[s] as number) * entry(s, l))),
    mixing: kept.map((_, s) => Array.from({ length: layers }, (_, l) => entry(s, l) / (sigma[s] as number))),
    relativeError: total > 0 ? Math.sqrt(lost / total) : 0,
  };
}

/** What layer `l` becomes, as a sum of all layers' matrices. */
export const reconstruction = ({ coefficients, mixing }: Atoms, l: number): number[] =>
  coefficients.map((_, m) => mixing.reduce((sum, own, s) => sum + (coefficients[l]?.[s] as number) * (own[m] as number), 0));
