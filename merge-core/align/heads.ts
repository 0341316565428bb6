// The best permutation of one attention layer. Every pair of key-value heads is given its best inner permutations, then the pairs are
// assigned by what those gain.
import type { Pause } from "../compute/linalg/steps.ts";
import { assign, gainOf } from "./assignment.ts";
import { identity, type Orders } from "./permute.ts";
import type { Found, Products } from "./products.ts";
import type { HeadSpaces } from "./symmetries.ts";

/** Inner products of all dimensions of all heads. */
interface Tables {
  readonly q: Float64Array;
  readonly k: Float64Array;
  readonly v: Float64Array;
  readonly o: Float64Array;
}

/** How a key-value head of B takes the place of one of A. */
interface Pairing {
  readonly gain: number;
  /** For each query head of A's group the one of B's. */
  readonly queries: Int32Array;
  /** Of the dimensions of queries and keys, and of values. */
  readonly keys: Int32Array;
  readonly values: Int32Array;
}

export async function matchHeads(layer: HeadSpaces, products: Products, orders: Orders, pause: Pause): Promise<Found> {
  const { heads, kvHeads, headDim, spaces } = layer;
  const [width, kvWidth] = [heads * headDim, kvHeads * headDim];
  const tables: Tables = {
    q: await products.of(spaces.q, width),
    k: await products.of(spaces.k, kvWidth),
    v: await products.of(spaces.v, kvWidth),
    o: await products.of(spaces.o, width),
  };
  const names = ["q", "k", "v", "o"] as const;
  const before = names.reduce((sum, name) => sum + gainOf(tables[name], orders.get(spaces[name]) as Int32Array), 0);
  const pairs: Pairing[] = [];
  for (let a = 0; a < kvHeads; a++)
    for (let b = 0; b < kvHeads; b++) {
      pairs.push(pairHeads(layer, tables, a, b));
      await pause();
    }
  const chosen = assign(
    Float64Array.from(pairs, ({ gain }) => gain),
    kvHeads,
  );
  const found = spread(
    layer,
    Array.from(chosen, (b, a) => ({ b, ...(pairs[a * kvHeads + b] as Pairing) })),
  );
  const after = names.reduce((sum, name) => sum + gainOf(tables[name], found[name]), 0);
  return { orders: names.map((name) => [spaces[name], found[name]] as const), before, after, scale: products.scale };
}

/** The gains of one block of a table as a matrix [size, size], added to `sum`. */
function addBlock(sum: Float64Array, table: Float64Array, total: number, a: number, b: number, size: number): void {
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++) sum[i * size + j] = (sum[i * size + j] as number) + (table[(a * size + i) * total + b * size + j] as number);
}

/** The block of a table between head `a` of A and head `b` of B, added to `sum`. */
const block = (table: Float64Array, total: number, a: number, b: number, size: number): Float64Array => {
  const fresh = new Float64Array(size ** 2);
  addBlock(fresh, table, total, a, b, size);
  return fresh;
};

/**
 * With one query head a key-value head, both inner permutations are independent and exact. With several, which query head goes where and
 * how dimensions move are found by turns, until neither changes.
 */
function pairHeads({ heads, kvHeads, headDim, rotary }: HeadSpaces, { q, k, v, o }: Tables, a: number, b: number): Pairing {
  const share = heads / kvHeads;
  const [width, kvWidth] = [heads * headDim, kvHeads * headDim];
  const straight = identity(headDim);
  // A permutation of queries and keys would tear rotary pairs and frequencies apart.
  const inner = (table: Float64Array): Int32Array => (rotary ? straight : assign(table, headDim));
  let keys = inner(block(k, kvWidth, a, b, headDim));
  let values = assign(block(v, kvWidth, a, b, headDim), headDim);
  let best: Pairing | undefined;
  for (;;) {
    const queries = pairQueries(share, (i, j) => {
      const [x, y] = [a * share + i, b * share + j];
      return gainOf(block(q, width, x, y, headDim), keys) + gainOf(block(o, width, x, y, headDim), values);
    });
    const [keyTable, valueTable] = [block(k, kvWidth, a, b, headDim), block(v, kvWidth, a, b, headDim)];
    for (const [i, query] of queries.entries()) {
      addBlock(keyTable, q, width, a * share + i, b * share + query, headDim);
      addBlock(valueTable, o, width, a * share + i, b * share + query, headDim);
    }
    keys = inner(keyTable);
    values = assign(valueTable, headDim);
    const gain = gainOf(keyTable, keys) + gainOf(valueTable, values);
    if (best !== undefined && !(gain > best.gain)) return best;
    best = { gain, queries, keys, values };
    if (share === 1) return best;
  }
}

function pairQueries(share: number, gain: (i: number, j: number) => number): Int32Array {
  const table = new Float64Array(share ** 2);
  for (let i = 0; i < share; i++) for (let j = 0; j < share; j++) table[i * share + j] = share === 1 ? 0 : gain(i, j);
  return assign(table, share);
}

/** The orders of all dimensions that pairs of heads make. */
function spread({ heads, kvHeads, headDim }: HeadSpaces, pairs: readonly (Pairing & { readonly b: number })[]): Record<keyof Tables, Int32Array> {
  const share = heads / kvHeads;
  const q = new Int32Array(heads * headDim);
  const o = new Int32Array(heads * headDim);
  const k = new Int32Array(kvHeads * headDim);
  const v = new Int32Array(kvHeads * headDim);
  for (const [a, { b, queries, keys, values }] of pairs.entries())
    for (let d = 0; d < headDim; d++) {
      k[a * headDim + d] = b * headDim + (keys[d] as number);
      v[a * headDim + d] = b * headDim + (values[d] as number);
      for (const [i, query] of queries.entries()) {
        const [to, from] = [(a * share + i) * headDim, (b * share + query) * headDim];
        q[to + d] = from + (keys[d] as number);
        o[to + d] = from + (values[d] as number);
      }
    }
  return { q, k, v, o };
}
