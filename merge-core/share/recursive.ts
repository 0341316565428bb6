// Recursive transformers (Bae et al. 2024, 2410.20672): a few blocks of layers, gone through several times. Layer l uses block l mod K.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { layerStacks, placeOf } from "../checkpoints/tensor-roles.ts";
import { inputError } from "../diagnostics.ts";
import { isFloat } from "../formats/dtypes.ts";

export const STARTS = ["stepwise", "average", "lower"] as const;
export type Start = (typeof STARTS)[number];

export interface Tying {
  readonly layers: number;
  readonly blocks: number;
  /** Of each block, the layers whose mean its matrices are. */
  readonly sources: readonly (readonly number[])[];
  /** Matrices by what follows the layer's number, each with the same matrix of all layers. */
  readonly matrices: ReadonlyMap<string, readonly TensorEntry[]>;
}

/**
 * Ties the matrices of the deepest stack of layers; norms and biases stay each layer's own.
 * @throws WeightsmithError `share-unsupported`
 */
export function tieLayers(model: Checkpoint, loops: number, start: Start): Tying {
  const [prefix, layers] = [...layerStacks(model.tensors.keys())].sort(([, x], [, y]) => y - x)[0] ?? ["", 0];
  const refuse = (found: string, expected: string) =>
    inputError("share-unsupported", "the layers of this model cannot be tied", { file: model.path, found, expected });
  if (layers < 2) throw refuse(`${layers} layers`, "two or more");
  if (loops < 2 || layers % loops !== 0) throw refuse(`${layers} layers and ${loops} loops`, "two or more loops that divide the number of layers");
  const matrices = new Map<string, TensorEntry[]>();
  for (const entry of model.tensors.values()) {
    const place = placeOf(entry.name);
    if (place.layer === undefined || place.prefix !== prefix || entry.shape.length !== 2 || !isFloat(entry.dtype)) continue;
    const list = matrices.get(place.rest) ?? [];
    list[place.layer] = entry;
    matrices.set(place.rest, list);
  }
  for (const [rest, list] of matrices) {
    const [first] = list;
    for (let l = 0; l < layers; l++)
      if (list[l] === undefined || list[l]?.shape.join() !== first?.shape.join())
        throw refuse(`layer ${l} without ${rest} of the first one's shape`, "layers that are alike");
  }
  const blocks = layers / loops;
  return { layers, blocks, sources: sourcesOf(layers, blocks, start), matrices };
}

function sourcesOf(layers: number, blocks: number, start: Start): number[][] {
  return Array.from({ length: blocks }, (_, k) => {
    if (start === "lower") return [k];
    if (start === "average") return Array.from({ length: layers / blocks }, (_, loop) => loop * blocks + k);
    return [blocks === 1 ? 0 : Math.round((k * (layers - 1)) / (blocks - 1))];
  });
}
