// weightsmith verify OUT: is a result what its manifest says, and does merging again give it?
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadBlas } from "../compute/providers/blas.ts";
import { type Diagnostic, inputError, WeightsmithError } from "../diagnostics.ts";
import { type MoeRequest, makeGates, prepareMoe } from "../moe/make-moe.ts";
import { MOE_METHOD } from "../moe/plan-moe.ts";
import { modelOpener } from "../plan/open-model.ts";
import type { MergePlan } from "../plan/plan.ts";
import { hasStages, parseStages } from "../recipe/stages.ts";
import { CPU_ENGINE } from "../run/manifest.ts";
import { defaultMemoryBytes } from "../run/memory.ts";
import type { StagedRecipe } from "../run/plan-stages.ts";
import type { MergeProgress } from "../run/progress.ts";
import type { StoredManifest } from "../run/read-manifest.ts";
import { compareRebuilt, type RebuildOptions } from "../run/rebuild.ts";
import { RECIPE_FILE, recipeFileOf } from "../run/side-files.ts";
import { planAfterStages } from "../run/stages.ts";
import { type Verification, verifyOutput } from "../run/verify.ts";
import { makeNewRows, parseTransplant, prepareTransplant } from "../transplant/make-transplant.ts";
import { TOKENS_METHOD } from "../transplant/plan-transplant.ts";
import { VERSION } from "../version.ts";
import type { Command, CommandContext } from "./command.ts";
import { DOWNLOAD, openerOptions, planText } from "./load-plan.ts";
import { type Arguments, flag, MEMORY, number, positionals, THREADS, text, threads } from "./options.ts";
import { formatBytes } from "./output.ts";

export const verify: Command = {
  name: "verify",
  summary: "check a result against its manifest, or by merging again",
  usage: "OUT",
  help: `
Compares the files of a merged model with weightsmith.json: names, sizes, sha256 sums, recipe. With --rebuild it plans the
recipe in OUT again, merges into memory, tensor by tensor, and compares every byte; nothing is written. Exit status 2 if
anything differs. What a GPU computed is compared with what this processor does: formulas element by element must be equal,
all else within a thousandth of a tensor's largest magnitude, which is then said. The recipe's relative paths start in the current folder, or where there is nothing, in --models.

  weightsmith verify ./merged
  weightsmith verify ./merged --rebuild --models ./recipes`,
  options: [
    { name: "rebuild", type: "flag", doc: "merge again into memory and compare every byte" },
    { name: "stages", type: "string", value: "FOLDER", doc: "for --rebuild of several recipes: where the results between are, or are made" },
    { name: "models", type: "string", value: "FOLDER", doc: "where relative model paths start: the folder of the recipe (default: OUT)" },
    DOWNLOAD,
    MEMORY,
    THREADS,
  ],
  async run(args, context) {
    const [out = ""] = positionals(args, ["OUT"]);
    const { output, signal } = context;
    let checkedBytes = 0;
    const verified = await verifyOutput(out, {
      signal,
      onFile: (_, sizeBytes) => {
        checkedBytes += sizeBytes;
      },
    });
    const rebuilt = flag(args, "rebuild") ? await rebuild(out, verified, args, context) : undefined;
    const diagnostics = [...verified.diagnostics, ...(rebuilt?.diagnostics ?? [])];
    if (diagnostics.some(({ severity }) => severity === "error")) throw new WeightsmithError(errorsFirst(diagnostics));
    output.diagnostics(diagnostics);
    const { files, planHash, seed } = verified.manifest;
    const tensors = rebuilt === undefined ? {} : { rebuiltTensors: rebuilt.tensors };
    output.result(
      { ok: true, out, files: files.length, bytes: checkedBytes, planHash, seed, ...tensors, diagnostics },
      `${out}: ${files.length} files, ${formatBytes(checkedBytes)}, as they were written${rebuilt === undefined ? "" : `; merging again gives ${likeness(diagnostics)} ${rebuilt.tensors} tensors`}`,
    );
  },
};

/** How what was merged again is like what is there. */
const likeness = (diagnostics: readonly Diagnostic[]): string => (diagnostics.some(({ code }) => code === "rebuilt-near") ? "nearly the same" : "the same");

/** Outputs that are no merges. */
const COMMAND_METHODS: readonly string[] = ["align", "share"];

const errorsFirst = (list: readonly Diagnostic[]): Diagnostic[] => [
  ...list.filter(({ severity }) => severity === "error"),
  ...list.filter(({ severity }) => severity !== "error"),
];

