// A matrix product in the shared memory, as a value.

/** A matrix in the shared memory: address in bytes, strides in elements. Swap the strides to transpose. */
export interface MatrixView {
  readonly address: number;
  readonly rowStride: number;
  readonly columnStride: number;
  /** Elements from one batch entry to the next; 0 repeats the matrix. */
  readonly batchStride?: number;
}

export interface Product {
  readonly rows: number;
  readonly columns: number;
  /** Length of the sums; 0 gives zeros. */
  readonly depth: number;
  readonly batch?: number;
  readonly a: MatrixView;
  readonly b: MatrixView;
  /** `columnStride` must be 1. */
  readonly c: MatrixView;
  /** C += A B instead of C = A B. */
  readonly accumulate?: boolean;
}

/** Strides of a row-major rows x columns matrix, or of its transpose. */
export function matrix(address: number, rows: number, columns: number, transposed = false): MatrixView {
  const batchStride = rows * columns;
  return transposed ? { address, rowStride: 1, columnStride: columns, batchStride } : { address, rowStride: columns, columnStride: 1, batchStride };
}
