// Families that are folded by evaluating their mathematics in float64.
import { type Array64, float64 } from "./algebra/float64.ts";
import { type AdapterFamily, type AdapterModule, addLowRank, type LowRank, type RowChange } from "./family.ts";
import { type FamilyMath, hasFactors, type Part } from "./family-math.ts";

/** Of an adapter in memory, in float64. */
export function partOfModule(
  family: Pick<AdapterFamily, "tensors" | "shared" | "derive">,
  module: AdapterModule,
  weight?: () => ArrayLike<number>,
): Part<Array64> {
  const { layer, settings } = module;
  const isIndex = new Set([...family.tensors, ...family.shared].filter(({ index }) => index).map(({ name }) => name));
  const derived = weight === undefined ? {} : (family.derive?.(weight(), layer, settings) ?? {});
  const entries = Object.entries({ ...module.tensors, ...derived });
  return {
    layer,
    settings,
    module: "",
    tensors: Object.fromEntries(entries.filter(([name]) => !isIndex.has(name)).map(([name, { values, shape }]) => [name, float64.constant(values, shape)])),
    indices: Object.fromEntries(entries.filter(([name]) => isIndex.has(name)).map(([name, { values }]) => [name, values])),
  };
}

/** A family whose folding is its mathematics, evaluated in float64. */
export function defineFamily(family: Omit<AdapterFamily, "open" | "factors"> & { readonly math: FamilyMath }): AdapterFamily {
  const { math } = family;
  const factors = (module: AdapterModule, weight?: () => ArrayLike<number>): LowRank => {
    const found = math.lowRank?.(float64, partOfModule(family, module, weight), {});
    if (found === undefined) throw new TypeError(`${family.type} has no factors`);
    return { ...module.layer, r: found.a.shape[0] ?? 0, a: found.a.values, b: found.b.values, scale: found.scale };
  };
  return {
    ...family,
    open(module, weight) {
      if (hasFactors(math, module.settings)) return addLowRank(factors(module, weight));
      return adaptedRows(family, module, weight);
    },
    ...(math.lowRank === undefined || family.derive !== undefined || family.foldable !== "exact" ? {} : { factors }),
  };
}

function adaptedRows(
  family: Pick<AdapterFamily, "type" | "tensors" | "shared" | "derive" | "math">,
  module: AdapterModule,
  weight?: () => ArrayLike<number>,
): RowChange {
  const { inFeatures, outFeatures } = module.layer;
  if (weight === undefined || family.math?.weight === undefined) throw new TypeError(`${family.type} cannot be folded without its weight`);
  const base = float64.constant(weight(), [outFeatures, inFeatures]);
  const { values } = family.math.weight(float64, partOfModule(family, module, weight), base, {});
  return (row, o) => row.set(values.subarray(o * inFeatures, (o + 1) * inFeatures));
}