async function rebuild(
  out: string,
  { recipe, manifest }: Verification,
  args: Arguments,
  context: CommandContext,
): Promise<{ tensors: number; diagnostics: readonly Diagnostic[] }> {
  const { output, signal } = context;
  const file = join(out, recipeFileOf(manifest.method));
  if (recipe === undefined) throw inputError("output-recipe-differs", "there is no recipe to merge again", { file });
  if (COMMAND_METHODS.includes(manifest.method))
    throw inputError("rebuild-unsupported", `what weightsmith ${manifest.method} made is not made again by verify`, {
      file,
      remedy: "verify without --rebuild, or run the command again with the settings in this file and compare",
    });
  const memoryBytes = number(args, "memory") ?? defaultMemoryBytes();
  const onProgress = (p: MergeProgress) => output.progress({ stage: "rebuild", done: p.bytesDone, total: p.bytesTotal, unit: "bytes", detail: p.tensor });
  const options = { memoryBytes, threads: threads(args), signal, onProgress, ...(await engineOf(manifest, threads(args), file)) };
  const open = modelOpener(join(text(args, "models") ?? out, RECIPE_FILE), openerOptions(args, context));
  const planOptions = { seed: manifest.seed, memoryBytes };
  if (manifest.method === MOE_METHOD || manifest.method === TOKENS_METHOD) {
    const request = { text: recipe, file, open, ...planOptions, ...options };
    const again = await rebuildComputed(manifest.method, request, (plan) => compareRebuilt(plan, out, manifest, options));
    return { tensors: again.tensors, diagnostics: [...again.diagnostics, ...otherVersion(file, manifest.weightsmith)] };
  }
  const plan = hasStages(recipe)
    ? await planStaged(recipe, file, { open, options: planOptions }, text(args, "stages"), options)
    : (await planText(recipe, file, open, planOptions)).plan;
  const differences = await compareRebuilt(plan, out, manifest, options);
  return { tensors: plan.jobs.length, diagnostics: [...differences, ...otherVersion(file, manifest.weightsmith)] };
}

/** Engines on other devices, whose sums run in another order each. */
const ON_DEVICE = /^(?:webgpu|tfjs-node|tfjs-node-gpu) /;

/**
 * What computed the folder: the library for its matrices, or a device, with which the built-in engine agrees within a tolerance.
 * @throws WeightsmithError `engine-differs` if it was a library that is not here
 */
async function engineOf({ engine }: StoredManifest, count: number, file: string): Promise<Pick<RebuildOptions, "blas" | "otherEngine">> {
  if (engine === CPU_ENGINE) return {};
  if (ON_DEVICE.test(engine)) return { otherEngine: engine };
  const blas = await loadBlas(count).catch(() => undefined);
  if (blas?.name === engine) return { blas };
  const remedy = "only that library gives the same last digits; verify without --rebuild checks the files against their sums";
  throw inputError("engine-differs", "the matrices were computed by a library that is not here", {
    file,
    found: blas?.name ?? "none",
    expected: engine,
    remedy,
  });
}

/** Mixtures and transplants: what they compute before they write is computed again too, into a folder that goes away. */
async function rebuildComputed(
  method: string,
  request: Omit<MoeRequest, "gates">,
  compare: (plan: MergePlan) => Promise<readonly Diagnostic[]>,
): Promise<{ tensors: number; diagnostics: readonly Diagnostic[] }> {
  const folder = await mkdtemp(join(tmpdir(), "weightsmith-"));
  try {
    const plan = method === MOE_METHOD ? await computeMoe(request, folder) : await computeTransplant(request, folder);
    return { tensors: plan.jobs.length, diagnostics: await compare(plan) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function computeMoe(request: Omit<MoeRequest, "gates">, folder: string): Promise<MergePlan> {
  const whole = { ...request, gates: join(folder, "gates.safetensors"), allowSame: true };
  const prepared = await prepareMoe(whole);
  await makeGates(whole, prepared);
  return prepared.plan;
}

async function computeTransplant(request: Omit<MoeRequest, "gates">, folder: string): Promise<MergePlan> {
  const whole = { ...request, ...parseTransplant(request.text, request.file), scratch: join(folder, "rows.safetensors") };
  const prepared = await prepareTransplant(whole);
  await makeNewRows(whole, prepared);
  return prepared.plan;
}

/** Of a file of several recipes only the output can do without a disk: what it is made from is merged into `folder`. */
async function planStaged(
  recipe: string,
  file: string,
  how: Pick<StagedRecipe, "open" | "options">,
  folder: string | undefined,
  options: RebuildOptions,
): Promise<MergePlan> {
  if (folder === undefined)
    throw inputError("rebuild-stages", "a result of several recipes needs a folder for the results between", {
      file,
      remedy: "give --stages FOLDER; the folder of the merge will do",
    });
  const { stages, final, diagnostics } = parseStages(recipe, file);
  if (stages === undefined || final === undefined) throw new WeightsmithError(diagnostics);
  return planAfterStages({ stages, final, ...how }, folder, options);
}

function otherVersion(file: string, found: string): Diagnostic[] {
  if (found === VERSION) return [];
  const message = "merged by another version of weightsmith, which may have rounded or drawn differently";
  return [{ code: "other-version", severity: "warning", message, file, found, expected: VERSION }];
}
