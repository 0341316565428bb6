// Two models + their tokenizers -> the plan of the first with the tokenizer of the second. Rows of tokens that both know are read
// in the new order while the output is written; rows of the others come from a file that is computed first.
import { resolve } from "node:path";
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { hasTokenRows, isTokenEmbedding } from "../checkpoints/token-rows.ts";
import { ROW_ZERO } from "../compute/row-gather.ts";
import { type Diagnostic, inputError } from "../diagnostics.ts";
import { DTYPE_BYTES, elementCount, type FloatDType, isFloat } from "../formats/dtypes.ts";
import type { UnplacedJob } from "../plan/build-jobs.ts";
import { estimate } from "../plan/estimate.ts";
import { placeJobs } from "../plan/output-shards.ts";
import type { ConfigChange, MergePlan, RowMap, TensorRef } from "../plan/plan.ts";
import { planHash, sha256 } from "../plan/plan-hash.ts";
import { isTokenizerFile } from "../plan/plan-tokenizer.ts";
import { travellingFiles } from "../plan/side-files.ts";
import { type ScratchTensors, scratchRef, scratchTensors, withoutPlace } from "../run/scratch-tensors.ts";
import { RECIPE_FILE } from "../run/side-files.ts";
import type { TransplantSettings } from "./settings.ts";
import { byteMatch, type ComparableVocabulary, prefixMatch } from "./vocabulary.ts";

export const TOKENS_METHOD = "tokens";

/** One of the two models: how it was named, its headers, its tokens. */
export interface Party {
  readonly reference: string;
  readonly checkpoint: Checkpoint;
  readonly vocabulary: ComparableVocabulary;
}

/** A matrix with a row for each token, and where its new rows come from. */
export interface TokenMatrix {
  readonly kind: "embed" | "lm_head";
  readonly own: TensorEntry;
  readonly donors: TensorEntry;
  /** For each token of the new vocabulary a row of `own`, or NEW less the number of its new row, or ROW_ZERO. */
  readonly rows: Int32Array;
  /** Comparable forms and numbers in the donor of the tokens that get new rows. */
  readonly missing: readonly { readonly form: string; readonly id: number }[];
  readonly counts: { readonly exact: number; readonly byte: number; readonly prefix: number };
}

const NEW = -2;

export interface TransplantPlan {
  readonly plan: MergePlan;
  readonly matrices: readonly TokenMatrix[];
  readonly scratch: ScratchTensors;
}

export interface TransplantPlanOptions {
  readonly settings: TransplantSettings;
  /** Says all of the above, for the output's record. */
  readonly text: string;
  readonly memoryBytes: number;
  readonly shardBytes: number;
  readonly scratch: string;
}

/** @throws WeightsmithError `transplant-*` */
export function planTransplant(model: Party, donor: Party, options: TransplantPlanOptions): TransplantPlan {
  const matrices = [...model.checkpoint.tensors.values()].flatMap((entry) => tokenMatrix(entry, model, donor, options.settings) ?? []);
  if (!matrices.some(({ kind }) => kind === "embed"))
    throw inputError("transplant-no-embedding", "the model has no matrix of token embeddings", { file: model.checkpoint.path });
  const size = donor.vocabulary.size;
  const identity = [options.text, ...[model, donor].map(({ checkpoint }) => [resolve(checkpoint.folder), checkpoint.shards.map((s) => s.sizeBytes)])];
  const scratch = scratchTensors(
    options.scratch,
    sha256(JSON.stringify(identity)),
    matrices.map(({ kind, own, missing }) => ({ name: kind, dtype: own.dtype, shape: [missing.length, own.shape[1] ?? 0] })),
  );
  const unplaced = [...model.checkpoint.tensors.values()].map((entry) => jobOf(entry, model, donor, matrices, scratch));
  const { shards, jobs } = placeJobs(unplaced, options.shardBytes);
  const decided = {
    version: 1,
    recipe: { file: "tokens.yml", text: options.text, sha256: sha256(options.text) },
    method: TOKENS_METHOD,
    seed: 0,
    models: [model, donor].map(({ reference, checkpoint: { folder, shards: files } }) => ({
      reference,
      folder: resolve(folder),
      files: files.map(({ file, sizeBytes }) => ({ file, sizeBytes })),
    })),
    donor: {
      reference: model.reference,
      folder: resolve(model.checkpoint.folder),
      files: carriedFiles(model.checkpoint),
      hasConfig: model.checkpoint.config !== undefined,
    },
    tokenizer: {
      reference: donor.reference,
      folder: resolve(donor.checkpoint.folder),
      files: travellingFiles(donor.checkpoint.sideFiles).filter(isTokenizerFile),
      added: [],
    },
    config: configChanges(model.checkpoint, donor.checkpoint, size),
    shards,
    jobs,
  } as const;
  const bytesToWrite = shards.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const costs = estimate(jobs, bytesToWrite, options.memoryBytes);
  const hash = planHash({ ...decided, jobs: jobs.map(withoutPlace(scratch)) });
  return { plan: { ...decided, bytesToWrite, ...costs, findings: matrices.map(noteMatches), planHash: hash }, matrices, scratch };
}

