// Models of one architecture under other names: whole models as their loader writes them (`transformer.h.0.x`) and the same without their head
// (`h.0.x`), mixtures whose experts are stored one by one and those that store the experts of a layer in one tensor.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import type { Diagnostic } from "../diagnostics.ts";
import type { Recipe } from "../recipe/recipe.ts";
import { type InputModels, statisticsOf } from "./input-models.ts";
import { DEFAULT_MODULE } from "./module-tensors.ts";
import { expertsApart, splitExperts } from "./split-experts.ts";

/** The models under the names of the donor; with experts one by one in all, if they are in any. Models are told of whose names change. */
export function alignNames(recipe: Recipe, models: InputModels, report: (d: Diagnostic) => void): InputModels {
  const statistics = new Set(statisticsOf(recipe).map(({ text }) => text));
  // Recipes by module find the names of a part in those of the whole themselves.
  const byModule = recipe.modules.some(({ name }) => name !== DEFAULT_MODULE);
  const tell = (code: string, message: string) => report({ code, severity: "info", message, file: recipe.file });
  const { reference, checkpoint: donor } = models.donor;
  const prefixed = [...models.checkpoints].map(([text, model]): [string, Checkpoint] => {
    const found = byModule || statistics.has(text) || model === donor ? undefined : underPrefix(model, donor);
    if (found !== undefined) tell("names-prefixed", `${text} names its tensors ${found.how}: they are taken for those of ${reference.text}`);
    return [text, found?.checkpoint ?? model];
  });
  const apart = prefixed.find(([, model]) => expertsApart(model));
  const checkpoints = prefixed.map(([text, model]): [string, Checkpoint] => {
    const split = apart === undefined || statistics.has(text) ? undefined : splitExperts(model, apart[1]);
    if (split !== undefined)
      tell("experts-split", `${text} stores the experts of a layer in one tensor: they are merged one by one, as ${apart?.[0]} has them`);
    return [text, split ?? model];
  });
  const all = new Map(checkpoints);
  return { checkpoints: all, donor: { reference, checkpoint: all.get(reference.text) ?? donor } };
}

/** Of a model's names this share must be the other's for the prefix to be what differs. */
const LEAST_SHARED = 0.5;

/** `model` with a first part of all names added or left out, if that makes most of them names of `like`. */
function underPrefix(model: Checkpoint, like: Checkpoint): { checkpoint: Checkpoint; how: string } | undefined {
  const names = [...model.tensors.keys()];
  const share = (rename: (name: string) => string) => names.filter((name) => like.tensors.has(rename(name))).length / names.length;
  const kept = share((name) => name);
  if (kept >= LEAST_SHARED) return undefined;
  const found = [
    ...firstParts(like).map((part) => ({ rename: (name: string) => (like.tensors.has(name) ? name : `${part}.${name}`), how: `without ${part}.` })),
    ...firstParts(model).map((part) => ({
      rename: (name: string) => (name.startsWith(`${part}.`) ? name.slice(part.length + 1) : name),
      how: `with ${part}.`,
    })),
  ].find(({ rename }) => share(rename) >= LEAST_SHARED);
  if (found === undefined) return undefined;
  const tensors = new Map([...model.tensors].map(([name, entry]): [string, TensorEntry] => [found.rename(name), entry]));
  return { checkpoint: { ...model, tensors }, how: found.how };
}

const firstParts = ({ tensors }: Checkpoint): string[] => [...new Set([...tensors.keys()].map((name) => name.split(".")[0] ?? ""))];
