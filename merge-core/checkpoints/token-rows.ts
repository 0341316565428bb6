// Tensors with one row for each token: input embeddings and heads.
import type { Checkpoint } from "./checkpoint.ts";
import { placeOf } from "./tensor-roles.ts";

/** Whether a name is that of the input embedding of tokens, not of positions or token types. */
export function isTokenEmbedding(name: string): boolean {
  return /(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings|embed_in|embeddings)\.weight$|^(model\.)?shared\.weight$/.test(name);
}

/** Rows of a model's token embedding. */
export function embeddingRows({ tensors }: Checkpoint): number | undefined {
  for (const { name, shape } of tensors.values()) if (isTokenEmbedding(name) && shape.length === 2) return shape[0];
  return undefined;
}

/** Whether a tensor of a model has a row for each token: as long as the embedding, and by name an embedding of tokens or a head. */
export function hasTokenRows(name: string, shape: readonly number[], checkpoint: Checkpoint): boolean {
  const { role } = placeOf(name);
  if (!isTokenEmbedding(name) && role !== "head" && (role !== "embedding" || /wpe|position|token_type/.test(name))) return false;
  return shape[0] !== undefined && shape[0] === (embeddingRows(checkpoint) ?? shape[0]);
}
