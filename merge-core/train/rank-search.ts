// Chooses sizes for each module of an adapter that was trained with elastic ones: first the middle of each list (Shears,
// 2404.10934), then, at no higher total, exchanges of size between two modules that lower the validation loss. The papers
// search by evolution over many subnetworks; exchanges find as much here with few measurements, and are repeatable.
import { elasticRanks, elasticWidths } from "../adapters/families/elastic.ts";
import { numberOf, type Settings } from "../adapters/family.ts";
import type { Site } from "../adapters/family-training.ts";
import { uniforms } from "../nn/random.ts";

/** What was chosen for a module, as the family's settings name it. */
export interface ChosenSizes {
  readonly elastic_rank?: number;
  readonly elastic_width?: number;
}

/** By module path. */
export type Sizes = ReadonlyMap<string, ChosenSizes>;

export interface SizeChoice {
  readonly sizes: Sizes;
  /** Of the chosen sizes, if there is validation data. */
  readonly loss: number | undefined;
}

/** One size to choose. */
interface Slot {
  readonly module: string;
  readonly name: keyof ChosenSizes;
  /** Ascending. */
  readonly levels: readonly number[];
}

/** Levels of the slots, in their order. */
type Levels = readonly number[];

/**
 * @param lossOf validation loss of the adapter with these sizes; undefined if there is no such data
 * @returns undefined if nothing is elastic
 */
export async function chooseSizes(
  settings: Settings,
  sites: readonly Pick<Site, "module" | "layer">[],
  seed: number,
  lossOf: ((sizes: Sizes) => Promise<number>) | undefined,
): Promise<SizeChoice | undefined> {
  const slots = slotsOf(settings, sites);
  if (slots.length === 0) return undefined;
  const middle = slots.map(({ levels }) => levels[Math.floor((levels.length - 1) / 2)] as number);
  let best: Levels = middle;
  if (lossOf === undefined) return { sizes: sizesOf(slots, best), loss: undefined };
  let loss = await lossOf(sizesOf(slots, best));
  const evaluations = numberOf(settings, "search_evaluations");
  for (let n = 0; n < evaluations; n++) {
    const next = exchanged(best, slots, uniforms(seed, `ranks/${n}`, 2), middle);
    const found = next === undefined ? loss : await lossOf(sizesOf(slots, next));
    if (next !== undefined && found < loss) [best, loss] = [next, found];
  }
  return { sizes: sizesOf(slots, best), loss };
}

function slotsOf(settings: Settings, sites: readonly Pick<Site, "module" | "layer">[]): Slot[] {
  const ascending = (sizes: readonly number[]) => [...new Set(sizes)].sort((a, b) => a - b);
  const all = sites.flatMap(({ module, layer }): Slot[] => [
    { module, name: "elastic_rank", levels: ascending(elasticRanks(settings)) },
    { module, name: "elastic_width", levels: ascending(elasticWidths(settings, module, layer.outFeatures)) },
  ]);
  return all.filter(({ levels }) => levels.length > 0);
}

function sizesOf(slots: readonly Slot[], levels: Levels): Sizes {
  const sizes = new Map<string, ChosenSizes>();
  for (const [i, { module, name }] of slots.entries()) sizes.set(module, { ...sizes.get(module), [name]: levels[i] });
  return sizes;
}

/** One slot a step up, another of its sort a step down; undefined where one has no such step, or the total would exceed that of `most`. */
function exchanged(levels: Levels, slots: readonly Slot[], random: ArrayLike<number>, most: Levels): Levels | undefined {
  const [up, down] = [0, 1].map((i) => Math.floor((random[i] as number) * slots.length)) as [number, number];
  const step = (at: number, by: number) => slots[at]?.levels[slots[at].levels.indexOf(levels[at] as number) + by];
  const [higher, lower] = [step(up, 1), step(down, -1)];
  if (up === down || slots[up]?.name !== slots[down]?.name || higher === undefined || lower === undefined) return undefined;
  const next = levels.map((level, i) => (i === up ? higher : i === down ? lower : level));
  const total = (all: Levels) => all.reduce((sum, level, i) => sum + (slots[i]?.name === slots[up]?.name ? level : 0), 0);
  return total(next) > total(most) ? undefined : next;
}
