// weightsmith compare: how alike models are, and where merging them would conflict.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { compareModels } from "../analysis/compare.ts";
import { type ActivationMeasures, type Comparison, EXPLANATIONS } from "../analysis/comparison.ts";
import { addSpectra } from "../analysis/spectra/add-spectra.ts";
import { SPECTRA_EXPLANATIONS } from "../analysis/spectra/explanations.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { createPool } from "../compute/pool.ts";
import { inputError } from "../diagnostics.ts";
import { fitsPattern, patternProblem } from "../recipe/tensor-pattern.ts";
import { ARENA_SLACK_BYTES, defaultMemoryBytes } from "../run/memory.ts";
import { MANIFEST_FILE } from "../run/work-folder.ts";
import type { Command } from "./command.ts";
import { ACTIVATION_EXPLANATIONS, measureActivations } from "./compare-data.ts";
import { comparisonText, explanationText, NO_PREDICTION } from "./compare-tables.ts";
import { checkWritable, writePage } from "./html-page.ts";
import { type Arguments, flag, list, MEMORY, number, OVERWRITE, THREADS, text, threads, usage } from "./options.ts";

const DEFAULT_DENSITY = 0.2;
const DEFAULT_DIRECTIONS = 16;
const DEFAULT_POSITIONS = 1024;
/** Fewer have no debiased alignment. */
const LEAST_POSITIONS = 4;

const ALL_EXPLANATIONS = [...EXPLANATIONS, ...SPECTRA_EXPLANATIONS, ...ACTIVATION_EXPLANATIONS];

export const compare: Command = {
  name: "compare",
  summary: "measure how alike models are and where they conflict",
  usage: "[--base MODEL] MODEL MODEL...",
  help: `
Reads all models once and measures, per tensor, layer, role and in total: cosine and distance of weights and of changes
from the base, sign agreement and conflict, density, magnitude quantiles, overlap of the largest changes, and what a trim
and a sign election would drop. Ranks layers by conflict. Without --base only weights are compared. It predicts no quality.

--spectra decomposes every matrix: singular values, effective and stable rank of weights and of changes, and the alignment
and principal angles of the changes' leading directions. Matrices with both sides above 1024 give their 256 leading
directions, or all with --exact, which takes minutes for each at a side of 4096.

--data runs the models on examples and aligns what their layers put out (linear CKA, plain and debiased). The tokens are
those of the base's tokenizer, or without a base of the first model's.

  weightsmith compare --base ./base ./math ./code
  weightsmith compare --base ./base ./math ./code --html conflict.html
  weightsmith compare --base ./base ./math ./code --density 0.3 --json
  weightsmith compare --base ./base ./math ./code --spectra --tensors "*.mlp.*"
  weightsmith compare --base ./base ./math ./code --data math.jsonl --html conflict.html`,
  options: [
    { name: "base", type: "string", value: "MODEL", doc: "the model that the others were trained from" },
    { name: "density", type: "string", value: "SHARE", doc: `share of elements that the previewed trim keeps (default: ${DEFAULT_DENSITY})` },
    { name: "tensors", type: "list", value: "GLOB", doc: "compare only tensors whose whole name fits; may be given several times" },
    { name: "spectra", type: "flag", doc: "also measure singular values and subspaces of every matrix" },
    { name: "directions", type: "integer", value: "N", doc: `leading directions between which angles are measured (default: ${DEFAULT_DIRECTIONS})` },
    { name: "exact", type: "flag", doc: "decompose large matrices whole, however long it takes" },
    { name: "data", type: "list", value: "FILE", doc: "JSONL file on which layers' activations are compared (CKA); may be given several times" },
    { name: "positions", type: "integer", value: "N", doc: `token positions of the data to take (default: ${DEFAULT_POSITIONS})` },
    { name: "explain", type: "flag", doc: "only say what every measure means and which paper it is from" },
    { name: "html", type: "string", value: "FILE", doc: "also write a page with charts, complete in one file" },
    MEMORY,
    THREADS,
    OVERWRITE,
  ],
  async run(args, { output, signal }) {
    if (flag(args, "explain")) return output.result({ explanations: ALL_EXPLANATIONS }, `${explanationText(ALL_EXPLANATIONS)}\n\n${NO_PREDICTION}`);
    const paths = modelPaths(args);
    const density = densityOf(args);
    const spectra = spectraOf(args);
    const activations = activationsOf(args);
    const only = onlyOf(args);
    checkWritable(text(args, "html"), flag(args, "overwrite"));
    const basePath = text(args, "base");
    const base = basePath === undefined ? undefined : await openCheckpoint(basePath, { signal });
    const models = await Promise.all(paths.map((path) => openCheckpoint(path, { signal })));
    const memoryBytes = number(args, "memory") ?? defaultMemoryBytes();
    const onProgress = (stage: string, unit: "bytes" | "items") => (done: number, total: number, detail?: string) =>
      output.progress({ stage, done, total, unit, detail });
    const running = { memoryBytes, threads: threads(args), signal, onProgress: onProgress("activations", "items") };
    const aligned = activations && (await measureActivations(basePath, paths, activations.data, { ...running, positions: activations.positions }));
    const pool = createPool({ threads: threads(args), maxMemoryBytes: memoryBytes + ARENA_SLACK_BYTES });
    try {
      const shared = { pool, memoryBytes, signal };
      const compared = await compareModels(base, models, { ...shared, density, only, onProgress: onProgress("compare", "bytes") });
      const measured =
        spectra === undefined ? compared : await addSpectra(compared, base, models, { ...shared, ...spectra, onProgress: onProgress("spectra", "items") });
      const comparison = withActivations(withMerges(measured), aligned);
      const html = text(args, "html");
      const page = { title: "Comparing models", script: "comparison", command: "compare", data: comparison };
      if (html !== undefined) await writePage(page, html, flag(args, "overwrite"));
      output.result(comparison, `${comparisonText(comparison)}${html === undefined ? "" : `\n\npage: ${html}`}`);
    } finally {
      await pool.close();
    }
  },
};

