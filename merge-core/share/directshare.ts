// DirectShare (Cao et al. 2024, 2402.11819): the heads that are most like a head of an earlier layer take that head's weights. With grouped
// queries a key-value head and all its query heads are one unit.
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import { type Attention, type AttentionLayer, PROJECTIONS, type Projection, stretches } from "./attention.ts";
import type { Stretch } from "./places.ts";

/** Which projections are compared. */
export const MATCHES: Readonly<Record<string, readonly Projection[]>> = {
  q: ["q"],
  k: ["k"],
  v: ["v"],
  qk: ["q", "k"],
  qkv: ["q", "k", "v"],
  total: PROJECTIONS,
};

export interface Unit {
  readonly layer: number;
  readonly unit: number;
}

export interface SharedUnit extends Unit {
  /** Whose weights it takes, as the model had them. */
  readonly from: Unit;
  readonly cosine: number;
}

/** How like the heads of one model are, before any is shared. */
export interface HeadSimilarity {
  /** By layer and unit, the best match in earlier layers; the first layer has none. */
  readonly best: readonly (readonly SharedUnit[])[];
  /** By layer, for each earlier layer, the mean over the units of their best cosine there. */
  readonly layers: readonly (readonly number[])[];
}

/**
 * Every unit of every layer but the first finds its best match in earlier layers; of all pairs the best `rate * layers * units` are shared.
 * With `chase`, a unit whose match is itself replaced takes what that one takes.
 */
export async function chooseShared(
  attention: Attention,
  {
    rate,
    match,
    chase = false,
    signal,
    onLayer,
  }: {
    readonly rate: number;
    readonly match: readonly Projection[];
    readonly chase?: boolean;
    readonly signal?: AbortSignal | undefined;
    readonly onLayer?: (done: number, total: number) => void;
  },
): Promise<{ readonly shared: readonly SharedUnit[]; readonly similarity: HeadSimilarity }> {
  const { layers, kvHeads } = attention;
  const units: Float32Array[][] = [];
  const matches: (readonly SharedUnit[])[][] = [];
  const reader = new TensorReader();
  try {
    for (const [layer, { tensors }] of layers.entries()) {
      throwIfCancelled(signal);
      onLayer?.(layer, layers.length);
      units.push(await unitVectors(attention, tensors, match, reader));
      matches.push(Array.from({ length: kvHeads }, (_, unit) => matchesByLayer(units, layer, unit)));
    }
  } finally {
    await reader.close();
  }
  const count = Math.floor(rate * layers.length * kvHeads + 1e-9);
  const best = matches.map((own) => own.flatMap((found) => strongest(found) ?? []));
  const chosen = best
    .flat()
    .sort((x, y) => y.cosine - x.cosine || y.layer - x.layer || x.unit - y.unit)
    .slice(0, count);
  const means = matches.map((own, layer) =>
    Array.from({ length: layer }, (_, other) => own.reduce((sum, found) => sum + (found[other]?.cosine ?? 0), 0) / kvHeads),
  );
  return { shared: chase ? chosen.map((pair) => ({ ...pair, from: root(pair.from, chosen) })) : chosen, similarity: { best, layers: means } };
}

/** Of equals the first. */
const strongest = (found: readonly SharedUnit[]): SharedUnit | undefined =>
  found.reduce<SharedUnit | undefined>((best, pair) => (best === undefined || pair.cosine > best.cosine ? pair : best), undefined);

/** What each unit holds of the projections that are compared, scaled to norm 1. */
async function unitVectors(
  attention: Attention,
  tensors: AttentionLayer["tensors"],
  match: readonly Projection[],
  reader: TensorReader,
): Promise<Float32Array[]> {
  const parts: Float32Array[][] = Array.from({ length: attention.kvHeads }, () => []);
  for (const tensor of tensors) {
    const compared = tensor.bias ? [] : tensor.parts.filter(({ projection }) => match.includes(projection));
    if (compared.length === 0) continue;
    const values = await reader.read(tensor.entry);
    for (const [unit, own] of parts.entries())
      for (const at of stretches(attention, { parts: compared }, unit)) own.push(takeStretch(values, tensor.columns, tensor.alongColumns, at));
  }
  return parts.map((own) => {
    const vector = new Float32Array(own.reduce((sum, { length }) => sum + length, 0));
    let first = 0;
    for (const part of own) {
      vector.set(part, first);
      first += part.length;
    }
    let square = 0;
    for (const x of vector) square += x * x;
    return square > 0 ? vector.map((x) => x / Math.sqrt(square)) : vector;
  });
}

/** Rows, or columns, of a matrix as one list. */
export function takeStretch(values: ArrayLike<number>, columns: number, alongColumns: boolean, [first, count]: Stretch): Float32Array {
  const rows = values.length / columns;
  const taken = new Float32Array(alongColumns ? rows * count : count * columns);
  if (!alongColumns) for (let i = 0; i < taken.length; i++) taken[i] = values[first * columns + i] as number;
  else for (let i = 0; i < rows; i++) for (let j = 0; j < count; j++) taken[i * count + j] = values[i * columns + first + j] as number;
  return taken;
}

/** The unit of each earlier layer that is most like this one. */
function matchesByLayer(units: readonly (readonly Float32Array[])[], layer: number, unit: number): SharedUnit[] {
  const own = units[layer]?.[unit] as Float32Array;
  return units.slice(0, layer).map((others, otherLayer) => {
    let best: SharedUnit = { layer, unit, from: { layer: otherLayer, unit: 0 }, cosine: Number.NEGATIVE_INFINITY };
    for (const [otherUnit, other] of others.entries()) {
      let cosine = 0;
      for (let i = 0; i < own.length; i++) cosine += (own[i] as number) * (other[i] as number);
      if (cosine > best.cosine) best = { layer, unit, from: { layer: otherLayer, unit: otherUnit }, cosine };
    }
    return best;
  });
}

function root(unit: Unit, shared: readonly SharedUnit[]): Unit {
  const next = shared.find((pair) => pair.layer === unit.layer && pair.unit === unit.unit);
  return next === undefined ? unit : root(next.from, shared);
}
