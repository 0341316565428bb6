// Recipe text -> Recipe. Reads the YAML that mergekit reads, and says what mergekit passes over in silence.
import type { Diagnostic, SourceRange } from "../diagnostics.ts";
import type { FloatDType } from "../formats/dtypes.ts";
import { checkRecipe } from "./check-recipe.ts";
import { exactlyOne, type InputContext, LAYOUTS, readInputs, readReference } from "./read-models.ts";
import { readMethod, readOverrides } from "./read-overrides.ts";
import { readParameters } from "./read-parameters.ts";
import { readChatTemplate, readTokenizer } from "./read-tokenizer.ts";
import { type Field, type Fields, type KnownKeys, Reader, suggestion } from "./reader.ts";
import { type Recipe, TENSOR_NAMES, type TensorNames } from "./recipe.ts";
import { parseYaml } from "./yaml-source.ts";

const RECIPE_KEYS: KnownKeys = {
  keys: [
    "merge_method",
    ...LAYOUTS,
    "base_model",
    "parameters",
    "overrides",
    "dtype",
    "out_dtype",
    "tensor_names",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
  ],
  ignored: { name: "names are for files of several recipes" },
};

/** Names of dtypes in recipes, each also with the prefix `torch.`. */
export const RECIPE_DTYPES: Readonly<Record<string, FloatDType>> = {
  float64: "F64",
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
  float8_e4m3fn: "F8_E4M3",
  float8_e5m2: "F8_E5M2",
};

export interface ParsedRecipe {
  /** Absent if any diagnostic is an error. */
  readonly recipe?: Recipe;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * Reads and checks a recipe. Never throws on bad input: all problems are collected, each with its place.
 * @param file what diagnostics call the recipe; nothing is read from it
 */
export function parseRecipe(text: string, file: string): ParsedRecipe {
  const { source, diagnostics } = parseYaml(text, file);
  if (source === undefined) return { diagnostics };
  const reader = new Reader(file, source);
  const start: SourceRange = { line: 0, column: 0, endLine: 0, endColumn: 0, offset: 0, end: 0 };
  const fields = reader.fields(source.root ?? undefined, "a recipe", start, RECIPE_KEYS);
  const recipe = fields === undefined ? undefined : readRecipe(reader, fields, { text, file, start });
  const sorted = [...reader.diagnostics].sort((a, b) => (a.range?.offset ?? 0) - (b.range?.offset ?? 0));
  return recipe === undefined || reader.failed ? { diagnostics: sorted } : { recipe, diagnostics: sorted };
}

function readRecipe(reader: Reader, fields: Fields, { text, file, start }: { text: string; file: string; start: SourceRange }): Recipe | undefined {
  const methodField = fields.get("merge_method");
  const method = readMethod(reader, methodField, start);
  const baseField = fields.get("base_model");
  const base = baseField?.value === undefined ? undefined : readReference(reader, baseField.value, "base_model", baseField.keyRange);
  const overrides = readOverrides(reader, fields.get("overrides"), method);
  const needsBase = [method, ...overrides.map((override) => override.method)].some((m) => m !== undefined && m.base !== "none");
  const context: InputContext = { reader, method, base, needsBase };
  const layout = exactlyOne(reader, fields, LAYOUTS, "a recipe", start);
  const modules = layout === undefined ? [] : readInputs(context, layout);
  const rest = {
    overrides,
    parameters: readParameters(reader, fields.get("parameters"), method, "above"),
    dtype: readDType(reader, fields.get("dtype")),
    outDtype: readDType(reader, fields.get("out_dtype")),
    tensorNames: readTensorNames(reader, fields.get("tensor_names")),
    tokenizer: readTokenizer(reader, fields),
    chatTemplate: readChatTemplate(reader, fields.get("chat_template")),
  };
  if (method === undefined || methodField?.value === undefined) return undefined;
  const recipe: Recipe = { file, text, method, methodRange: reader.rangeOf(methodField.value), base, modules, ...rest };
  // With a mention that could not be read, counts and missing values would only repeat its error.
  if (!reader.failed) checkRecipe(reader, recipe);
  return recipe;
}

function readDType(reader: Reader, field: Field | undefined): FloatDType | undefined {
  if (field?.value === undefined) return undefined;
  const name = reader.text(field.value, field.key, field.keyRange);
  if (name === undefined) return undefined;
  const plain = name.replace(/^torch\./, "");
  if (Object.hasOwn(RECIPE_DTYPES, plain)) return RECIPE_DTYPES[plain];
  const names = Object.keys(RECIPE_DTYPES);
  const range = reader.rangeOf(field.value);
  reader.report("unknown-dtype", `${field.key} is not a dtype that models are saved in`, range, {
    found: name,
    expected: names.join(", "),
    ...suggestion(plain, names, range),
  });
  return undefined;
}

function readTensorNames(reader: Reader, field: Field | undefined): TensorNames | undefined {
  if (field?.value === undefined) return undefined;
  const word = reader.text(field.value, field.key, field.keyRange);
  const known = TENSOR_NAMES.find((name) => name === word);
  if (word === undefined || known !== undefined) return known;
  const range = reader.rangeOf(field.value);
  const expected = TENSOR_NAMES.join(" or ");
  reader.report("tensor-names-unknown", "tensor_names says which tensors the output has where models have different ones", range, {
    found: word,
    expected,
    ...suggestion(word, TENSOR_NAMES, range),
  });
  return undefined;
}
