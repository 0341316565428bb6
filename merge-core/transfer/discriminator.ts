// Tells real prompts from drawn ones: a model that has learned to answer yes or no.
import { logLikelihoods } from "../evaluate/likelihood.ts";
import { type TokenRow, tokenize } from "../nn/data.ts";
import type { Model } from "../nn/model.ts";

const ANSWERS = ["yes", "no"] as const;
const question = (prompt: string): string => `${prompt}\nreal? `;

/** What the discriminator learns from: each prompt with its answer. */
export const labelled = (real: readonly string[], drawn: readonly string[]): { prompt: string; completion: string }[] => [
  ...real.map((prompt) => ({ prompt: question(prompt), completion: ANSWERS[0] })),
  ...drawn.map((prompt) => ({ prompt: question(prompt), completion: ANSWERS[1] })),
];

/** Of each prompt how probable the answer yes is, of yes and no; zero for one that does not fit the model's context. */
export async function realness(model: Model, prompts: readonly string[], signal?: AbortSignal): Promise<number[]> {
  const { codec, decoder } = model;
  const rows = prompts.map((prompt) =>
    ANSWERS.flatMap((completion): TokenRow[] => tokenize({ prompt: question(prompt), completion }, codec, undefined, decoder.config.maxPositions)),
  );
  const scores = await logLikelihoods(decoder, rows.flat(), signal === undefined ? {} : { signal });
  let next = 0;
  return rows.map(({ length }) => {
    const [yes = Number.NEGATIVE_INFINITY, no = 0] = length === ANSWERS.length ? scores.slice(next, next + length) : [];
    next += length;
    return 1 / (1 + Math.exp(no - yes));
  });
}
