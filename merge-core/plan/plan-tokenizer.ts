// The tokenizer files of the output: whose they are, what is added to them, which would no longer be true. Node only.
import { basename, resolve } from "node:path";
import type { Diagnostic } from "../diagnostics.ts";
import type { Recipe } from "../recipe/recipe.ts";
import { chooseChatTemplate } from "./chat-template.ts";
import type { InputModels } from "./input-models.ts";
import type { OutputVocabulary } from "./output-vocabulary.ts";
import type { ConfigChange, TokenizerPlan } from "./plan.ts";
import { travellingFiles } from "./side-files.ts";

const FAMILY = /^(tokenizer(_config)?\.json|special_tokens_map\.json|chat_template\.(jinja|json)|generation_config\.json)$/;
/** The same vocabulary in other forms, which are not extended. */
const OTHER_FORMS = /^(tokenizer\.model|spiece\.model|sentencepiece\.bpe\.model|tekken\.json|vocab\.(json|txt)|merges\.txt|added_tokens\.json)$|\.tiktoken$/;

/** Files of the tokenizer; the donor's are left out where another model's are taken. */
export const isTokenizerFile = (name: string): boolean => FAMILY.test(name) || OTHER_FORMS.test(name);

/** Undefined if the donor's files are taken as they are. */
export async function planTokenizer(
  recipe: Recipe,
  models: InputModels,
  vocabulary: OutputVocabulary | undefined,
  report: (d: Diagnostic) => void,
): Promise<TokenizerPlan | undefined> {
  const chatTemplate = await chooseChatTemplate(recipe, models, report);
  if (vocabulary === undefined && chatTemplate === undefined) return undefined;
  const donor = { reference: models.donor.reference.text, checkpoint: models.donor.checkpoint };
  const { reference, checkpoint } = vocabulary?.origin ?? donor;
  const added = vocabulary?.added ?? [];
  const held = travellingFiles(checkpoint.sideFiles).filter(isTokenizerFile);
  const files = held.filter((name) => (added.length === 0 || !OTHER_FORMS.test(name)) && (chatTemplate === undefined || !name.startsWith("chat_template.")));
  const stale = held.filter((name) => added.length > 0 && OTHER_FORMS.test(name));
  if (stale.length > 0)
    report({
      code: "tokenizer-files-dropped",
      severity: "info",
      message: "tokens are added to tokenizer.json alone, so its other forms are left out",
      file: recipe.file,
      ...(recipe.tokenizer && { range: recipe.tokenizer.range }),
      found: stale.map((name) => basename(name)).join(", "),
    });
  const plan = { reference, folder: resolve(checkpoint.folder), files, added };
  return chatTemplate === undefined ? plan : { ...plan, chatTemplate };
}

const SPECIAL_IDS = ["bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"];

/** Numbers of special tokens in the donor's config, where the output's vocabulary has the tokens under others. */
export function specialTokenChanges(models: InputModels, vocabulary: OutputVocabulary | undefined): ConfigChange[] {
  const ids = vocabulary?.idsOf.get(models.donor.reference.text);
  const { config } = models.donor.checkpoint;
  if (ids === undefined || config === undefined) return [];
  const translate = (id: unknown): number | undefined => (typeof id === "number" && ids.includes(id) ? ids.indexOf(id) : undefined);
  return SPECIAL_IDS.flatMap((key): ConfigChange[] => {
    const value = config[key];
    const numbers = (Array.isArray(value) ? value : [value]).map(translate);
    if (!numbers.every((id) => id !== undefined) || JSON.stringify(value) === JSON.stringify(Array.isArray(value) ? numbers : numbers[0])) return [];
    return [{ path: [key], value: Array.isArray(value) ? numbers : (numbers[0] as number) }];
  });
}
