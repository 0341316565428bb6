// Which tensors a module of a recipe stands for. Multi-part models name their parts in their tensors (`vision_tower.…`,
// `model.visual.…`, `model.decoder.…`), so a module is found by its name, or by the other names of the same part.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";

/** Names of one part, the first as recipes of the field have it. What no other part takes is text. */
const TEXT = ["text_decoder", "language_model", "text_model"];
const PARTS: readonly (readonly string[])[] = [
  TEXT,
  ["vision_tower", "vision_model", "visual", "vision_encoder"],
  ["multi_modal_projector", "mm_projector", "connector", "visual.merger", "visual.deepstack_merger_list"],
  ["audio_tower", "audio_model", "audio_encoder"],
];

/** The module that holds whatever has no other place. */
export const DEFAULT_MODULE = "default";

export interface ModulePlace {
  /** Name of the recipe's module; undefined if the tensor belongs to none of them. */
  readonly module: string | undefined;
  /** The part of the tensor's name that says so, e.g. `language_model`; undefined for what has no other place. */
  readonly word: string | undefined;
}

/**
 * Finds the module of a tensor by its name: the one named last before the layer number. Names that name no module belong to `default`, else
 * to the text part, else to `shared`, the part of encoder-decoders that has embedding and head.
 * @param modules names of all modules of the recipe
 */
export function moduleFinder(modules: readonly string[]): (tensorName: string) => ModulePlace {
  const words = moduleWords(modules);
  const rest = modules.find((name) => name === DEFAULT_MODULE) ?? modules.find((name) => TEXT.includes(name)) ?? modules.find((name) => name === "shared");
  return (tensorName) => {
    const path = `.${tensorName.replace(/\.\d+\..*$/s, "")}.`;
    let best: ModulePlace & { end: number } = { module: rest, word: undefined, end: 0 };
    for (const [word, module] of words) {
      const start = path.lastIndexOf(`.${word}.`);
      if (start >= 0 && start + word.length > best.end) best = { module, word, end: start + word.length };
    }
    return best;
  };
}

/** What names which module, the recipe's own names first; parts that the recipe leaves out have no module, unless there is a `default`. */
function moduleWords(modules: readonly string[]): Map<string, string | undefined> {
  const words = new Map<string, string | undefined>(modules.filter((name) => name !== DEFAULT_MODULE).map((name) => [name, name]));
  for (const part of PARTS) {
    const module = part.find((name) => modules.includes(name));
    if (module === undefined && modules.includes(DEFAULT_MODULE)) continue;
    for (const word of part) if (!words.has(word)) words.set(word, module);
  }
  return words;
}

/** The checkpoint with the tensors of one module alone. */
export function restrict(checkpoint: Checkpoint, module: string, find: (name: string) => ModulePlace): Checkpoint {
  return { ...checkpoint, tensors: new Map([...checkpoint.tensors].filter(([name]) => find(name).module === module)) };
}

/**
 * Gives a model of one part (a language model on its own) the names that the part has in `like` (a whole with several parts, restricted to
 * this one): `model.layers.0.x` becomes `language_model.model.layers.0.x` or `model.language_model.layers.0.x`.
 * @returns the checkpoint itself if it names its parts, or has no such name
 */
export function adoptNames(checkpoint: Checkpoint, like: Checkpoint, find: (name: string) => ModulePlace): Checkpoint {
  if (namesParts(checkpoint, find)) return checkpoint;
  const full = new Map<string, string>();
  for (const name of like.tensors.keys()) {
    const { word } = find(name);
    if (word !== undefined) full.set(`.${name}`.replace(`.${word}.`, ".").slice(1), name);
  }
  if (![...checkpoint.tensors.keys()].some((name) => full.has(name))) return checkpoint;
  const entries = [...checkpoint.tensors].map(([name, entry]): [string, TensorEntry] => [full.get(name) ?? name, entry]);
  return { ...checkpoint, tensors: new Map(entries) };
}

/** Whether any tensor's name says which part it belongs to. */
export function namesParts({ tensors }: Checkpoint, find: (name: string) => ModulePlace): boolean {
  return [...tensors.keys()].some((name) => find(name).word !== undefined);
}
