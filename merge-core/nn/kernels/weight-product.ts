// Products with a weight that may be kept in 16 bits: it is widened block by block, so that no large weight ever lies in memory as a whole
// in float32. The bits are those of the product with all of it.
import type * as tf from "@tensorflow/tfjs-core";
import { cut, gemm, type MatrixView, matrix } from "../../compute/gemm.ts";
import type { SharedBackend } from "../storage.ts";

/** Elements of a block. */
const BLOCK = 1 << 22;
/** Borders of blocks along the summed dimension: the kernel adds up as many products at a time. */
const ROWS = 256;

export interface WeightProduct {
  readonly rows: number;
  readonly x: MatrixView;
  /** [out, in] */
  readonly weight: tf.TensorInfo;
  /** X W^T of x [rows, out], or X W of x [rows, in]. */
  readonly transposed: boolean;
  /** Address of the result, row by row. */
  readonly to: number;
}

export function multiplyWeight(backend: SharedBackend, { rows, x, weight, transposed, to }: WeightProduct, blockSize = BLOCK): void {
  const { pool } = backend;
  const [out = 0, inputs = 0] = weight.shape;
  const frozen = backend.frozenData(weight);
  const product = (from: number, until: number, address: number): void => {
    const b = matrix(address, until - from, inputs, transposed);
    if (transposed) gemm(pool, { rows, columns: until - from, depth: inputs, a: x, b, c: { address: to + from * 4, rowStride: out, columnStride: 1 } });
    else {
      const a = { ...x, address: x.address + from * x.columnStride * 4 };
      gemm(pool, { rows, columns: inputs, depth: until - from, a, b, c: matrix(to, rows, inputs), accumulate: from > 0 });
    }
  };
  if (frozen === undefined || frozen.size <= blockSize) {
    product(0, out, backend.address(weight));
    return;
  }
  const blocks = cut(out, Math.ceil(frozen.size / blockSize), ROWS);
  const scratch = pool.arena.alloc(Math.max(...blocks.map(([from, until]) => until - from)) * inputs * 4);
  try {
    for (const [from, until] of blocks) {
      frozen.widenInto(scratch, from * inputs, until * inputs);
      product(from, until, scratch);
    }
  } finally {
    pool.arena.free(scratch);
  }
}
