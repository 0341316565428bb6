// JSON schema of recipes, generated from the registry: completion, hover text and quick checks for any YAML editor.
import type { ParameterSpec } from "../methods/method.ts";
import { methods } from "../methods/registry.ts";
import { RECIPE_DTYPES } from "./parse-recipe.ts";
import { TENSOR_NAMES } from "./recipe.ts";
import { legalValues } from "./resolve-parameters.ts";

type Schema = { readonly [key: string]: unknown };

/** The schema (draft-07, which YAML editors know) as plain data. */
export function recipeJsonSchema(): Schema {
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "Merge recipe",
    type: "object",
    required: ["merge_method"],
    additionalProperties: false,
    oneOf: ["models", "slices", "modules"].map((key) => ({ required: [key] })),
    properties: recipeProperties(),
    definitions: definitions(),
  };
}

function recipeProperties(): Schema {
  const reference = { $ref: "#/definitions/reference" };
  const parameters = { $ref: "#/definitions/parameters" };
  const dtype = { enum: Object.keys(RECIPE_DTYPES).flatMap((name) => [name, `torch.${name}`]) };
  return {
    merge_method: {
      description: "How the models are combined.",
      oneOf: methods.map(({ id, summary, formula }) => ({ const: id, description: `${summary}\n\n${formula}` })),
    },
    models: list({ $ref: "#/definitions/model" }, "Whole models to merge."),
    slices: list({ $ref: "#/definitions/slice" }, "Output layers from bottom to top, each slice made from a range of layers of its sources."),
    modules: { type: "object", description: "Parts of a model, each with its own models or slices.", additionalProperties: { $ref: "#/definitions/module" } },
    base_model: { ...reference, description: "The model the others were fine-tuned from; also the source of config and tokenizer." },
    overrides: list({ $ref: "#/definitions/override" }, "Another method, other parameters or models for some tensors; the first that fits decides."),
    parameters: { ...parameters, description: "Values for all models; a slice's or a model's own values go first." },
    dtype: { ...dtype, description: "Type the result is saved in. The arithmetic is float32 in any case." },
    out_dtype: { ...dtype, description: "Type the result is saved in; goes before dtype." },
    tensor_names: {
      enum: TENSOR_NAMES,
      description: "Which tensors the result has where the models have different ones: union (each from the models that have it) or intersection.",
    },
    tokenizer_source: { ...reference, description: "union, base, or a model: whose vocabulary the result has." },
    tokenizer: {
      type: "object",
      description: "The vocabulary of the result: embeddings and heads are brought into its order, token by token.",
      properties: {
        source: { ...reference, description: "union (default), base, or a model." },
        tokens: { type: "object", description: "Where the rows of single tokens come from.", additionalProperties: { $ref: "#/definitions/token" } },
        pad_to_multiple_of: { type: "integer", minimum: 1, description: "Adds rows, each the mean of the others, up to a multiple of this." },
      },
      additionalProperties: false,
    },
    chat_template: { type: "string", description: "auto, a known template's name, or the template itself." },
  };
}

const list = (items: Schema, description: string): Schema => ({ type: "array", minItems: 1, items, description });

