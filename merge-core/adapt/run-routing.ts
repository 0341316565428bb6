// adapt --method one_bit: from a recipe's models and data to packed experts with a router. Node only.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { inputError } from "../diagnostics.ts";
import { initBackend } from "../nn/backend.ts";
import { disposeDecoder } from "../nn/load.ts";
import { modelFromTensors, readTensors } from "../nn/model.ts";
import { checkOutput } from "../run/work-folder.ts";
import { fillFolder, readRows, requireDataForEach } from "./adapt-files.ts";
import { type PackedExperts, type RoutedSummary, writeRouted } from "./routed.ts";
import { openTaskModels } from "./task-vectors.ts";

export interface RoutingRequest {
  readonly recipe: { readonly text: string; readonly file: string };
  readonly data: readonly string[];
  readonly out: string;
  /** Default `both`. */
  readonly compress?: PackedExperts["layers"];
  readonly overwrite?: boolean;
  readonly threads?: number;
  readonly limit?: number;
  readonly signal?: AbortSignal;
}

/** @throws WeightsmithError `adapt-*`, `output-*`, `data-*`, `extract-*`, `cancelled` */
export async function runRouting(request: RoutingRequest): Promise<RoutedSummary> {
  const { recipe, data, out, compress = "both", overwrite = false, signal, threads } = request;
  const signalled = signal === undefined ? {} : { signal };
  await checkOutput({ out, overwrite, inputs: data });
  await initBackend(threads === undefined ? {} : { threads });
  const { base: reference, experts: references, open } = openTaskModels(recipe.text, recipe.file, signal);
  requireDataForEach(
    references.map(({ text }) => text),
    data,
  );
  if (reference.lora !== undefined)
    throw inputError("adapt-recipe", "the base of a routed model must be a model alone", { file: recipe.file, found: reference.text, expected: "no adapter" });
  const base = await open(reference);
  const experts: { name: string; checkpoint: Checkpoint }[] = [];
  for (const expert of references) experts.push({ name: expert.text, checkpoint: await open(expert) });
  const model = await modelFromTensors(base.folder, await readTensors(base, signalled));
  let summary: RoutedSummary | undefined;
  try {
    const rows = await Promise.all(data.map((file) => readRows(model, file, request.limit)));
    await fillFolder(out, overwrite, async (folder) => {
      const written = await writeRouted({ base, experts, layers: compress }, model, rows, folder, signal);
      const record = { method: "one_bit", recipe: recipe.text, data, compress, ...written };
      await writeFile(join(folder, "adapt.json"), `${JSON.stringify(record, undefined, 2)}\n`);
      summary = written;
    });
  } finally {
    disposeDecoder(model.decoder);
  }
  return summary as RoutedSummary;
}
