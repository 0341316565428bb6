// A plan's identity: two plans with one hash write the same bytes from the same inputs. Node only.
import { createHash } from "node:crypto";
import type { MergePlan } from "./plan.ts";

export const sha256 = (text: string): string => createHash("sha256").update(text, "utf8").digest("hex");

type Decisive = Pick<MergePlan, "version" | "recipe" | "seed" | "models" | "donor" | "tokenizer" | "config" | "shards" | "jobs">;

/** Hash of what decides the output, with all keys sorted; memory, disk and findings have no part in it. */
export function planHash({ version, recipe, seed, models, donor, tokenizer, config, shards, jobs }: Decisive): string {
  return sha256(canonical({ version, recipe: recipe.sha256, seed, models, donor, tokenizer, config, shards, jobs }));
}

/** JSON with sorted keys; what is undefined is left out. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => (item === undefined ? "null" : canonical(item))).join()}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const record = value as Readonly<Record<string, unknown>>;
  const parts = sortedKeys(record).flatMap((key) => (record[key] === undefined ? [] : `${JSON.stringify(key)}:${canonical(record[key])}`));
  return `{${parts.join()}}`;
}

/** Numbers first, as in any object. */
function sortedKeys(record: object): string[] {
  const keys = Object.keys(record).sort();
  return keys.some((key) => /^\d/.test(key)) ? Object.keys(Object.fromEntries(keys.map((key) => [key, 0]))) : keys;
}
