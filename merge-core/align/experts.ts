// The experts of a mixture have no order of their own: permuted together with the rows of their router they compute the same. Pairs of experts
// are judged by the best permutation of their hidden units, and the pairs of a layer are chosen exactly; then units are matched as ever.
import { setImmediate } from "node:timers/promises";
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import type { TensorReader } from "../checkpoints/tensor-reader.ts";
import { inTurns, turns } from "../compute/linalg/steps.ts";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { assign, assignSteps, gainOf } from "./assignment.ts";
import { identity } from "./permute.ts";
import { type ProductOptions, Products } from "./products.ts";
import type { Axes, Symmetries } from "./symmetries.ts";

export interface ExpertMatch {
  /** B with its experts where they belong; routers are permuted by the orders. */
  readonly b: Checkpoint;
  readonly symmetries: Symmetries;
  /** By space of a router's rows. */
  readonly orders: ReadonlyMap<string, Int32Array>;
}

interface Mixture {
  /** What stands before the number of an expert. */
  readonly prefix: string;
  readonly experts: number;
  /** Tensors with a row for each expert. */
  readonly routers: readonly TensorEntry[];
}

const EXPERT = /^(.*\.experts)\.(\d+)\./;
/** Beside the experts; a shared expert's gate is none of theirs. */
const ROUTER = /^(gate|router)(\.\w+)*\.(weight|bias|e_score_correction_bias)$/;

/** @throws WeightsmithError `align-experts`, `cancelled`, and what reading tensors throws */
export async function matchExperts(
  a: Checkpoint,
  b: Checkpoint,
  symmetries: Symmetries,
  options: ProductOptions & { readonly reader: TensorReader; readonly onLayer?: ((done: number, total: number, layer: string) => void) | undefined },
): Promise<ExpertMatch> {
  const mixtures = findMixtures(b);
  const orders = new Map<string, Int32Array>();
  const axes = new Map(symmetries.axes);
  const places = new Map<string, number>();
  for (const [done, mixture] of mixtures.entries()) {
    options.onLayer?.(done, mixtures.length, mixture.prefix);
    const order = await matchMixture(a, b, mixture, symmetries, options);
    orders.set(mixture.prefix, order);
    for (const { name, shape } of mixture.routers) axes.set(name, routerAxes(mixture, shape));
    // Expert order[i] of B becomes expert i.
    for (const [to, from] of order.entries()) places.set(`${mixture.prefix}.${from}.`, to);
  }
  return { b: renumbered(b, places), symmetries: { ...symmetries, axes }, orders };
}

function findMixtures(model: Checkpoint): Mixture[] {
  const found = new Map<string, Set<number>>();
  for (const name of model.tensors.keys()) {
    const [, prefix = "", number] = EXPERT.exec(name) ?? [];
    if (number !== undefined) found.set(prefix, (found.get(prefix) ?? new Set()).add(Number(number)));
  }
  if (found.size === 0) throw unsupported(model, "no experts that are stored one by one", "tensors such as ...experts.0.w1.weight");
  const groups = model.config?.n_group;
  if (typeof groups === "number" && groups > 1) throw unsupported(model, `experts in ${groups} groups`, "experts that are routed to all alike");
  return [...found].map(([prefix, numbers]) => mixtureOf(model, prefix, numbers.size));
}

function mixtureOf(model: Checkpoint, prefix: string, experts: number): Mixture {
  const beside = prefix.replace(/experts$/, "");
  const routers = [...model.tensors.values()].filter(
    ({ name, shape }) => name.startsWith(beside) && ROUTER.test(name.slice(beside.length)) && shape[0] === experts,
  );
  if (routers.length === 0) throw unsupported(model, `no router beside ${prefix}`, `a tensor such as ${beside}gate.weight with ${experts} rows`);
  return { prefix, experts, routers };
}

const unsupported = (model: Checkpoint, found: string, expected: string) =>
  inputError("align-experts", "the experts of this model cannot be matched", { file: model.path, found, expected, remedy: "align without --experts" });

const routerAxes = ({ prefix, experts }: Mixture, [, columns]: readonly number[]): Axes => {
  const rows = [{ space: prefix, size: experts }];
  return columns === undefined ? [rows] : [rows, [{ space: undefined, size: columns }]];
};

/** Which expert of B comes first, second, and so on. */
async function matchMixture(
  a: Checkpoint,
  b: Checkpoint,
  mixture: Mixture,
  symmetries: Symmetries,
  options: ProductOptions & { readonly reader: TensorReader },
): Promise<Int32Array> {
  const { prefix, experts, routers } = mixture;
  const routed = new Map(routers.map(({ name, shape }) => [name, routerAxes(mixture, shape)]));
  const gain = await new Products(a, b, routed, new Map(), options.reader, options).of(prefix, experts);
  for (let i = 0; i < experts; i++)
    for (let j = 0; j < experts; j++) {
      throwIfCancelled(options.signal);
      await setImmediate();
      gain[i * experts + j] = (gain[i * experts + j] as number) + (await expertGain(a, b, [`${prefix}.${i}.`, `${prefix}.${j}.`], symmetries, options));
    }
  return assign(gain, experts);
}

/** Inner product of A's expert and B's, its hidden units in their best order. */
async function expertGain(
  a: Checkpoint,
  b: Checkpoint,
  [own, other]: readonly [string, string],
  { axes, groups }: Symmetries,
  options: ProductOptions & { readonly reader: TensorReader },
): Promise<number> {
  const group = groups.find((one) => one.kind === "units" && one.space === `${own}units`);
  if (group?.kind !== "units") throw unsupported(b, own, "projections of experts that are understood");
  const tensors = new Map([...axes].filter(([name]) => name.startsWith(own)));
  const moved = new Map([...tensors.keys()].flatMap((name) => entryAs(b, name.replace(own, other), name)));
  const gain = await new Products(a, { ...b, tensors: moved }, tensors, new Map([[group.space, identity(group.size)]]), options.reader, options).of(
    group.space,
    group.size,
  );
  return gainOf(gain, await inTurns(assignSteps(gain, group.size), turns(options.signal)));
}

function entryAs({ tensors }: Checkpoint, from: string, name: string): [string, TensorEntry][] {
  const entry = tensors.get(from);
  return entry === undefined ? [] : [[name, { ...entry, name }]];
}

/** The model with each expert under its new number, in the order of the names as they were. */
function renumbered(model: Checkpoint, places: ReadonlyMap<string, number>): Checkpoint {
  const moved = new Map(
    [...model.tensors.values()].map((entry) => {
      const [whole = "", prefix] = EXPERT.exec(entry.name) ?? [];
      const to = places.get(whole);
      const name = to === undefined ? entry.name : `${prefix}.${to}.${entry.name.slice(whole.length)}`;
      return [name, { ...entry, name }] as const;
    }),
  );
  return { ...model, tensors: new Map([...model.tensors.keys()].flatMap((name) => entryAs({ ...model, tensors: moved }, name, name))) };
}
