// A formula over a tensor's inputs -> a matrix of a space.
import type { TensorEngine } from "../engine.ts";
import type { Expr } from "../expr.ts";
import type { Matrix, MatrixSpace } from "./matrix.ts";

/** Elements that are copied at a time. */
const LOAD_ELEMENTS = 1 << 22;

/** The values of `x` as a matrix of the tensor's two dimensions. */
export async function loadMatrix(engine: TensorEngine, space: MatrixSpace, x: Expr): Promise<Matrix> {
  const [rows = 1, columns = 1] = engine.shape;
  const matrix = space.zeros(rows, columns);
  const step = Math.max(1, Math.floor(LOAD_ELEMENTS / columns)) * columns;
  for (let first = 0; first < engine.size; first += step) matrix.data.set(await engine.values(x, first, Math.min(engine.size, first + step)), first);
  return matrix;
}
