// A base and what each expert changed, in memory, for methods that learn how to put them together at test time. Node only.
import * as tf from "@tensorflow/tfjs-core";
import { isMap, isSeq, parseDocument } from "yaml";
import { inputError, WeightsmithError } from "../diagnostics.ts";
import type { Decoder } from "../nn/llama.ts";
import { disposeDecoder } from "../nn/load.ts";
import { type Model, modelFromTensors, readTensors } from "../nn/model.ts";
import { liveValues } from "../nn/storage.ts";
import { modelOpener, type OpenModel } from "../plan/open-model.ts";
import { parseRecipe } from "../recipe/parse-recipe.ts";
import type { ModelReference } from "../recipe/recipe.ts";

export interface TaskVectors {
  /** The base; its decoder is the caller's to dispose. */
  readonly base: Model;
  /** Of the experts, in the recipe's order. */
  readonly tasks: readonly string[];
  readonly names: readonly string[];
  /** By tensor. */
  readonly origin: readonly Float32Array[];
  /** By task and tensor: expert - base. */
  readonly vectors: readonly (readonly Float32Array[])[];
}

/** Coefficients by task and tensor. */
export type Coefficients = readonly (readonly number[])[];

/**
 * base_model and models of a recipe, not yet opened.
 * @throws WeightsmithError `adapt-recipe` if it has none or other parts, what the recipe throws
 */
export function openTaskModels(
  text: string,
  file: string,
  signal?: AbortSignal,
): { readonly base: ModelReference; readonly experts: readonly ModelReference[]; readonly open: OpenModel } {
  const { recipe, diagnostics } = parseModels(text, file);
  if (recipe === undefined) throw new WeightsmithError(diagnostics);
  const slices = recipe.modules.flatMap((module) => module.slices);
  const sources = slices.flatMap((slice) => slice.sources).filter((source) => !source.isBase);
  if (recipe.base === undefined || slices.length !== 1 || sources.length === 0 || sources.some(({ layers }) => layers !== undefined))
    throw inputError("adapt-recipe", "only whole models with a base can be adapted", { file, expected: "base_model and a list of models" });
  return { base: recipe.base, experts: sources.map(({ model }) => model), open: modelOpener(file, { signal }) };
}

/** A recipe whose method and weights may be missing: weights are what is learned. */
function parseModels(text: string, file: string): ReturnType<typeof parseRecipe> {
  const parsed = parseRecipe(text, file);
  const errors = parsed.diagnostics.filter(({ severity }) => severity === "error");
  if (errors.length === 0 || errors.some(({ code }) => code !== "missing-parameter" && code !== "missing-key")) return parsed;
  const filled = parseRecipe(coefficientRecipe(text, { names: [] }, []), file);
  // What is said of the recipe should be of the recipe as written.
  return filled.recipe === undefined ? parsed : filled;
}

/** Reads base_model and models of a recipe. @throws WeightsmithError as `openTaskModels`, and what the models throw */
export async function readTaskVectors(text: string, file: string, signal?: AbortSignal): Promise<TaskVectors> {
  const { base: baseReference, experts, open } = openTaskModels(text, file, signal);
  const load = async (reference: ModelReference): Promise<Model> => {
    const checkpoint = await open(reference);
    return modelFromTensors(checkpoint.folder, await readTensors(checkpoint, signal === undefined ? {} : { signal }));
  };
  const base = await load(baseReference);
  const names = [...base.decoder.weights.keys()];
  const origin = names.map((name) => valuesOf(base.decoder, name));
  const vectors: Float32Array[][] = [];
  for (const reference of experts) {
    const expert = await load(reference);
    vectors.push(names.map((name, i) => difference(valuesOf(expert.decoder, name), origin[i] as Float32Array, name, file)));
    disposeDecoder(expert.decoder);
  }
  return { base, tasks: experts.map((reference) => reference.text), names, origin, vectors };
}

function valuesOf(model: Decoder, name: string): Float32Array {
  const tensor = model.weights.get(name);
  return tensor === undefined ? new Float32Array() : liveValues(tensor).slice();
}

function difference(expert: Float32Array, base: Float32Array, name: string, file: string): Float32Array {
  if (expert.length !== base.length) throw inputError("adapt-recipe", `tensor ${name} is not of one shape in base and expert`, { file });
  return expert.map((value, i) => value - (base[i] as number));
}

/** Elementwise factors of the task vectors, by tensor; shared by the tasks. */
export type Masks = readonly Float64Array[];

/** base + sum over tasks of coefficient * vector (* mask), as values by tensor. */
export function combine({ origin, vectors }: TaskVectors, coefficients: Coefficients, masks?: Masks): Float32Array[] {
  return origin.map((start, tensor) => {
    const sum = new Float64Array(start.length);
    for (const [task, parts] of vectors.entries()) {
      const [coefficient, vector] = [coefficients[task]?.[tensor] ?? 0, parts[tensor] as Float32Array];
      for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + coefficient * (vector[i] as number);
    }
    const mask = masks?.[tensor];
    return start.map((value, i) => value + (sum[i] as number) * (mask?.[i] ?? 1));
  });
}

/** A decoder with these values; the caller disposes it. */
export function decoderOf({ base, names }: TaskVectors, values: readonly Float32Array[]): Decoder {
  const weights = names.map((name, i) => [name, tf.tensor(values[i] as Float32Array, base.decoder.weights.get(name)?.shape)] as const);
  return { config: base.decoder.config, weights: new Map(weights) };
}

/** The recipe of a sum of task vectors with these coefficients: what it merges is what `combine` gives, rounded once. */
export function coefficientRecipe(text: string, { names }: Pick<TaskVectors, "names">, coefficients: Coefficients): string {
  const document = parseDocument(text);
  for (const key of ["merge_method", "parameters", "models"]) if (!document.has(key)) document.set(key, key === "merge_method" ? "task_arithmetic" : {});
  document.set("merge_method", "task_arithmetic");
  document.set("parameters", document.createNode({ lambda: 1, normalize: false }));
  const list = document.get("models");
  const base = document.get("base_model");
  const places = isSeq(list) ? [...list.items.keys()].filter((i) => !isBase(list.items[i], base)) : [];
  for (const [task, place] of places.entries()) {
    const own = coefficients[task] ?? [];
    const first = own[0] ?? 0;
    const weight = own.every((value) => value === first) ? first : weightsByName(names, own);
    document.setIn(["models", place, "parameters"], document.createNode({ weight }));
  }
  return String(document);
}

const isBase = (item: unknown, base: unknown): boolean => isMap(item) && base !== undefined && item.get("model") === base;

/** A filter fits a name that contains it, so a name inside another comes later. */
function weightsByName(names: readonly string[], values: readonly number[]): { filter: string; value: number }[] {
  const entries = names.map((filter, i) => ({ filter, value: values[i] ?? 0 }));
  return entries.sort((a, b) => b.filter.length - a.filter.length);
}
