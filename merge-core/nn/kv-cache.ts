// Keys and values of past positions, so that generating a token costs one row and not the whole sequence again.
// Every sequence keeps its own length: nothing is masked, padding is never stored where it could be read.
import * as tf from "@tensorflow/tfjs-core";
import type { DecoderConfig } from "./config.ts";
import { type Attend, causalAttend } from "./llama.ts";
import { rope } from "./ops.ts";
import type { RopeTable } from "./rope.ts";
import { readValues } from "./storage.ts";

export interface KvCache {
  readonly config: DecoderConfig;
  readonly table: RopeTable;
  readonly capacity: number;
  /** Per layer, [slots, capacity, kvHeads * headDim]; keys are already rotated. */
  readonly keys: readonly Float32Array[];
  readonly values: readonly Float32Array[];
}

export function createCache(config: DecoderConfig, table: RopeTable, slots: number): KvCache {
  const size = slots * table.positions * config.kvHeads * config.headDim;
  const perLayer = () => Array.from({ length: config.layers }, () => new Float32Array(size));
  return { config, table, capacity: table.positions, keys: perLayer(), values: perLayer() };
}

/** Attention over whole right-padded prompts, filling slots 0 to batch - 1 on the way. */
export function prefillAttend(cache: KvCache, batch: number, seq: number): Attend {
  const attend = causalAttend(cache.config, cache.table, batch, seq);
  const filling = (layer: number, q: tf.Tensor2D, k: tf.Tensor2D, v: tf.Tensor2D) => {
    store(cache, cache.keys[layer], rope(k, cache.table, batch, seq), batch, seq);
    store(cache, cache.values[layer], v, batch, seq);
    return attend(layer, q, k, v);
  };
  return Object.assign(filling, { positions: attend.positions });
}

function store(cache: KvCache, into: Float32Array | undefined, rows: tf.Tensor2D, batch: number, seq: number): void {
  const data = readValues(rows);
  const width = rows.shape[1];
  for (let b = 0; b < batch; b++) into?.set(data.subarray(b * seq * width, (b + 1) * seq * width), b * cache.capacity * width);
}

/** Attention of one new position per sequence. Row i belongs to slot `slots[i]` and stands at position `positions[i]`. */
export function decodeAttend(cache: KvCache, slots: readonly number[], positions: readonly number[]): Attend {
  const single = (layer: number, q: tf.Tensor2D, k: tf.Tensor2D, v: tf.Tensor2D) => {
    const keys = cache.keys[layer];
    const values = cache.values[layer];
    if (keys === undefined || values === undefined) throw new RangeError("no such layer");
    const query = readValues(q).slice();
    const key = readValues(k).slice();
    const value = readValues(v);
    const width = k.shape[1];
    const out = new Float32Array(query.length);
    for (const [row, slot] of slots.entries()) {
      const position = positions[row] ?? 0;
      rotate(query, row * q.shape[1], q.shape[1], cache.table, position);
      rotate(key, row * width, width, cache.table, position);
      const place = (slot * cache.capacity + position) * width;
      keys.set(key.subarray(row * width, (row + 1) * width), place);
      values.set(value.subarray(row * width, (row + 1) * width), place);
      attendRow(cache.config, query, row * q.shape[1], keys, values, slot * cache.capacity * width, position, out);
    }
    return tf.tensor2d(out, [slots.length, q.shape[1]]);
  };
  return Object.assign(single, { positions: Int32Array.from(positions) });
}

function rotate(x: Float32Array, offset: number, width: number, table: RopeTable, position: number): void {
  const { half } = table;
  if (half === 0) return;
  for (let head = offset; head < offset + width; head += 2 * half) {
    for (let i = 0; i < half; i++) {
      const cos = table.cos[position * half + i] ?? 0;
      const sin = table.sin[position * half + i] ?? 0;
      const a = x[head + i] ?? 0;
      const b = x[head + half + i] ?? 0;
      x[head + i] = a * cos - b * sin;
      x[head + half + i] = b * cos + a * sin;
    }
  }
}

/** softmax(q K^T / sqrt(headDim)) V of one row over the positions it may see, head by head. */
function attendRow(
  config: DecoderConfig,
  query: Float32Array,
  at: number,
  keys: Float32Array,
  values: Float32Array,
  base: number,
  position: number,
  out: Float32Array,
): void {
  const { heads, kvHeads, headDim } = config;
  const width = kvHeads * headDim;
  const first = Math.max(0, position + 1 - (config.slidingWindow ?? Number.POSITIVE_INFINITY));
  const scores = new Float64Array(position + 1 - first);
  for (let head = 0; head < heads; head++) {
    const shared = base + Math.floor((head * kvHeads) / heads) * headDim;
    const from = at + head * headDim;
    let largest = Number.NEGATIVE_INFINITY;
    for (let t = first; t <= position; t++) {
      let dot = 0;
      for (let i = 0; i < headDim; i++) dot += query[from + i]! * keys[shared + t * width + i]!;
      scores[t - first] = dot / Math.sqrt(headDim);
      largest = Math.max(largest, dot / Math.sqrt(headDim));
    }
    let total = 0;
    for (let t = 0; t < scores.length; t++) total += scores[t] = Math.exp(scores[t]! - largest);
    for (let t = first; t <= position; t++) {
      const weight = scores[t - first]! / total;
      for (let i = 0; i < headDim; i++) out[from + i]! += weight * values[shared + t * width + i]!;
    }
  }
}
