// What must change in the donor's config.json for it to be true to the output's tensors.

import { isTokenEmbedding } from "../checkpoints/token-rows.ts";
import { DTYPE_BYTES, type DType } from "../formats/dtypes.ts";
import { isRecord } from "../formats/json.ts";
import { RECIPE_DTYPES } from "../recipe/parse-recipe.ts";
import type { Recipe } from "../recipe/recipe.ts";
import type { Stacking } from "./parts.ts";
import type { ConfigChange } from "./plan.ts";

type Config = Readonly<Record<string, unknown>>;

export interface OutputFacts {
  readonly tensors: readonly { readonly name: string; readonly dtype: DType; readonly shape: readonly number[]; readonly byteLength: number }[];
  readonly stacking: Stacking | undefined;
  /** The output holds a head of its own although the donor may use its embedding as one. */
  readonly untied: boolean;
}

/** Changes in the order: dtype, layers, vocabulary, tying. Only what differs from the donor's config is listed. */
export function configChanges(recipe: Recipe, config: Config, facts: OutputFacts): ConfigChange[] {
  const changes = [dtypeChange(recipe, config, facts), ...layerChanges(config, facts.stacking), vocabularyChange(config, facts), tyingChange(config, facts)];
  return changes.filter((change) => change !== undefined).filter(({ path, value }) => JSON.stringify(at(config, path)) !== JSON.stringify(value));
}

function at(config: Config, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, key) => (isRecord(value) ? value[key] : undefined), config);
}

/** The path of the first of `keys` that the config has, at its top or in its text part. */
function findKey(config: Config, keys: readonly string[]): readonly string[] | undefined {
  return [[], ["text_config"], ["language_config"]].flatMap((scope) => keys.map((key) => [...scope, key])).find((path) => at(config, path) !== undefined);
}

/** The dtype that most bytes are in, under the key that the donor uses. */
function dtypeChange(recipe: Recipe, config: Config, { tensors }: OutputFacts): ConfigChange | undefined {
  const bytes = new Map<string, number>();
  for (const { dtype, byteLength } of tensors) bytes.set(dtype, (bytes.get(dtype) ?? 0) + byteLength);
  const [most] = [...bytes].sort(([, a], [, b]) => b - a)[0] ?? [];
  const wanted = recipe.outDtype ?? recipe.dtype ?? most;
  const name = Object.entries(RECIPE_DTYPES).find(([, dtype]) => dtype === wanted)?.[0];
  const key = "dtype" in config ? "dtype" : "torch_dtype";
  return name === undefined || (wanted !== undefined && DTYPE_BYTES[wanted as DType] === 1) ? undefined : { path: [key], value: name };
}

function layerChanges(config: Config, stacking: Stacking | undefined): ConfigChange[] {
  if (stacking === undefined) return [];
  const { sourceLayers } = stacking;
  const count = findKey(config, ["num_hidden_layers", "n_layer", "n_layers", "num_layers"]);
  const kinds = findKey(config, ["layer_types"]);
  const old = kinds === undefined ? undefined : at(config, kinds);
  const changes: ConfigChange[] = count === undefined ? [] : [{ path: count, value: sourceLayers.length }];
  if (kinds !== undefined && Array.isArray(old)) changes.push({ path: kinds, value: sourceLayers.map((layer) => String(old[layer] ?? old[0])) });
  return changes;
}

function vocabularyChange(config: Config, { tensors }: OutputFacts): ConfigChange | undefined {
  const rows = tensors.find(({ name, shape }) => isTokenEmbedding(name) && shape.length === 2)?.shape[0];
  const path = findKey(config, ["vocab_size"]);
  return rows === undefined || path === undefined ? undefined : { path, value: rows };
}

function tyingChange(config: Config, { untied }: OutputFacts): ConfigChange | undefined {
  return untied ? { path: findKey(config, ["tie_word_embeddings"]) ?? ["tie_word_embeddings"], value: false } : undefined;
}