function definitions(): Schema {
  const reference = { $ref: "#/definitions/reference" };
  const parameters = { $ref: "#/definitions/parameters" };
  const part = { type: "object", required: ["path"], additionalProperties: false, properties: { path: { type: "string" }, revision: { type: "string" } } };
  const range = { type: "array", items: { type: "integer", minimum: 0 }, minItems: 2, maxItems: 2, description: "First layer and the one after the last." };
  const statistics = {
    fisher: { ...reference, description: "File of the model's Fisher information, for the method fisher." },
    gram: { ...reference, description: "File of the Gram matrices of the model's layer inputs, for the method regmean." },
  };
  const map = { type: "object", required: ["model"], properties: { model: part, lora: part } };
  return {
    reference: { description: "path[@revision][+adapter[@revision]]", oneOf: [{ type: "string", minLength: 1 }, map] },
    model: { type: "object", required: ["model"], additionalProperties: false, properties: { model: reference, ...statistics, parameters } },
    slice: {
      type: "object",
      required: ["sources"],
      additionalProperties: false,
      properties: {
        sources: list(
          {
            type: "object",
            required: ["model", "layer_range"],
            additionalProperties: false,
            properties: { model: reference, layer_range: range, ...statistics, parameters },
          },
          "Where the layers come from.",
        ),
        base_model: reference,
        parameters,
        residual_weight: { description: "Without effect.", deprecated: true },
      },
    },
    module: {
      type: "object",
      additionalProperties: false,
      properties: {
        models: list({ $ref: "#/definitions/model" }, "Whole models to merge."),
        slices: list({ $ref: "#/definitions/slice" }, "Layers."),
        parameters,
      },
    },
    override: {
      type: "object",
      additionalProperties: false,
      properties: {
        ...FILTER_PROPERTIES,
        merge_method: { enum: methods.map(({ id }) => id), description: "Without it, the recipe's method." },
        parameters: { ...parameters, description: "Values for these tensors; they go before all others." },
        models: list(reference, "The models that take part; without it, all."),
      },
    },
    token: {
      type: ["object", "null"],
      additionalProperties: false,
      properties: {
        source: {
          ...tokenSource(reference),
          description: "The row of models that lack the token; without it, that of the only model that has it, of the base, or a mean.",
        },
        force: { type: "boolean", description: "Use the source's row for all models." },
      },
    },
    parameters: { type: "object", additionalProperties: false, properties: parameterProperties() },
  };
}

function tokenSource(reference: Schema): Schema {
  const zero = { type: "object", required: ["kind"], additionalProperties: false, properties: { kind: { const: "zero" } } };
  const properties = { kind: { const: "model_token" }, model: reference, token: { type: "string" }, token_id: { type: "integer", minimum: 0 } };
  const oneOf = [{ required: ["token"] }, { required: ["token_id"] }];
  return { anyOf: [reference, zero, { type: "object", required: ["kind", "model"], additionalProperties: false, properties, oneOf }] };
}

const FILTER_PROPERTIES = {
  filter: { type: "string", description: "Text that the tensor's name contains; glob: and re: before a pattern." },
  glob: { type: "string", description: "Pattern for the whole name: * any letters, ? one, [0-3] one of a set, {a,b} either." },
  regex: { type: "string", description: "Regular expression for any part of the name." },
  exclude: { oneOf: [{ type: "string" }, { type: "array", items: { type: "string" } }], description: "Patterns of names that are left out." },
};

/** Every parameter of every method; text tells which methods take it and what it means there. */
function parameterProperties(): Schema {
  const names = [...new Set(methods.flatMap((m) => m.parameters.map((p) => p.name)))];
  return Object.fromEntries(names.map((name) => [name, parameterSchema(name)]));
}

function parameterSchema(name: string): Schema {
  const uses = methods.flatMap((method) => method.parameters.filter((spec) => spec.name === name).map((spec) => ({ method, spec })));
  const meanings = new Map<string, string[]>();
  for (const { method, spec } of uses) meanings.set(meaning(spec), [...(meanings.get(meaning(spec)) ?? []), method.id]);
  const value = uses.some(({ spec }) => spec.type === "flag") ? { type: ["boolean", "number"] } : { type: "number" };
  const values = { oneOf: [value, { type: "array", minItems: 1, items: value }] };
  const condition = { type: "object", required: ["value"], additionalProperties: false, properties: { ...FILTER_PROPERTIES, value: values } };
  return {
    description: [...meanings].map(([text, ids]) => `${ids.join(", ")}: ${text}`).join("\n\n"),
    oneOf: [...values.oneOf, condition, { type: "array", minItems: 1, items: condition }],
  };
}

function meaning(spec: ParameterSpec): string {
  const { default: value } = spec;
  const text = value === undefined ? "required" : value === null ? "unset by default" : `default ${spec.type === "flag" ? value === 1 : value}`;
  return `${spec.doc} (${legalValues(spec)}, ${text})`;
}