/** What goes along with the tensors: also how the model was merged, if it was. */
function carriedFiles({ sideFiles }: Checkpoint): string[] {
  return [...travellingFiles(sideFiles).filter((name) => !isTokenizerFile(name)), ...sideFiles.filter((name) => name === RECIPE_FILE)];
}

function tokenMatrix(entry: TensorEntry, model: Party, donor: Party, settings: TransplantSettings): TokenMatrix | undefined {
  if (entry.shape.length !== 2 || !hasTokenRows(entry.name, entry.shape, model.checkpoint)) return undefined;
  const kind = isTokenEmbedding(entry.name) ? "embed" : "lm_head";
  const donors = donorMatrix(kind, donor);
  for (const { lora, name, file, dtype } of [entry, donors])
    if (lora !== undefined || !isFloat(dtype))
      throw inputError("transplant-unsupported", `tensor ${name} cannot be computed with as it is stored`, {
        file,
        found: lora === undefined ? dtype : "an adapter on it",
        remedy: "merge adapters first (weightsmith adapter fold)",
      });
  return { kind, own: entry, donors, ...matchTokens(kind, entry, donors, model, donor, settings) };
}

/** The donor's embedding or head; where its head is tied, the embedding is both. */
function donorMatrix(kind: TokenMatrix["kind"], { checkpoint }: Party): TensorEntry {
  const matrices = [...checkpoint.tensors.values()].filter(({ name, shape }) => shape.length === 2 && hasTokenRows(name, shape, checkpoint));
  const embedding = matrices.find(({ name }) => isTokenEmbedding(name));
  const head = matrices.find(({ name }) => !isTokenEmbedding(name));
  const found = kind === "embed" ? embedding : (head ?? embedding);
  if (found !== undefined) return found;
  throw inputError("transplant-no-embedding", "the model that gives the tokenizer has no matrix of token embeddings", { file: checkpoint.path });
}

function matchTokens(
  kind: TokenMatrix["kind"],
  own: TensorEntry,
  donors: TensorEntry,
  model: Party,
  { vocabulary }: Party,
  { byteMatch: byte, prefixMatch: prefix }: TransplantSettings,
): Pick<TokenMatrix, "rows" | "missing" | "counts"> {
  const [ownRows = 0, donorRows = 0] = [own.shape[0], donors.shape[0]];
  const ids = new Map([...model.vocabulary.ids].filter(([, id]) => id < ownRows));
  const allowed = (match: string): boolean => match === "yes" || match === kind;
  const rows = new Int32Array(vocabulary.size).fill(ROW_ZERO);
  const missing: { form: string; id: number }[] = [];
  const counts = { exact: 0, byte: 0, prefix: 0 };
  for (const [form, id] of vocabulary.ids) {
    if (id >= donorRows) continue;
    const found: [keyof typeof counts, number | undefined][] = [
      ["exact", ids.get(form)],
      ["byte", allowed(byte) ? byteMatch(form, ids) : undefined],
      ["prefix", allowed(prefix) ? prefixMatch(form, ids) : undefined],
    ];
    const [how, row] = found.find(([, candidate]) => candidate !== undefined) ?? [];
    if (how !== undefined && row !== undefined) {
      counts[how]++;
      rows[id] = row;
    } else {
      rows[id] = NEW - missing.length;
      missing.push({ form, id });
    }
  }
  return { rows, missing, counts };
}

