// The vocabulary of the output: one model's, or the union of all. Ids of the tokenizer that is taken over never change; what other
// models add comes behind. As in recipes of the field, foreign pieces become added tokens, since merges of other vocabularies cannot be mixed.
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { embeddingRows } from "../checkpoints/token-rows.ts";
import { type AddedToken, readVocabulary, type Vocabulary } from "../checkpoints/tokenizer-file.ts";
import { type Diagnostic, WeightsmithError } from "../diagnostics.ts";
import type { Recipe, TokenizerRequest, TokenRequest } from "../recipe/recipe.ts";
import type { InputModels } from "./input-models.ts";
import { VocabularyNotes } from "./vocabulary-notes.ts";

export interface OutputVocabulary {
  /** Rows of embedding and head. */
  readonly rows: number;
  /** Rows from here on are padding that holds the mean of those above; `rows` if none are. */
  readonly meanFrom: number;
  /** By id; undefined where no token has it. */
  readonly tokens: readonly (string | undefined)[];
  /** Of each model, by reference text, which of its tokens each token of the output is; -1 for none. */
  readonly idsOf: ReadonlyMap<string, Int32Array>;
  readonly vocabularies: ReadonlyMap<string, Vocabulary>;
  readonly requests: ReadonlyMap<number, TokenRequest>;
  /** The model whose tokenizer is taken over. */
  readonly origin: { readonly reference: string; readonly checkpoint: Checkpoint };
  readonly added: readonly AddedToken[];
  readonly notes: VocabularyNotes;
}

/** Undefined without a request, or after an error was reported. */
export async function outputVocabulary(recipe: Recipe, models: InputModels, report: (d: Diagnostic) => void): Promise<OutputVocabulary | undefined> {
  const request = recipe.tokenizer;
  if (request === undefined) return undefined;
  const place = { file: recipe.file, range: request.range };
  const donor = models.donor.reference.text;
  const reference = typeof request.source === "string" ? donor : request.source.text;
  const vocabularies = await readVocabularies(models, reference, (d) => report({ ...d, ...place }));
  const own = vocabularies?.get(reference);
  const checkpoint = models.checkpoints.get(reference);
  if (vocabularies === undefined || own === undefined || checkpoint === undefined) return undefined;
  const added = addedTokens(
    own,
    request,
    [...vocabularies].map(([text, vocabulary]) => withRows(vocabulary, models.checkpoints.get(text))),
  );
  const ids = new Map([...own.ids, ...added.map(({ content, id }) => [content, id] as const)]);
  if (ids.size !== own.ids.size + added.length || hasHoles(own, added)) {
    report({
      code: "tokenizer-holes",
      severity: "error",
      message: `tokens cannot be added to the tokenizer of ${reference}, which leaves out numbers`,
      ...place,
    });
    return undefined;
  }
  const end = [...ids.values()].reduce((most, id) => Math.max(most, id), -1) + 1;
  const tokens = new Array<string | undefined>(end).fill(undefined);
  for (const [token, id] of ids) tokens[id] = token;
  const multiple = request.padToMultipleOf;
  const rows = multiple === undefined ? Math.max(end, embeddingRows(checkpoint) ?? 0) : Math.ceil(end / multiple) * multiple;
  const requests = new Map(request.tokens.map((wish) => [ids.get(wish.token) ?? -1, wish]));
  const idsOf = new Map([...vocabularies].map(([text, vocabulary]) => [text, Int32Array.from(tokens, (token) => vocabulary.ids.get(token ?? "") ?? -1)]));
  for (const list of idsOf.values()) for (const [id, token] of tokens.entries()) if (token === undefined) list[id] = -1;
  const meanFrom = multiple === undefined ? rows : end;
  const result = { rows, meanFrom, tokens, idsOf, vocabularies, requests, origin: { reference, checkpoint }, added };
  return { ...result, notes: new VocabularyNotes(result) };
}

/** Of all models. One without tokenizer.json is taken to have that of the donor; of the donor and of the model named it must be there. */
async function readVocabularies(
  { checkpoints, donor }: InputModels,
  named: string,
  report: (d: Diagnostic) => void,
): Promise<Map<string, Vocabulary> | undefined> {
  const vocabularies = new Map<string, Vocabulary>();
  const order = new Set([donor.reference.text, ...checkpoints.keys()]);
  try {
    for (const reference of order) {
      const folder = checkpoints.get(reference)?.folder ?? "";
      const vocabulary = await readVocabulary(folder);
      const assumed = vocabularies.get(donor.reference.text);
      const missing = `${reference} has no tokenizer.json`;
      if (vocabulary !== undefined) vocabularies.set(reference, vocabulary);
      else if (assumed === undefined || reference === named) {
        const remedy = "save the tokenizer as a fast one (transformers: use_fast=True, save_pretrained)";
        report({ code: "tokenizer-missing", severity: "error", message: missing, found: folder, remedy });
        return undefined;
      } else {
        report({ code: "tokenizer-assumed", severity: "warning", message: `${missing}; its tokens are taken to be those of ${donor.reference.text}` });
        vocabularies.set(reference, assumed);
      }
    }
  } catch (error) {
    if (!(error instanceof WeightsmithError)) throw error;
    for (const diagnostic of error.diagnostics) report({ ...diagnostic, notes: [...(diagnostic.notes ?? []), `in ${diagnostic.file}`] });
    return undefined;
  }
  return vocabularies;
}

/** The tokens that the model's embedding has rows for: what no model has a row for is no loss to the union. */
function withRows(vocabulary: Vocabulary, checkpoint: Checkpoint | undefined): Vocabulary {
  const rows = (checkpoint && embeddingRows(checkpoint)) ?? Number.POSITIVE_INFINITY;
  const ids = new Map([...vocabulary.ids].filter(([, id]) => id < rows));
  return { ...vocabulary, ids, added: vocabulary.added.filter(({ id }) => id < rows) };
}

const PLAIN = { single_word: false, lstrip: false, rstrip: false, normalized: true, special: false };

/** What is not in the tokenizer yet: foreign pieces, foreign added tokens as first defined, then tokens that only the recipe names. */
function addedTokens(own: Vocabulary, request: TokenizerRequest, vocabularies: readonly Vocabulary[]): AddedToken[] {
  const wanted = new Map<string, Omit<AddedToken, "id">>();
  const want = (entry: Omit<AddedToken, "id">) => {
    if (!own.ids.has(entry.content) && !wanted.has(entry.content)) wanted.set(entry.content, entry);
  };
  if (request.source === "union") {
    const foreign = vocabularies.map((vocabulary) => ({ vocabulary, names: new Set(vocabulary.added.map(({ content }) => content)) }));
    const marked = new Set(foreign.flatMap(({ names }) => [...names]));
    for (const { vocabulary } of foreign)
      for (const [content] of [...vocabulary.ids].sort(([, a], [, b]) => a - b)) if (!marked.has(content)) want({ content, ...PLAIN });
    for (const { vocabulary } of foreign) for (const entry of vocabulary.added) want(entry);
  }
  for (const { token } of request.tokens) want({ content: token, ...PLAIN });
  // Loaders number added tokens by this rule, whatever the file says.
  const first = Math.max(own.modelSize, ...own.added.map(({ id }) => id + 1));
  return [...wanted.values()].map((entry, i) => ({ ...entry, id: first + i }));
}

/** Whether numbers of new tokens fall on others. */
function hasHoles(own: Vocabulary, added: readonly AddedToken[]): boolean {
  const first = added[0]?.id ?? Number.POSITIVE_INFINITY;
  for (const id of own.ids.values()) if (id >= first) return true;
  return false;
}
