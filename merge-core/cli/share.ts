// weightsmith share MODEL -o OUT: ties weights inside of one model.
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { PROJECTIONS, type Projection } from "../share/attention.ts";
import { MATCHES } from "../share/directshare.ts";
import { STARTS, type Start } from "../share/recursive.ts";
import { ADAPTER_FOLDER, COMPACT_FILE, share as run, SHARE_FILE, type ShareReport, type ShareSettings } from "../share/share.ts";
import type { Command } from "./command.ts";
import { checkWritable, writePage } from "./html-page.ts";
import { type Arguments, flag, MEMORY, number, OVERWRITE, positionals, THREADS, text, threads, usage } from "./options.ts";
import { type HeadsPage, headsPage } from "./weights-page.ts";

const DEFAULT_RATE = 0.3;

export const share: Command = {
  name: "share",
  summary: "tie weights inside of one model",
  usage: "MODEL -o OUT --method directshare|masa|recursive",
  help: `
directshare  the heads that are most like a head of an earlier layer take that head's weights (arXiv 2402.11819)
masa         every attention projection becomes a sum of a few matrices that all layers share (arXiv 2508.04581)
recursive    layers are tied into blocks that are gone through several times; with --rank a LoRA for each layer, from the
             decomposition of what tying takes away, is written to OUT/${ADAPTER_FOLDER} (arXiv 2410.20672). Norms stay each layer's own

OUT is the whole model and loads anywhere. OUT/${COMPACT_FILE} (safetensors) holds every shared weight once, and OUT/${SHARE_FILE} what
uses it and how many parameters are saved. No method trains: measure the result with weightsmith eval.

  weightsmith share ./model -o ./shared --method directshare --rate 0.3 --html heads.html
  weightsmith share ./model -o ./shared --method masa --atoms 8
  weightsmith share ./model -o ./shared --method recursive --loops 2 --rank 16`,
  options: [
    { name: "output", short: "o", type: "string", value: "OUT", doc: "the folder to make" },
    { name: "method", type: "string", value: "NAME", choices: ["directshare", "masa", "recursive"], doc: "how to share" },
    { name: "rate", type: "string", value: "SHARE", doc: `directshare: share of all heads that are replaced (default: ${DEFAULT_RATE})` },
    { name: "match", type: "string", value: "PARTS", choices: Object.keys(MATCHES), doc: "directshare: projections that are compared (default: qk)" },
    { name: "chase", type: "flag", doc: "directshare: a head whose match is itself replaced takes what that one takes" },
    { name: "atoms", type: "integer", value: "N", doc: "masa: matrices that layers share (default: a third of the layers)" },
    { name: "projections", type: "string", value: "LETTERS", doc: "masa: which of q, k, v and o (default: qkvo)" },
    { name: "loops", type: "integer", value: "N", doc: "recursive: how often blocks are gone through (default: 2)" },
    { name: "start", type: "string", value: "NAME", choices: STARTS, doc: "recursive: what blocks start from (default: average with --rank, else stepwise)" },
    { name: "rank", type: "integer", value: "R", doc: "recursive: rank of each layer's LoRA (default: 0, none)" },
    { name: "html", type: "string", value: "FILE", doc: "directshare: also write a page that shows how like the heads are, complete in one file" },
    { name: "shard-size", type: "size", value: "SIZE", doc: "most bytes of one output file (default: 5GB)" },
    MEMORY,
    THREADS,
    OVERWRITE,
  ],
  async run(args, { output, signal }) {
    const [path = ""] = positionals(args, ["MODEL"]);
    const out = text(args, "output");
    if (out === undefined) throw usage("no output is named", { expected: "-o OUT" });
    const settings = settingsOf(args);
    const html = text(args, "html");
    if (html !== undefined && settings.method !== "directshare") throw usage("--html shows the heads that directshare compares", { found: settings.method });
    checkWritable(html, flag(args, "overwrite"));
    const memory = number(args, "memory");
    const result = await run({
      ...{ model: await openCheckpoint(path, { signal }), out, settings, overwrite: flag(args, "overwrite"), threads: threads(args), signal },
      ...(memory === undefined ? {} : { memoryBytes: memory }),
      shardBytes: number(args, "shard-size"),
      onProgress: (stage, done, total, unit, detail) => output.progress({ stage, done, total, unit, detail }),
    });
    output.diagnostics(result.warnings);
    if (html !== undefined) {
      const { parameters, shared } = result;
      const { pairs, similarity } = shared as Pick<HeadsPage, "pairs" | "similarity">;
      await writePage(headsPage({ model: path, parameters, pairs, similarity }), html, flag(args, "overwrite"));
    }
    output.result(result, `${page(out, result)}${html === undefined ? "" : `\npage: ${html}`}`);
  },
};

function settingsOf(args: Arguments): ShareSettings {
  const method = text(args, "method");
  if (method === "directshare") {
    const given = text(args, "rate");
    const rate = given === undefined ? DEFAULT_RATE : Number(given);
    if (!(rate >= 0 && rate <= 1)) throw usage("option --rate is not a share", { found: given ?? "", expected: "a number from 0 to 1" });
    return { method, rate, match: text(args, "match") ?? "qk", chase: flag(args, "chase") };
  }
  if (method === "masa") {
    const letters = text(args, "projections") ?? "qkvo";
    const projections = PROJECTIONS.filter((letter) => letters.includes(letter));
    if (projections.length === 0 || [...letters].some((letter) => !PROJECTIONS.includes(letter as Projection)))
      throw usage("option --projections names no projections", { found: letters, expected: "some of the letters q, k, v, o" });
    const atoms = number(args, "atoms");
    if (atoms === 0) throw usage("option --atoms must be at least 1", { found: "0" });
    return { method, atoms, projections };
  }
  if (method !== "recursive") throw usage("no method is named", { expected: "--method directshare, masa or recursive" });
  return { method, loops: number(args, "loops") ?? 2, start: text(args, "start") as Start | undefined, rank: number(args, "rank") ?? 0 };
}

function page(out: string, { method, parameters: { before, after } }: ShareReport): string {
  const saved = ((100 * (before - after)) / Math.max(1, before)).toFixed(1);
  return `${method}: ${before} parameters become ${after}, ${saved} % fewer\n${out}, ${out}/${SHARE_FILE}, ${out}/${COMPACT_FILE}`;
}