function jobOf(entry: TensorEntry, model: Party, donor: Party, matrices: readonly TokenMatrix[], scratch: ScratchTensors): UnplacedJob {
  const { name, dtype, shape, file, offset, byteLength } = entry;
  const ref: TensorRef = { name, file, offset, byteLength, dtype, shape };
  const matrix = matrices.find(({ own }) => own === entry);
  if (matrix === undefined && !hasTokenRows(name, shape, model.checkpoint)) return { kind: "copy", name, dtype, shape, byteLength, source: ref };
  if (!isFloat(dtype)) throw inputError("transplant-unsupported", `tensor ${name} cannot be computed with as it is stored`, { file, found: dtype });
  const rows = matrix?.rows ?? knownRows(entry, model, donor);
  const news = matrix === undefined || matrix.missing.length === 0 ? [] : [float(scratchRef(scratch, matrix.kind), dtype)];
  const map: RowMap = { sources: [float(ref, dtype), ...news], runs: runsOf(rows), means: [] };
  const out = [rows.length, ...shape.slice(1)];
  const input = { ...ref, dtype, model: model.reference, modelIndex: 0, isBase: true, parameters: {}, rows: map };
  return { kind: "merge", name, dtype, shape: out, byteLength: elementCount(out) * DTYPE_BYTES[dtype], method: "passthrough", inputs: [input], parameters: {} };
}

const float = (ref: TensorRef, dtype: FloatDType): TensorRef & { dtype: FloatDType } => ({ ...ref, dtype });

/** Of a vector with a number for each token (a bias of the head): known tokens keep theirs, others have none. */
function knownRows({ shape }: TensorEntry, model: Party, { vocabulary }: Party): Int32Array {
  const rows = new Int32Array(vocabulary.size).fill(ROW_ZERO);
  for (const [form, id] of vocabulary.ids) {
    const row = model.vocabulary.ids.get(form);
    if (row !== undefined && row < (shape[0] ?? 0)) rows[id] = row;
  }
  return rows;
}

/** Neighbouring rows of one source as one run. */
function runsOf(rows: Int32Array): RowMap["runs"] {
  const runs: [number, number, number][] = [];
  for (const row of rows) {
    const [source, first] = row >= 0 ? [0, row] : row === ROW_ZERO ? [ROW_ZERO, 0] : [1, NEW - row];
    const last = runs.at(-1);
    if (last !== undefined && last[0] === source && (source === ROW_ZERO || first === last[1] + last[2])) last[2]++;
    else runs.push([source, first, 1]);
  }
  return runs;
}

const SPECIAL_IDS = ["bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "mask_token_id"];

function configChanges({ config }: Checkpoint, donor: Checkpoint, size: number): ConfigChange[] {
  const values = Object.fromEntries(SPECIAL_IDS.filter((key) => donor.config !== undefined && key in donor.config).map((key) => [key, donor.config?.[key]]));
  return Object.entries({ vocab_size: size, ...values })
    .filter(([key, value]) => JSON.stringify(config?.[key]) !== JSON.stringify(value))
    .map(([key, value]) => ({ path: [key], value: value as ConfigChange["value"] }));
}

function noteMatches({ kind, counts, missing, own }: TokenMatrix): Diagnostic {
  const parts = [`${counts.exact} tokens are in both vocabularies`];
  if (counts.byte > 0) parts.push(`${counts.byte} match as bytes`);
  if (counts.prefix > 0) parts.push(`${counts.prefix} by their beginning`);
  return { code: `transplant-${kind.replace("_", "-")}`, severity: "info", message: `${own.name}: ${parts.join(", ")}, ${missing.length} get new rows` };
}
