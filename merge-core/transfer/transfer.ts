// Trans-LoRA (Wang et al., 2024, 2405.17258): an adapter moves to another base without its training data. Prompts are drawn from
// a generator and kept where a discriminator takes them for real; the old base with its adapter answers them, and the new base
// learns the answers. Node only.
import { rename, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { CONFIG, TENSORS } from "../adapters/peft-config.ts";
import { type AdapterFile, readAdapter } from "../adapters/read-adapter.ts";
import { type Diagnostic, inputError } from "../diagnostics.ts";
import { hashFiles } from "../evaluate/score-cache.ts";
import { readJsonLines } from "../nn/data.ts";
import { onEngine } from "../nn/engine.ts";
import { writeJson } from "../nn/save.ts";
import { checkOutput, JOURNAL_FILE, MANIFEST_FILE, openWorkFolder } from "../run/work-folder.ts";
import { VERSION } from "../version.ts";
import { acceptPrompts, answerPrompts, checkTargets, clearPhases, distil, lossesOf, trainDiscriminator, trainGenerator } from "./phases.ts";
import type { Seed, TransferRequest, TransferResult, TransferRun } from "./request.ts";

const FORMAT = "weightsmith-transfer";

/**
 * Writes `out`: the adapter for the new base, the data that it learned from, and a report. Work goes to `out.partial`; a run that was
 * stopped is taken up at the phase that it was in, with the same result.
 * @throws WeightsmithError `output-*`, `data-*`, `adapter-*`, `transfer-nothing-real`, `transfer-no-answers`, `cancelled`
 */
export async function transferAdapter(request: TransferRequest): Promise<TransferResult> {
  const { out, overwrite = false, signal, threads, blas, device, onWarning } = request;
  const adapter = await readAdapter(request.adapter, signal === undefined ? {} : { signal });
  checkTargets({ adapter, request });
  const seeds = await readSeeds(request.seeds);
  const output = { out, overwrite, inputs: [request.adapter, request.from, request.to, request.seeds] };
  await checkOutput(output);
  const identity = await identityOf(request, adapter);
  const folder = await openWorkFolder(output, (journal) => journal === identity);
  try {
    await writeFile(join(folder.path, JOURNAL_FILE), identity);
    // Phases that a device has ended before it failed are there, and are not done again.
    const result = await onEngine({ ...(threads === undefined ? {} : { threads }), blas, device, onWarning }, (engine) =>
      runPhases({ request: { ...request, device: engine.device }, adapter, seeds, work: folder.path }),
    );
    return { ...result, warnings: [...result.warnings, ...(await folder.finish())] };
  } finally {
    await folder.release();
  }
}

/** What the result depends on. */
async function identityOf({ from, to, seeds, settings, blas, device }: TransferRequest, { file, configFile }: AdapterFile): Promise<string> {
  const files = await hashFiles([file, configFile, seeds]);
  const engine = blas?.name ?? device;
  return `${JSON.stringify({ format: FORMAT, weightsmith: VERSION, from, to, settings, files, engine })}\n`;
}

async function readSeeds(file: string): Promise<Seed[]> {
  const seeds = await readJsonLines<Seed>(file, '{"prompt": "..."}, with a completion if there is one', ({ prompt, completion }) => {
    if (typeof prompt !== "string" || prompt === "") return undefined;
    return typeof completion === "string" ? { prompt, completion } : { prompt };
  });
  if (seeds.length >= 2) return seeds;
  throw inputError("data-too-few", "one prompt does not tell in what prompts vary", { file, found: "1 prompt", expected: "some, such as 5 to 100" });
}

async function runPhases(run: TransferRun): Promise<TransferResult> {
  const { request, seeds, work } = run;
  const generator = await trainGenerator(run);
  const discriminator = await trainDiscriminator(run, generator);
  const { prompts, candidates, realness } = await acceptPrompts(run, generator, discriminator);
  const answered = await answerPrompts(run, prompts);
  const distilled = await distil(run);
  const { trainLoss, validationLoss } = await lossesOf(distilled);
  for (const name of [CONFIG, TENSORS, "training-log.jsonl", "training.json"]) await rename(join(distilled, name), join(work, name));
  await clearPhases(work);
  const parameters = await parametersOf(work);
  const result = { seeds: seeds.length, candidates, accepted: prompts.length, answered, realness, parameters, trainLoss, validationLoss };
  const { adapter, from, to, settings } = request;
  const inputs = { adapter, from, to, seeds: basename(request.seeds), settings };
  await writeJson(join(work, MANIFEST_FILE), { format: FORMAT, version: 1, weightsmith: VERSION, ...inputs, result });
  return { out: request.out, ...result, warnings: prompts.length < settings.examples ? [tooFew(run, prompts.length, candidates)] : [] };
}

async function parametersOf(folder: string): Promise<number> {
  const entries = [...(await readAdapter(folder)).modules.values()].flatMap((tensors) => Object.values(tensors));
  return entries.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0);
}

const tooFew = ({ request: { out, settings } }: TransferRun, accepted: number, candidates: number): Diagnostic => ({
  code: "transfer-few-examples",
  severity: "warning",
  message: "fewer prompts than asked for were taken for real",
  file: out,
  found: `${accepted} of ${candidates} drawn`,
  expected: `${settings.examples}`,
  remedy: "give more seeds, or lower --threshold or --examples",
});
