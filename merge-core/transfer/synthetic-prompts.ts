// Prompts like some real ones, drawn from a model that has been tuned on them.
// Trans-LoRA asks an instructed model for more of the kind; a generator that is tuned on the seeds works with any base.
import { generate } from "../nn/generate.ts";
import type { Model } from "../nn/model.ts";
import { uniforms } from "../nn/random.ts";

export interface PromptDraw {
  readonly count: number;
  readonly temperature: number;
  readonly seed: number;
  /** Draws of different rounds differ. */
  readonly round: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (done: number) => void;
}

/** Each begins with the first token of a seed, drawn too. Those without an end in one and a half times the longest seed's length are left out. */
export async function drawPrompts({ decoder, codec }: Model, seeds: readonly string[], draw: PromptDraw): Promise<string[]> {
  const prefix = codec.encodeStart("").length;
  const tokens = seeds.map((seed) => codec.encodeStart(seed));
  const chosen = uniforms(draw.seed, `begin/${draw.round}`, draw.count);
  const begins = Array.from(chosen, (u) => (tokens[Math.floor(u * tokens.length)] ?? []).slice(0, prefix + 1));
  const longest = Math.max(...tokens.map(({ length }) => length));
  const maxNewTokens = Math.min(decoder.config.maxPositions, Math.ceil(1.5 * longest)) - prefix - 1;
  const { signal, onProgress } = draw;
  const generated = await generate(decoder, begins, {
    maxNewTokens,
    sampling: { temperature: draw.temperature, seed: draw.seed + draw.round },
    ...(signal === undefined ? {} : { signal }),
    ...(onProgress === undefined ? {} : { onProgress }),
  });
  const ended = generated.flatMap((ids, i) => (ids.length < maxNewTokens ? [codec.decode([...(begins[i] ?? []), ...ids])] : []));
  return ended.filter((text) => text.trim() !== "");
}
