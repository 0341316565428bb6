// Chooses a rank for each module of a LoRA that was trained with elastic ranks: first the middle of the list for all (Shears,
// 2404.10934), then, at no higher total, exchanges of rank between two modules that lower the validation loss. The papers
// search by evolution over many subnetworks; exchanges find as much here with few measurements, and are repeatable.
import { elasticRanks } from "../adapters/families/lora.ts";
import { numberOf, type Settings } from "../adapters/family.ts";
import { uniforms } from "../nn/random.ts";

export type Ranks = ReadonlyMap<string, number>;

export interface RankChoice {
  readonly ranks: Ranks;
  /** Of the chosen ranks, if there is validation data. */
  readonly loss: number | undefined;
}

/**
 * @param lossOf validation loss of the adapter with these ranks; undefined if there is no such data
 * @returns undefined if the ranks are not elastic
 */
export async function chooseRanks(
  settings: Settings,
  modules: readonly string[],
  seed: number,
  lossOf: ((ranks: Ranks) => Promise<number>) | undefined,
): Promise<RankChoice | undefined> {
  const list = [...new Set(elasticRanks(settings))].sort((a, b) => a - b);
  if (list.length === 0) return undefined;
  const middle = list[Math.floor((list.length - 1) / 2)] as number;
  let ranks = new Map(modules.map((module) => [module, middle]));
  if (lossOf === undefined) return { ranks, loss: undefined };
  let loss = await lossOf(ranks);
  const evaluations = numberOf(settings, "search_evaluations");
  for (let n = 0; n < evaluations; n++) {
    const next = exchanged(ranks, modules, list, uniforms(seed, `ranks/${n}`, 2), middle * modules.length);
    const found = next === undefined ? loss : await lossOf(next);
    if (next !== undefined && found < loss) [ranks, loss] = [next, found];
  }
  return { ranks, loss };
}

/** One module a step up, another a step down; undefined where one has no such step, or the total would exceed `most`. */
function exchanged(
  ranks: Ranks,
  modules: readonly string[],
  list: readonly number[],
  random: ArrayLike<number>,
  most: number,
): Map<string, number> | undefined {
  const up = modules[Math.floor((random[0] as number) * modules.length)] as string;
  const down = modules[Math.floor((random[1] as number) * modules.length)] as string;
  const step = (module: string, by: number) => list[list.indexOf(ranks.get(module) as number) + by];
  const [higher, lower] = [step(up, 1), step(down, -1)];
  if (up === down || higher === undefined || lower === undefined) return undefined;
  const next = new Map([...ranks, [up, higher], [down, lower]]);
  return [...next.values()].reduce((sum, rank) => sum + rank, 0) > most ? undefined : next;
}
