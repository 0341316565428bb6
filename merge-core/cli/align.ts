// weightsmith align A B -o OUT: permutes B so that it lies near A.
import type { Alignment } from "../align/align.ts";
import type { LossLine } from "../align/barrier.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import type { Command } from "./command.ts";
import { checkWritable, writePage } from "./html-page.ts";
import { type Arguments, flag, list, MEMORY, number, OVERWRITE, positionals, SEED, THREADS, text, threads, usage } from "./options.ts";
import { formatTable } from "./output.ts";
import { alignPage } from "./weights-page.ts";

const DEFAULT_POINTS = 11;
/** The thresholds of the paper's figures. */
const GAMMAS = [0, 0.3];

export const align: Command = {
  name: "align",
  summary: "permute a model's units and heads so that it lies near another",
  usage: "A B -o OUT",
  help: `
Writes B with its hidden units, attention heads and the dimensions of values in the order in which its weights are most like
A's (weight matching of Git Re-Basin, arXiv 2209.04836). What B computes stays the same. Groups of query heads move with their
key-value head, and nothing moves that rotary positions see. OUT/alignment.json holds the permutations.

For transformers with the usual names of projections (Llama, Mistral, Qwen, Phi, Mixtral, GPT-2, OPT), and for plain MLPs of numbered
layers. With --barrier the loss on the straight line from A to B is measured on --data, before and after. --singular tells how the
singular vectors of both line up (arXiv 2402.04051).

  weightsmith align ./a ./b -o ./b-aligned
  weightsmith align ./a ./b -o ./b-aligned --residual --singular
  weightsmith align ./a ./b -o ./b-aligned --barrier --data test.jsonl --html line.html`,
  options: [
    { name: "output", short: "o", type: "string", value: "OUT", doc: "the folder to make" },
    { name: "residual", type: "flag", doc: "permute the residual stream too: embeddings, norms, and the other side of every layer" },
    { name: "experts", type: "flag", doc: "permute the experts of mixtures too, with their routers; compares every expert with every other" },
    { name: "barrier", type: "flag", doc: "measure the loss on the line between the models; needs --data" },
    { name: "data", type: "list", value: "FILE", doc: "JSONL file for --barrier; may be given several times" },
    { name: "points", type: "integer", value: "N", doc: `points on the line (default: ${DEFAULT_POINTS})` },
    { name: "limit", type: "integer", value: "N", least: 1, doc: "only the first N examples" },
    { name: "singular", type: "flag", doc: "compare singular vectors before and after" },
    { name: "html", type: "string", value: "FILE", doc: "also write a page with the loss on the line and what moved, complete in one file" },
    { name: "shard-size", type: "size", value: "SIZE", doc: "most bytes of one output file (default: 5GB)" },
    MEMORY,
    SEED,
    THREADS,
    OVERWRITE,
  ],
  async run(args, { output, signal }) {
    const [pathA = "", pathB = ""] = positionals(args, ["A", "B"]);
    const out = outOf(args);
    const points = pointsOf(args);
    const html = text(args, "html");
    checkWritable(html, flag(args, "overwrite"));
    const [a, b] = await Promise.all([openCheckpoint(pathA, { signal }), openCheckpoint(pathB, { signal })]);
    const { align: run } = await import("../align/align.ts");
    const memory = number(args, "memory");
    const {
      orders: _,
      symmetries: __,
      ...alignment
    } = await run({
      ...{
        a,
        b,
        out,
        signal,
        residual: flag(args, "residual"),
        experts: flag(args, "experts"),
        seed: number(args, "seed") ?? 0,
        overwrite: flag(args, "overwrite"),
        threads: threads(args),
      },
      ...(memory === undefined ? {} : { memoryBytes: memory }),
      shardBytes: number(args, "shard-size"),
      gammas: flag(args, "singular") ? GAMMAS : undefined,
      onProgress: (stage, done, total, unit, detail) => output.progress({ stage, done, total, unit, detail }),
    });
    output.diagnostics(alignment.warnings);
    const lines = points === undefined ? undefined : await measure(args, a, [b, await openCheckpoint(out, { signal })], points);
    const [before, after] = lines ?? [];
    const line = before === undefined || after === undefined ? {} : { line: { before, after } };
    const { warnings: ___, ...shown } = alignment;
    if (html !== undefined) await writePage(alignPage({ ...shown, ...line, a: pathA, b: pathB }), html, flag(args, "overwrite"));
    output.result({ ...alignment, ...line }, `${page(alignment, before, after)}${html === undefined ? "" : `\npage: ${html}`}`);

    async function measure(given: Arguments, first: typeof a, others: readonly (typeof a)[], count: number): Promise<readonly LossLine[]> {
      const { lossLines } = await import("../align/barrier.ts");
      const onPoint = (done: number, total: number) => output.progress({ stage: "barrier", done, total, unit: "steps" });
      return lossLines(first, others, list(given, "data"), { points: count, limit: number(given, "limit"), threads: threads(given), signal, onPoint });
    }
  },
};

function outOf(args: Arguments): string {
  const out = text(args, "output");
  if (out === undefined) throw usage("no output is named", { expected: "-o OUT" });
  return out;
}

/** Points of the line, if one is asked for. */
function pointsOf(args: Arguments): number | undefined {
  if (!flag(args, "barrier")) return undefined;
  if (list(args, "data").length === 0) throw usage("--barrier has nothing to measure on", { expected: "--data FILE" });
  const points = number(args, "points") ?? DEFAULT_POINTS;
  if (points < 3) throw usage("option --points is too small", { found: String(points), expected: "3 or more" });
  return points;
}

const shown = (value: number): string => Number(value.toPrecision(5)).toString();

function page({ out, groups, sweeps, distance, singular }: Alignment, before: LossLine | undefined, after: LossLine | undefined): string {
  const rows = groups.map(({ group, size, moved, before, after }) => [group, `${moved} of ${size}`, shown(before), shown(after)]);
  const parts = [
    formatTable(["group", "moved", "product before", "after"], rows, [1, 2, 3]),
    `distance from A: ${shown(distance.before)} before, ${shown(distance.after)} after; ${sweeps} sweeps`,
  ];
  if (singular !== undefined)
    parts.push(
      formatTable(
        ["singular vectors above", "aligned before", "after"],
        singular.total.map((t) => [`${t.gamma} of the largest`, shown(t.before), shown(t.after)]),
        [1, 2],
      ),
    );
  if (before !== undefined && after !== undefined) {
    const steps = before.losses.length - 1;
    const line = before.losses.map((loss, i) => [shown(i / steps), shown(loss), shown(after.losses[i] ?? Number.NaN)]);
    parts.push(
      formatTable(["share of B", "loss before", "loss aligned"], line, [0, 1, 2]),
      `barrier: ${shown(before.barrier)} before, ${shown(after.barrier)} aligned`,
    );
  }
  return `${parts.join("\n\n")}\n${out}`;
}
