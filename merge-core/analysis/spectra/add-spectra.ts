// Adds spectra and subspaces to a comparison: each matrix by itself, then means over the matrices of each layer, role and the whole.
import type { Checkpoint, TensorEntry } from "../../checkpoints/checkpoint.ts";
import { placeOf } from "../../checkpoints/tensor-roles.ts";
import type { ComputePool } from "../../compute/pool.ts";
import { openTensorEngine } from "../../compute/tensor-engine.ts";
import type { FloatDType } from "../../formats/dtypes.ts";
import type { Comparison, Group, LayerGroup, Measure, Measures, TensorGroup, TensorSpectra } from "../comparison.ts";
import { SPECTRA_EXPLANATIONS } from "./explanations.ts";
import { measureMatrix, type SpectraOptions, spectraBytes } from "./measure-matrix.ts";

export interface AddSpectraOptions extends SpectraOptions {
  readonly pool: ComputePool;
  readonly memoryBytes: number;
  /** Matrices measured of all, and the tensor at work. */
  readonly onProgress?: (done: number, total: number, tensor: string) => void;
}

/** Of every matrix in the comparison. @param base,models those that were compared @throws WeightsmithError `cancelled`, `file-read` */
export async function addSpectra(
  comparison: Comparison,
  base: Checkpoint | undefined,
  models: readonly Checkpoint[],
  options: AddSpectraOptions,
): Promise<Comparison> {
  const all = base === undefined ? models : [base, ...models];
  const judged = comparison.tensors.map((tensor) => ({ tensor, reason: reasonToSkip(tensor, models.length, options) }));
  const matrices = judged.flatMap(({ tensor, reason }) => (reason === undefined ? tensor : []));
  const spectra: TensorSpectra[] = [];
  for (const [done, { name }] of matrices.entries()) {
    options.onProgress?.(done, matrices.length, name);
    spectra.push(
      await measureEntries(
        all.flatMap((model) => model.tensors.get(name) ?? []),
        base !== undefined,
        options,
      ),
    );
  }
  options.onProgress?.(matrices.length, matrices.length, "");
  const skipped = judged.flatMap(({ tensor, reason }) => (reason === undefined ? [] : { name: tensor.name, reason }));
  return { ...spreadSpectra(comparison, spectra), spectra, spectraSkipped: skipped, explanations: [...comparison.explanations, ...SPECTRA_EXPLANATIONS] };
}

function reasonToSkip({ shape }: TensorGroup, models: number, { exact, memoryBytes }: AddSpectraOptions): string | undefined {
  if (shape.length !== 2) return `has ${shape.length} ${shape.length === 1 ? "dimension" : "dimensions"}; only matrices have singular values`;
  const needed = spectraBytes(shape, models, exact);
  return needed > memoryBytes ? `needs ${Math.ceil(needed / 2 ** 20)} MiB of memory; --memory allows ${Math.floor(memoryBytes / 2 ** 20)} MiB` : undefined;
}

async function measureEntries(entries: readonly TensorEntry[], hasBase: boolean, options: AddSpectraOptions): Promise<TensorSpectra> {
  const { name, shape } = entries[0] as TensorEntry;
  const inputs = entries.map(({ file, offset, dtype }) => ({ file, offset, dtype: dtype as FloatDType }));
  const { pool, memoryBytes, signal } = options;
  const engine = openTensorEngine(pool, { name, shape, seed: 0, inputs, output: { dtype: "F32" }, memoryBytes: memoryBytes / TILES_SHARE, signal });
  try {
    return await measureMatrix(engine, name, hasBase, options);
  } finally {
    engine.close();
  }
}

/** Part of the memory that reading takes beside the matrices. */
const TILES_SHARE = 8;

/** The comparison with means of the spectra's measures in every group that holds matrices. */
export function spreadSpectra(comparison: Comparison, spectra: readonly TensorSpectra[]): Comparison {
  const placed = spectra.map((found) => ({ found, ...placeOf(found.tensor) }));
  const layerOf = ({ prefix, layer }: (typeof placed)[number]) => `${prefix}.${layer}`;
  const of = (keep: (item: (typeof placed)[number]) => boolean) => placed.filter(keep).map(({ found }) => found);
  const layers = comparison.layers.map(
    (layer): LayerGroup => ({
      ...withMeans(
        layer,
        of((item) => layerOf(item) === layer.name),
      ),
      roles: layer.roles.map((role) =>
        withMeans(
          role,
          of((item) => layerOf(item) === layer.name && item.role === role.name),
        ),
      ),
    }),
  );
  const byName = new Map(spectra.map((found) => [found.tensor, found]));
  return {
    ...comparison,
    total: withMeans(comparison.total, spectra),
    roles: comparison.roles.map(
      (role): Group =>
        withMeans(
          role,
          of((item) => item.role === role.name),
        ),
    ),
    layers,
    tensors: comparison.tensors.map((tensor) => withMeans(tensor, [byName.get(tensor.name) ?? []].flat())),
  };
}

function withMeans<T extends Measures>(group: T, spectra: readonly TensorSpectra[]): T {
  if (spectra.length === 0) return group;
  const over = (value: (found: TensorSpectra) => Measure | undefined) => mean(spectra.map(value));
  const ranks = (of: (found: TensorSpectra) => TensorSpectra["models"][number] | undefined) => ({
    effectiveRank: over((found) => of(found)?.effectiveRank),
    stableRank: over((found) => of(found)?.stableRank),
  });
  const models = group.models.map((model, i) => ({
    ...model,
    ...ranks(({ weights }) => weights?.[i]),
    ...(model.changes === undefined ? {} : { changes: { ...model.changes, ...ranks((found) => found.models[i]) } }),
  }));
  const pairs = group.pairs.map((pair, i) =>
    pair.changes === undefined
      ? pair
      : {
          ...pair,
          changes: {
            ...pair.changes,
            subspace: over((found) => found.pairs?.[i]?.subspace),
            subspaceReverse: over((found) => found.pairs?.[i]?.subspaceReverse),
            angle: over((found) => mean(found.pairs?.[i]?.angles ?? [])),
            directionOverlap: over((found) => found.pairs?.[i]?.overlap),
          },
        },
  );
  return { ...group, models, pairs };
}

/** Over the values that exist. */
function mean(values: readonly (Measure | undefined)[]): Measure {
  const known = values.filter((value) => typeof value === "number");
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}
