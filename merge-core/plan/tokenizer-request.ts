// Whether the vocabulary a recipe asks for is the one that the donor's tokenizer files give. Node only.
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import type { Diagnostic } from "../diagnostics.ts";
import type { Recipe } from "../recipe/recipe.ts";
import type { InputModels } from "./input-models.ts";

/**
 * With one tokenizer in all models, `union`, `base` and any model's are the same thing, and the donor's files are it.
 * Anything else needs embeddings rebuilt token by token, which is refused rather than passed over.
 */
export function checkTokenizer({ tokenizer, chatTemplate, file }: Recipe, { checkpoints }: InputModels, report: (d: Diagnostic) => void): void {
  if (tokenizer !== undefined && (tokenizer.perToken || tokenizer.padToMultipleOf !== undefined || !shareTokenizer([...checkpoints.values()])))
    report({
      code: "tokenizer-unsupported",
      severity: "error",
      message: "merging different vocabularies is not supported yet",
      file,
      range: tokenizer.range,
      found: tokenizer.source,
      expected: "models with one and the same tokenizer.json",
      remedy: "remove the key to keep the tokenizer of the base (else of the first model)",
    });
  if (chatTemplate !== undefined)
    report({
      code: "chat-template-unsupported",
      severity: "error",
      message: "setting a chat template is not supported yet",
      file,
      range: chatTemplate.range,
      remedy: "remove the key to keep the template of the base (else of the first model)",
    });
}

function shareTokenizer(checkpoints: readonly Checkpoint[]): boolean {
  const hashes = checkpoints.map(({ folder }) => {
    const file = join(folder, "tokenizer.json");
    return existsSync(file) ? createHash("sha256").update(readFileSync(file)).digest("hex") : undefined;
  });
  return hashes.every((hash) => hash !== undefined && hash === hashes[0]);
}
