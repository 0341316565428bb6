// One matrix of all models -> spectra of weights and of changes, and how the changes' leading directions lie to each other.
import type { TensorEngine } from "../../compute/engine.ts";
import { type Expr, input, sub } from "../../compute/expr.ts";
import { loadMatrix } from "../../compute/linalg/load-matrix.ts";
import type { Matrix, MatrixSpace } from "../../compute/linalg/matrix.ts";
import { throwIfCancelled } from "../../diagnostics.ts";
import type { Spectrum, SubspacePair, TensorSpectra } from "../comparison.ts";
import { pairsOf } from "../sums.ts";
import { type Decomposition, decompose, decomposeBytes, leadingLeft } from "./decompose.ts";
import { alignment, effectiveRank, overlapOf, principalAngles, spanningRank, stableRank } from "./subspaces.ts";

export interface SpectraOptions {
  /** Leading directions of each change between which angles are measured. */
  readonly directions: number;
  /** Decompose large matrices whole too. */
  readonly exact: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Memory that measuring a matrix takes: all changes with their left vectors, and one decomposition. */
export const spectraBytes = (shape: readonly number[], models: number, exact: boolean): number => {
  const [rows = 0, columns = 0] = shape;
  return models * 4 * rows * (columns + Math.min(rows, columns)) + 4 * rows * columns * 2 + decomposeBytes(shape, exact);
};

/** @param hasBase whether input 0 is the base; without one only weights have spectra */
export function measureMatrix(engine: TensorEngine, tensor: string, hasBase: boolean, options: SpectraOptions): Promise<TensorSpectra> {
  return engine.withMatrices(async (space) => {
    const weights: Spectrum[] = [];
    for (let i = 0; i < engine.inputCount; i++) weights.push(await spectrumOf(engine, space, input(i), options));
    const changes: Change[] = [];
    for (let i = 1; hasBase && i < engine.inputCount; i++) changes.push(await changeOf(engine, space, sub(input(i), input(0)), options));
    return {
      tensor,
      ...(hasBase ? { base: weights[0] as Spectrum } : {}),
      weights: hasBase ? weights.slice(1) : weights,
      models: changes.map(({ found }) => asSpectrum(found)),
      pairs: pairsOf(changes.length).map(([a, b]) => pairOf(space, a, b, changes, options.directions)),
    };
  });
}

interface Change {
  readonly matrix: Matrix;
  readonly found: Decomposition;
}

async function changeOf(engine: TensorEngine, space: MatrixSpace, x: Expr, { exact, signal }: SpectraOptions): Promise<Change> {
  throwIfCancelled(signal);
  const matrix = await loadMatrix(engine, space, x);
  return { matrix, found: await decompose(space, matrix, exact) };
}

async function spectrumOf(engine: TensorEngine, space: MatrixSpace, x: Expr, options: SpectraOptions): Promise<Spectrum> {
  const { matrix, found } = await changeOf(engine, space, x, options);
  space.free(matrix, found.left);
  return asSpectrum(found);
}

/** Digits that float32 weights carry. */
const DIGITS = 7;

function asSpectrum(found: Decomposition): Spectrum {
  return {
    singularValues: Array.from(found.values, (value) => Number(value.toPrecision(DIGITS))),
    effectiveRank: effectiveRank(found),
    stableRank: stableRank(found),
    spanningRank: spanningRank(found),
    ...(found.complete ? {} : { partial: true }),
  };
}

function pairOf(space: MatrixSpace, a: number, b: number, changes: readonly Change[], directions: number): SubspacePair {
  const [x, y] = [changes[a] as Change, changes[b] as Change];
  const share = (of: Change, within: Change) => {
    const rank = spanningRank(within.found);
    return rank === null ? null : alignment(space, of.matrix, within.found, rank);
  };
  const angles = principalAngles(leadingLeft(x.found, directions), leadingLeft(y.found, directions));
  return { a, b, subspace: share(x, y), subspaceReverse: share(y, x), angles, overlap: overlapOf(angles) };
}
