// Matrix-atom sharing of attention without training (MASA's matrix PCA, 2508.04581): the projections of all layers as combinations of a few
// matrices, in the least Frobenius error there is. Works from the Gram matrix of the layers, one stretch of elements at a time.
import { openFile } from "../bytes/file-source.ts";
import type { ByteSource } from "../bytes/source.ts";
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { gramOf } from "../compute/linalg/gram.ts";
import { symmetricEigen } from "../compute/linalg/symmetric-eigen.ts";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { DTYPE_BYTES, elementCount } from "../formats/dtypes.ts";
import { readNumbers } from "../formats/read-numbers.ts";

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

/** The same elements of several tensors of one shape, as rows. */
export class Stack {
  readonly #entries: readonly TensorEntry[];
  readonly #open = new Map<string, ByteSource>();
  readonly #signal: AbortSignal | undefined;

  constructor(entries: readonly TensorEntry[], signal?: AbortSignal) {
    this.#entries = entries;
    this.#signal = signal;
  }

  async *chunks(): AsyncGenerator<{ rows: Float64Array; count: number; first: number }> {
    const size = elementCount(this.#entries[0]?.shape ?? []);
    for (let first = 0; first < size; first += CHUNK_ELEMENTS) {
      throwIfCancelled(this.#signal);
      const count = Math.min(CHUNK_ELEMENTS, size - first);
      const rows = new Float64Array(this.#entries.length * count);
      for (const [l, entry] of this.#entries.entries()) {
        const width = DTYPE_BYTES[entry.dtype];
        rows.set(readNumbers(entry.dtype, await (await this.#source(entry.file)).read(entry.offset + first * width, count * width)), l * count);
      }
      yield { rows, count, first };
    }
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

/** Weighted sums of the stack's rows, one chunk after the other: `weights[s][l]` of row l in result s. */
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
export async function findAtoms(entries: readonly TensorEntry[], count: number, signal?: AbortSignal): Promise<Atoms> {
  const layers = entries.length;
  const gram = new Float64Array(layers * layers);
  const stack = new Stack(entries, signal);
  try {
    for await (const chunk of stack.chunks()) {
      const part = gramOf(chunk.rows, layers, chunk.count);
      for (let i = 0; i < gram.length; i++) gram[i] = (gram[i] as number) + (part[i] as number);
    }
  } finally {
    await stack.close();
  }
  if (!gram.every(Number.isFinite)) throw inputError("non-finite", `${entries[0]?.name} or the same of another layer holds NaN or infinite values`);
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
