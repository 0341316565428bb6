// Trainable tokens of PEFT: rows of an embedding, or of a head, that take the place of the base's. Alone, or beside a LoRA.
import type { FamilyPatch, TensorEntry, TensorSpan } from "../../checkpoints/checkpoint.ts";
import { inputError } from "../../diagnostics.ts";
import { isFloat } from "../../formats/dtypes.ts";
import { isRecord } from "../../formats/json.ts";
import { type AdapterFamily, trained, valuesOf } from "../family.ts";

export const ROWS = "trainable_tokens_delta";

export const trainableTokens: AdapterFamily = {
  type: "TRAINABLE_TOKENS",
  title: "trainable tokens",
  paper: {
    title: "PEFT: Trainable Tokens",
    year: 2025,
    url: "https://huggingface.co/docs/peft/package_reference/trainable_tokens",
  },
  formula: "rows of W at token_indices are replaced",
  settings: [{ name: "token_indices", default: "", list: true, doc: "whose rows these are" }],
  tensors: trained(ROWS),
  shared: [],
  needsBase: true,
  foldable: "exact",
  shapes: ({ inFeatures }, settings) => ({ [ROWS]: [tokensOf(settings.token_indices).length, inFeatures] }),
  open(module) {
    const rows = valuesOf(module, ROWS);
    const places = new Map(tokensOf(module.settings.token_indices).map((token, place) => [token, place]));
    return (row, o) => {
      const place = places.get(o);
      if (place !== undefined) for (let i = 0; i < row.length; i++) row[i] = rows[place * row.length + i] as number;
    };
  },
};

const tokensOf = (list: unknown): number[] => (typeof list === "string" && list !== "" ? list.split(",").map(Number) : []);

/** What rows beside a LoRA make of an embedding. @throws WeightsmithError `adapter-config-invalid`, `adapter-shape-mismatch` */
export function tokenPatch(config: Readonly<Record<string, unknown>>, module: string, weight: TensorEntry, rows: TensorSpan, file: string): FamilyPatch {
  const stated = config.trainable_token_indices;
  const tokens = Array.isArray(stated)
    ? stated
    : isRecord(stated)
      ? Object.entries(stated).find(([name]) => `.${module}`.endsWith(`.${name}`))?.[1]
      : undefined;
  checkTokens(tokens, weight, file, rows);
  return { family: trainableTokens.type, settings: { token_indices: String(tokens) }, tensors: { [ROWS]: rows }, transposed: false };
}

/** Whole numbers within the vocabulary, one for each row, none twice. */
export function checkTokens(tokens: unknown, { name, shape, dtype }: TensorEntry, file: string, rows: TensorSpan): asserts tokens is readonly number[] {
  const [vocabulary = 0, width = 0] = shape;
  const list = Array.isArray(tokens) ? tokens : [];
  const whole = list.every((token) => Number.isInteger(token) && token >= 0) && new Set(list).size === list.length;
  if (list.length === 0 || !whole)
    throw inputError("adapter-config-invalid", `the config does not tell which rows of ${name} are replaced`, {
      file,
      found: JSON.stringify(tokens)?.slice(0, 100) ?? "no token indices for it",
      expected: "a list of token numbers, each once",
    });
  const largest = Math.max(...list.map(Number));
  if (shape.length === 2 && isFloat(dtype) && isFloat(rows.dtype) && largest < vocabulary && rows.shape.join() === `${list.length},${width}`) return;
  throw inputError("adapter-shape-mismatch", `the adapter's rows do not fit ${name}`, {
    file,
    found: `rows [${rows.shape.join(", ")}] for ${list.length} tokens up to ${largest}`,
    expected: `[${list.length}, ${width}], tokens below ${vocabulary}`,
    remedy:
      largest < vocabulary ? "is this the base model that the adapter was trained on?" : "the vocabulary was enlarged for training: enlarge the base's first",
  });
}
