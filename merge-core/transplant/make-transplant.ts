// `weightsmith tokens`: matches two vocabularies, computes the rows that are new, and lets the executor write the model. Node only.
import { rm } from "node:fs/promises";
import { inputError } from "../diagnostics.ts";
import { isRecord, parseJsonBytes } from "../formats/json.ts";
import type { OpenModel } from "../plan/open-model.ts";
import { parseModelReference } from "../recipe/model-reference.ts";
import { type MergeResult, type RunOptions, runMerge } from "../run/execute.ts";
import { hasScratch, writeScratch } from "../run/scratch-tensors.ts";
import { checkOutput } from "../run/work-folder.ts";
import { newRows } from "./new-rows.ts";
import { type Party, planTransplant, type TransplantPlan } from "./plan-transplant.ts";
import { DEFAULTS, type TransplantSettings } from "./settings.ts";
import { readComparable } from "./vocabulary.ts";

export interface TransplantRequest {
  /** The model that is changed, and the one whose tokenizer it gets; references as in recipes. */
  readonly model: string;
  readonly donor: string;
  readonly settings?: Partial<TransplantSettings>;
  readonly open: OpenModel;
  readonly memoryBytes: number;
  readonly shardBytes?: number | undefined;
  /** Where new rows are kept while the model is written. */
  readonly scratch: string;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onRows?: ((done: number, total: number) => void) | undefined;
}

export interface PreparedTransplant extends TransplantPlan {
  readonly model: Party;
  readonly donor: Party;
  readonly settings: TransplantSettings;
}

/** @throws WeightsmithError `transplant-*`, `tokenizer-*`, and what opening a model throws */
export async function prepareTransplant(request: TransplantRequest): Promise<PreparedTransplant> {
  const settings = { ...DEFAULTS, ...request.settings };
  const model = await openParty(request.model, request.open);
  const donor = await openParty(request.donor, request.open);
  const { memoryBytes, shardBytes = 5e9, scratch } = request;
  const text = `${JSON.stringify({ model: request.model, tokens_from: request.donor, ...settings }, null, 2)}\n`;
  return { ...planTransplant(model, donor, { settings, text, memoryBytes, shardBytes, scratch }), model, donor, settings };
}

/** What an output's record says of how it was made. @throws WeightsmithError `tokens-record-invalid` */
export function parseTransplant(text: string, file: string): Pick<TransplantRequest, "model" | "donor" | "settings"> {
  const json = parseJsonBytes(new TextEncoder().encode(text), file, { maxBytes: 1_000_000, maxDepth: 4 });
  const { model, tokens_from: donor, ...settings } = isRecord(json) ? json : {};
  const whole = Object.entries(DEFAULTS).every(([key, value]) => typeof settings[key] === typeof value);
  if (typeof model === "string" && typeof donor === "string" && whole) return { model, donor, settings };
  throw inputError("tokens-record-invalid", "the record of the transplant is not usable", { file, expected: "model, tokens_from and every setting" });
}

/** One of the two models. @throws WeightsmithError `tokenizer-*`, `usage`, and what opening a model throws */
export async function openParty(reference: string, open: OpenModel): Promise<Party> {
  const parsed = parseModelReference(reference);
  if (parsed === undefined) throw inputError("usage", "this is no reference to a model", { found: reference, expected: "path or path@revision" });
  const checkpoint = await open({ ...parsed, range: { line: 0, column: 0, endLine: 0, endColumn: 0, offset: 0, end: 0 } });
  return { reference, checkpoint, vocabulary: await readComparable(checkpoint.folder) };
}

/** Computes the new rows unless their file is there. */
export async function makeNewRows(request: TransplantRequest, { matrices, scratch, model, donor, settings }: PreparedTransplant): Promise<void> {
  if (await hasScratch(scratch)) return;
  const total = matrices.reduce((sum, { missing }) => sum + missing.length, 0);
  let done = 0;
  const { memoryBytes, threads, signal } = request;
  const onRows = (count: number) => {
    done += count;
    request.onRows?.(done, total);
  };
  const context = { model, donor, settings, memoryBytes, threads, signal, onRows };
  await writeScratch(
    scratch,
    (async function* () {
      for (const matrix of matrices) yield* newRows(matrix, context);
    })(),
  );
}

/** Makes the folder `run.out`. @throws WeightsmithError what `prepareTransplant`, `newRows` and `runMerge` throw */
export async function makeTransplant(request: TransplantRequest, run: RunOptions): Promise<MergeResult & { readonly matrices: TransplantPlan["matrices"] }> {
  const prepared = await prepareTransplant(request);
  const inputs = prepared.plan.models.flatMap(({ files }) => files.map(({ file }) => file));
  await checkOutput({ out: run.out, overwrite: run.overwrite ?? false, inputs });
  await makeNewRows(request, prepared);
  const result = await runMerge(prepared.plan, run);
  await rm(request.scratch, { force: true });
  return { ...result, matrices: prepared.matrices };
}
