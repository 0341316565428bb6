// Weight matching (Git Re-Basin: Ainsworth et al. 2022, 2209.04836): the permutations of B under which its weights correlate most with A's.
// Each group's best permutation is found exactly while the others stay, in a seeded random order, until nothing gains any more.
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { inTurns, type Pause, turns } from "../compute/linalg/steps.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import { permutation } from "../nn/random.ts";
import { assignSteps, gainOf } from "./assignment.ts";
import { matchHeads } from "./heads.ts";
import { identity, type Orders } from "./permute.ts";
import { type Found, type ProductOptions, Products } from "./products.ts";
import type { Group, Symmetries } from "./symmetries.ts";

export interface MatchOptions extends ProductOptions {
  readonly seed?: number;
  /** Orders that are settled already, of spaces without a group. */
  readonly settled?: Orders;
  readonly onProgress?: ((done: number, total: number, group: string) => void) | undefined;
}

export interface Matched {
  readonly orders: Orders;
  readonly sweeps: number;
  /** Inner product of the weights that can be permuted, before and after. */
  readonly groups: readonly { readonly group: string; readonly size: number; readonly moved: number; readonly before: number; readonly after: number }[];
}

const MAX_SWEEPS = 100;
/** Of the products of float32; what gains less than this share is rounding. */
const LEAST_GAIN = 1e-6;

/** @throws WeightsmithError `non-finite`, `align-tensor-unsupported`, `cancelled` */
export async function matchWeights(a: Checkpoint, b: Checkpoint, { axes, groups }: Symmetries, options: MatchOptions): Promise<Matched> {
  const orders = new Map<string, Int32Array>(options.settled ?? []);
  for (const group of groups) for (const [space, size] of spacesOf(group)) orders.set(space, identity(size));
  const gains = new Map<string, { before: number; after: number }>();
  const reader = new TensorReader();
  const pause = turns(options.signal);
  let sweeps = 0;
  try {
    // Groups that share no tensor cannot change each other's choice; one sweep settles them.
    for (let open = [...groups]; open.length > 0 && sweeps < MAX_SWEEPS; sweeps++) {
      const improved: Group[] = [];
      const order = permutation(options.seed ?? 0, `sweep ${sweeps}`, open.length);
      for (const [done, at] of order.entries()) {
        const group = open[at] as Group;
        throwIfCancelled(options.signal);
        options.onProgress?.(done, open.length, nameOf(group));
        const products = new Products(a, b, axes, orders, reader, options);
        const found =
          group.kind === "units" ? await matchUnits(group.space, group.size, products, orders, pause) : await matchHeads(group, products, orders, pause);
        gains.set(nameOf(group), { before: gains.get(nameOf(group))?.before ?? found.before, after: found.after });
        if (!(found.after - found.before > LEAST_GAIN * found.scale)) continue;
        for (const [space, chosen] of found.orders) orders.set(space, chosen);
        improved.push(group);
      }
      const touched = new Set(improved.flatMap((group) => neighbours(group, groups, axes)));
      open = groups.filter((group) => touched.has(group));
    }
  } finally {
    await reader.close();
  }
  return { orders, sweeps, groups: groups.map((group) => describe(group, orders, gains.get(nameOf(group)))) };
}

const nameOf = (group: Group): string => (group.kind === "units" ? group.space : `${group.prefix}.heads`);

function spacesOf(group: Group): [string, number][] {
  if (group.kind === "units") return [[group.space, group.size]];
  const { q, k, v, o } = group.spaces;
  const [width, kvWidth] = [group.heads * group.headDim, group.kvHeads * group.headDim];
  return [
    [q, width],
    [k, kvWidth],
    [v, kvWidth],
    [o, width],
  ];
}

function describe(group: Group, orders: Orders, gain: { before: number; after: number } | undefined): Matched["groups"][number] {
  const spaces = spacesOf(group).map(([space]) => orders.get(space) as Int32Array);
  const moved = spaces.reduce((sum, order) => sum + order.filter((from, i) => from !== i).length, 0);
  return { group: nameOf(group), size: spaces.reduce((sum, { length }) => sum + length, 0), moved, before: gain?.before ?? 0, after: gain?.after ?? 0 };
}

/** Other groups that permute a tensor that this one permutes. */
function neighbours(group: Group, groups: readonly Group[], axes: Symmetries["axes"]): Group[] {
  const own = new Set(spacesOf(group).map(([space]) => space));
  const met = new Set<string | undefined>();
  for (const tensor of axes.values()) {
    const spaces = tensor.flat().map(({ space }) => space);
    if (spaces.some((space) => space !== undefined && own.has(space))) for (const space of spaces) met.add(space);
  }
  return groups.filter((other) => other !== group && spacesOf(other).some(([space]) => met.has(space)));
}

async function matchUnits(space: string, size: number, products: Products, orders: Orders, pause: Pause): Promise<Found> {
  const gain = await products.of(space, size);
  const order = await inTurns(assignSteps(gain, size), pause);
  const before = gainOf(gain, orders.get(space) as Int32Array);
  return { orders: [[space, order]], before, after: gainOf(gain, order), scale: products.scale };
}
