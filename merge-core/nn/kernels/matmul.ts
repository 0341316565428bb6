// tfjs's matrix product on our GEMM; transposition costs nothing, it is a matter of strides.
import * as tf from "@tensorflow/tfjs-core";
import { gemm, matrix } from "../../compute/gemm.ts";
import { allFloat, type KernelCall, registerFast } from "./kernel.ts";
import { multiplyWeight } from "./weight-product.ts";

export function registerMatMul(): void {
  registerFast("BatchMatMul", batchMatMul);
}

function batchMatMul({ inputs: { a, b }, attrs, backend }: KernelCall): tf.TensorInfo | undefined {
  if (a === undefined || b === undefined || !allFloat(a, b)) return undefined;
  const [batchA, rowsA, columnsA] = splitShape(a.shape);
  const [batchB, rowsB, columnsB] = splitShape(b.shape);
  const [transposeA, transposeB] = [attrs.transposeA === true, attrs.transposeB === true];
  const [rows, depth] = transposeA ? [columnsA, rowsA] : [rowsA, columnsA];
  const [depthB, columns] = transposeB ? [columnsB, rowsB] : [rowsB, columnsB];
  const sameBatch = a.shape.slice(0, -2).join() === b.shape.slice(0, -2).join();
  if (depth !== depthB || !(sameBatch || batchA === 1 || batchB === 1)) return undefined;
  const outer = tf.broadcast_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const out = backend.output([...outer, rows, columns]);
  if (outer.length === 0 && backend.frozenData(b) !== undefined) {
    multiplyWeight(backend, { rows, x: matrix(backend.address(a), rowsA, columnsA, transposeA), weight: b, transposed: transposeB, to: backend.address(out) });
    return out;
  }
  // A shared right-hand side makes the batch one tall matrix.
  const tall = batchB === 1 && !transposeA ? batchA : 1;
  const repeat = (batch: number, view: ReturnType<typeof matrix>) => (batch === 1 ? { ...view, batchStride: 0 } : view);
  gemm(backend.pool, {
    rows: rows * tall,
    columns,
    depth,
    batch: tall === 1 ? Math.max(batchA, batchB) : 1,
    a: repeat(batchA, matrix(backend.address(a), rowsA, columnsA, transposeA)),
    b: repeat(batchB, matrix(backend.address(b), rowsB, columnsB, transposeB)),
    c: matrix(backend.address(out), rows, columns),
  });
  return out;
}

/** [batch, rows, columns] of a shape of two or more dimensions. */
function splitShape(shape: readonly number[]): [number, number, number] {
  const [rows = 1, columns = 1] = shape.slice(-2);
  return [shape.slice(0, -2).reduce((size, n) => size * n, 1), rows, columns];
}
