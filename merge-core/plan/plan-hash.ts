// A plan's identity: two plans with one hash write the same bytes from the same inputs. Node only.
import { createHash } from "node:crypto";
import type { MergePlan } from "./plan.ts";

export const sha256 = (text: string): string => createHash("sha256").update(text, "utf8").digest("hex");

type Decisive = Pick<MergePlan, "version" | "recipe" | "seed" | "models" | "donor" | "tokenizer" | "config" | "shards" | "jobs">;

/** Hash of what decides the output, with all keys sorted; memory, disk and findings have no part in it. */
export function planHash({ version, recipe, seed, models, donor, tokenizer, config, shards, jobs }: Decisive): string {
  return sha256(canonical({ version, recipe: recipe.sha256, seed, models, donor, tokenizer, config, shards, jobs }));
}

/** JSON with sorted keys. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, v: unknown) =>
    v !== null && typeof v === "object" && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1))) : v,
  );
}
