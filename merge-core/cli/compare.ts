// weightsmith compare: how alike models are, and where merging them would conflict.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { compareModels } from "../analysis/compare.ts";
import type { Comparison } from "../analysis/comparison.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { createPool } from "../compute/pool.ts";
import { inputError } from "../diagnostics.ts";
import { ARENA_SLACK_BYTES, defaultMemoryBytes } from "../run/memory.ts";
import { MANIFEST_FILE } from "../run/work-folder.ts";
import type { Command } from "./command.ts";
import { comparisonText } from "./compare-tables.ts";
import { checkWritable, writeComparisonPage } from "./comparison-page.ts";
import { type Arguments, flag, MEMORY, number, OVERWRITE, THREADS, text, threads } from "./options.ts";

const DEFAULT_DENSITY = 0.2;

export const compare: Command = {
  name: "compare",
  summary: "measure how alike models are and where they conflict",
  usage: "[--base MODEL] MODEL MODEL...",
  help: `
Reads all models once and measures, per tensor, layer, role and in total: cosine and distance of weights and of changes
from the base, sign agreement and conflict, density, magnitude quantiles, overlap of the largest changes, and what a trim
and a sign election would drop. Ranks layers by conflict. Without --base only weights are compared. It predicts no quality.

  weightsmith compare --base ./base ./math ./code
  weightsmith compare --base ./base ./math ./code --html conflict.html
  weightsmith compare --base ./base ./math ./code --density 0.3 --json`,
  options: [
    { name: "base", type: "string", value: "MODEL", doc: "the model that the others were trained from" },
    { name: "density", type: "string", value: "SHARE", doc: `share of elements that the previewed trim keeps (default: ${DEFAULT_DENSITY})` },
    { name: "html", type: "string", value: "FILE", doc: "also write a page with charts, complete in one file" },
    MEMORY,
    THREADS,
    OVERWRITE,
  ],
  async run(args, { output, signal }) {
    const paths = modelPaths(args);
    const density = densityOf(args);
    checkWritable(text(args, "html"), flag(args, "overwrite"));
    const basePath = text(args, "base");
    const base = basePath === undefined ? undefined : await openCheckpoint(basePath, { signal });
    const models = await Promise.all(paths.map((path) => openCheckpoint(path, { signal })));
    const memoryBytes = number(args, "memory") ?? defaultMemoryBytes();
    const pool = createPool({ threads: threads(args), maxMemoryBytes: memoryBytes + ARENA_SLACK_BYTES });
    try {
      const onProgress = (done: number, total: number, detail: string) => output.progress({ stage: "compare", done, total, unit: "bytes", detail });
      const comparison = withMerges(await compareModels(base, models, { pool, memoryBytes, density, signal, onProgress }));
      const html = text(args, "html");
      if (html !== undefined) await writeComparisonPage(comparison, html, flag(args, "overwrite"));
      output.result(comparison, `${comparisonText(comparison)}${html === undefined ? "" : `\n\npage: ${html}`}`);
    } finally {
      await pool.close();
    }
  },
};

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

function densityOf(args: Arguments): number {
  const given = text(args, "density");
  const density = given === undefined ? DEFAULT_DENSITY : Number(given);
  if (density > 0 && density <= 1) return density;
  throw inputError("usage", "option --density is not a share", { found: given ?? "", expected: "a number above 0 and at most 1" });
}
