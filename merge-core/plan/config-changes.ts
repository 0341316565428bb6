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
  readonly stackings: readonly Stacking[];
  /** The output holds a head of its own although the donor may use its embedding as one. */
  readonly untied: boolean;
}

/** Changes in the order: dtype, layers, vocabulary, tying. Only what differs from the donor's config is listed. */
export function configChanges(recipe: Recipe, config: Config, facts: OutputFacts): ConfigChange[] {
  const layers = facts.stackings.flatMap((stacking) => layerChanges(config, stacking));
  const changes = [dtypeChange(recipe, config, facts), ...layers, vocabularyChange(config, facts), tyingChange(config, facts)];
  return changes.filter((change) => change !== undefined).filter(({ path, value }) => JSON.stringify(at(config, path)) !== JSON.stringify(value));
}

function at(config: Config, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, key) => (isRecord(value) ? value[key] : undefined), config);
}

const TEXT_SCOPES = ["", "text_config", "language_config", "llm_config"];
const LAYER_COUNTS = ["num_hidden_layers", "n_layer", "n_layers", "num_layers"];

/** Where configs tell of the layers of a part, by the prefix of its layers; the first that fits. */
const PARTS: readonly { readonly prefix: RegExp; readonly scopes: readonly string[]; readonly counts: readonly string[] }[] = [
  { prefix: /(^|\.)(visual|vision_\w+|image_\w+)(\.|$)/, scopes: ["vision_config"], counts: [...LAYER_COUNTS, "depth", "layers"] },
  { prefix: /(^|\.)audio_\w+(\.|$)/, scopes: ["audio_config"], counts: [...LAYER_COUNTS, "encoder_layers"] },
  { prefix: /(^|\.)decoder(\.|$)/, scopes: TEXT_SCOPES, counts: ["decoder_layers", "num_decoder_layers", ...LAYER_COUNTS] },
  { prefix: /(^|\.)encoder(\.|$)/, scopes: TEXT_SCOPES, counts: ["encoder_layers", "num_encoder_layers", "num_layers", ...LAYER_COUNTS] },
];

/** The path of the first of `keys` that the config has, at its top or in one of its parts. */
function findKey(config: Config, keys: readonly string[], scopes: readonly string[] = TEXT_SCOPES): readonly string[] | undefined {
  const paths = scopes.flatMap((scope) => keys.map((key) => (scope === "" ? [key] : [scope, key])));
  return paths.find((path) => at(config, path) !== undefined);
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

function layerChanges(config: Config, { prefix, sourceLayers }: Stacking): ConfigChange[] {
  const { scopes, counts } = PARTS.find((part) => part.prefix.test(prefix)) ?? { scopes: TEXT_SCOPES, counts: LAYER_COUNTS };
  const count = findKey(config, counts, scopes);
  const kinds = findKey(config, ["layer_types"], scopes);
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
