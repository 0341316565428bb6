// `weightsmith moe`: reads the models' headers, plans, computes the gates, and lets the executor write the mixture. Node only.
import { rm } from "node:fs/promises";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { type Diagnostic, inputError } from "../diagnostics.ts";
import { narrowFromFloat32 } from "../formats/dtype-codecs.ts";
import { initBackend } from "../nn/backend.ts";
import type { OpenModel } from "../plan/open-model.ts";
import type { ModelReference } from "../recipe/recipe.ts";
import { type MergeResult, type RunOptions, runMerge } from "../run/execute.ts";
import { hasScratch, writeScratch } from "../run/scratch-tensors.ts";
import { checkOutput } from "../run/work-folder.ts";
import { type MoeConfig, parseMoeConfig } from "./config.ts";
import { computeGates, noteDegenerate } from "./gates.ts";
import { type MoePlan, planMoe } from "./plan-moe.ts";

export interface MoeRequest {
  /** The text of the config, and the path that diagnostics call it. */
  readonly text: string;
  readonly file: string;
  readonly open: OpenModel;
  readonly seed: number;
  readonly memoryBytes: number;
  readonly shardBytes?: number | undefined;
  /** Where the gates are kept while the mixture is written. */
  readonly gates: string;
  /** All experts may be the same model. */
  readonly allowSame?: boolean;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Layers of the base model that have been run for the gates. */
  readonly onGates?: ((done: number, total: number) => void) | undefined;
}

export interface PreparedMoe extends MoePlan {
  readonly config: MoeConfig;
  readonly base: Checkpoint;
}

/** Everything but the gates and the writing. @throws WeightsmithError `moe-*`, `config-*`, and what opening a model throws */
export async function prepareMoe(request: MoeRequest): Promise<PreparedMoe> {
  const { config, warnings } = parseMoeConfig(request.text, request.file, request.allowSame);
  const opened = new Map<string, Promise<Checkpoint>>();
  const open = (reference: ModelReference): Promise<Checkpoint> => {
    const known = opened.get(reference.text) ?? request.open(reference);
    opened.set(reference.text, known);
    return known;
  };
  const base = await open(config.base);
  const experts = [];
  for (const { source } of config.experts) experts.push(await open(source));
  const shared = config.shared === undefined ? undefined : await open(config.shared.source);
  const { seed, memoryBytes, shardBytes = 5e9, gates } = request;
  const planned = planMoe(config, { base, experts, shared }, warnings, { seed, memoryBytes, shardBytes, gates });
  if (config.base.lora !== undefined && !config.gateMode.endsWith("random"))
    throw inputError("moe-adapted-base", "gates cannot be computed with a model that is only adapted while it is read", {
      file: config.file,
      range: config.base.range,
      found: config.base.text,
      remedy: "merge the adapter first (weightsmith adapter fold), or use a random gate_mode",
    });
  return { ...planned, config, base };
}

/** Computes the gates unless their file is there; returns what is wrong with them. */
export async function makeGates(request: MoeRequest, { config, base, layout, layers, hidden, gates: file }: PreparedMoe): Promise<readonly Diagnostic[]> {
  const { seed, signal, threads, onGates } = request;
  if (await hasScratch(file)) return [];
  await initBackend(threads === undefined ? {} : { threads });
  const gates = await computeGates({ base, config, sharedGate: layout.sharedGate, layers, hidden, seed, signal, ...(onGates && { onLayer: onGates }) });
  await writeScratch(
    file,
    gates.flat().map((row) => narrowFromFloat32("F32", row)),
  );
  return noteDegenerate(gates, config.file);
}

/** Makes the folder `run.out`. @throws WeightsmithError what `prepareMoe`, `computeGates` and `runMerge` throw */
export async function makeMoe(request: MoeRequest, run: RunOptions): Promise<MergeResult & { readonly layout: string }> {
  const prepared = await prepareMoe(request);
  const { plan, layout } = prepared;
  const inputs = plan.models.flatMap(({ files }) => files.map(({ file }) => file));
  await checkOutput({ out: run.out, overwrite: run.overwrite ?? false, inputs });
  const warnings = await makeGates(request, prepared);
  const result = await runMerge({ ...plan, findings: [...plan.findings, ...warnings] }, run);
  await rm(request.gates, { force: true });
  return { ...result, layout: layout.name };
}
