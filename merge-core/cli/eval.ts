// weightsmith eval MODEL --data F.jsonl...
import type { Evaluation } from "../evaluate/evaluate.ts";
import type { Command } from "./command.ts";
import { list, number, positionals, THREADS, threads } from "./options.ts";
import { formatTable } from "./output.ts";

export const evaluateCommand: Command = {
  name: "eval",
  summary: "measure a model on data",
  usage: "MODEL --data FILE...",
  help: `
Measures a decoder model (a Hugging Face folder) on JSONL data: {"prompt": ..., "completion": ...} gives loss, perplexity
and exact match of the greedy continuation, {"text": ...} gives loss and perplexity. Several files are measured one by one.

  weightsmith eval ./merged --data test.jsonl
  weightsmith eval ./merged --data a.jsonl --data b.jsonl --json`,
  options: [
    { name: "data", type: "list", value: "FILE", doc: "JSONL file; may be given several times" },
    { name: "limit", type: "integer", value: "N", doc: "only the first N examples of each file" },
    { name: "batch-size", type: "integer", value: "N", doc: "sequences computed together (default: 64)" },
    { name: "max-new-tokens", type: "integer", value: "N", doc: "most tokens generated (default: two more than the longest answer)" },
    THREADS,
  ],
  async run(args, { output, signal }) {
    const [path = ""] = positionals(args, ["MODEL"]);
    const files = list(args, "data");
    const optional = { limit: number(args, "limit"), batchSize: number(args, "batch-size"), maxNewTokens: number(args, "max-new-tokens") };
    const given = Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined));
    const { evaluateCheckpoint } = await import("../evaluate/evaluate.ts");
    const results: ({ file: string } & Evaluation)[] = [];
    for (const file of files.length > 0 ? files : [undefined]) {
      const evaluation = await evaluateCheckpoint(path, file === undefined ? [] : [file], {
        ...given,
        threads: threads(args),
        signal,
        onProgress: (p) =>
          output.progress({ stage: `eval ${p.metric}`, done: p.done, total: p.total, unit: "examples", ...(file === undefined ? {} : { detail: file }) }),
      });
      results.push({ file: file ?? "", ...evaluation });
    }
    output.result(results.length === 1 ? { model: path, ...results[0] } : { model: path, results }, page(results));
  },
};

function page(results: readonly ({ file: string } & Evaluation)[]): string {
  const shown = (value: number | undefined, digits: number) => (value === undefined ? "" : value.toFixed(digits));
  const rows = results.map((r) => [r.file, `${r.examples}`, shown(r.loss, 4), shown(r.perplexity, 3), shown(r.exactMatch, 3)]);
  return formatTable(["data", "examples", "loss", "perplexity", "exact match"], rows, [1, 2, 3, 4]);
}