const withActivations = (comparison: Comparison, activations: ActivationMeasures | undefined): Comparison =>
  activations === undefined ? comparison : { ...comparison, activations, explanations: [...comparison.explanations, ...ACTIVATION_EXPLANATIONS] };

/** Models beside which a merge's manifest lies, so that pictures can tell them from what they were made of. */
function withMerges(comparison: Comparison): Comparison {
  const merges = comparison.models.flatMap((path, i) => (existsSync(join(path, MANIFEST_FILE)) ? [i] : []));
  return merges.length === 0 ? comparison : { ...comparison, merges };
}

/** At least two models, or one with a base. */
function modelPaths(args: Arguments): readonly string[] {
  const least = text(args, "base") === undefined ? 2 : 1;
  if (args.positionals.length >= least) return args.positionals;
  throw inputError("usage", "too few models to compare", {
    found: String(args.positionals.length),
    expected: least === 2 ? "two or more, or one with --base" : "one or more",
    remedy: "see --help",
  });
}

/** What --spectra asks for. */
function spectraOf(args: Arguments): { directions: number; exact: boolean } | undefined {
  const directions = number(args, "directions");
  const exact = flag(args, "exact");
  if (directions === 0) throw usage("option --directions must be at least 1", { found: "0" });
  if (flag(args, "spectra")) return { directions: directions ?? DEFAULT_DIRECTIONS, exact };
  if (directions === undefined && !exact) return undefined;
  throw usage(`option --${exact ? "exact" : "directions"} is of --spectra`, { remedy: "add --spectra" });
}

/** What --data asks for. */
function activationsOf(args: Arguments): { data: readonly string[]; positions: number } | undefined {
  const [data, positions] = [list(args, "data"), number(args, "positions")];
  if (positions !== undefined && positions < LEAST_POSITIONS)
    throw usage(`option --positions must be at least ${LEAST_POSITIONS}`, { found: String(positions) });
  if (data.length > 0) return { data, positions: positions ?? DEFAULT_POSITIONS };
  if (positions !== undefined) throw usage("option --positions is of --data", { remedy: "add --data FILE" });
  return undefined;
}

/** Which tensors --tensors chooses. */
function onlyOf(args: Arguments): ((name: string) => boolean) | undefined {
  const globs = list(args, "tensors").map((glob) => `glob:${glob}`);
  for (const glob of globs) {
    const problem = patternProblem(glob);
    if (problem !== undefined) throw usage("option --tensors has a pattern that cannot be used", { found: glob.slice("glob:".length), expected: problem });
  }
  return globs.length === 0 ? undefined : (name) => globs.some((glob) => fitsPattern(glob, name));
}

function densityOf(args: Arguments): number {
  const given = text(args, "density");
  const density = given === undefined ? DEFAULT_DENSITY : Number(given);
  if (density > 0 && density <= 1) return density;
  throw inputError("usage", "option --density is not a share", { found: given ?? "", expected: "a number above 0 and at most 1" });
}
