// weightsmith inspect PATH: what is in a checkpoint, from its headers alone.
import { measureTensor, type TensorStatistics } from "../analysis/tensor-statistics.ts";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { type CheckpointSummary, describeCheckpoint, type Tally } from "../checkpoints/describe.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { inputError, nearestName } from "../diagnostics.ts";
import type { Command } from "./command.ts";
import { flag, positionals, text } from "./options.ts";
import { formatBytes, formatTable } from "./output.ts";

export const inspect: Command = {
  name: "inspect",
  summary: "show what is in a checkpoint",
  usage: "PATH",
  help: `
Reads the headers of a model folder, a .safetensors file or an index.json, and no tensor data: sizes, dtypes, roles,
config facts. Fast for any size. A damaged or hostile file ends with a diagnostic. With --tensor it reads that tensor's
data too: extremes, mean, deviation, special values and a histogram.

  weightsmith inspect ./model
  weightsmith inspect ./model --tensors
  weightsmith inspect ./model --tensor lm_head.weight
  weightsmith inspect model.safetensors --json`,
  options: [
    { name: "tensors", type: "flag", doc: "list every tensor (always in --json)" },
    { name: "tensor", type: "string", value: "NAME", doc: "measure the values of this tensor" },
  ],
  async run(args, { output, signal }) {
    const [path = ""] = positionals(args, ["PATH"]);
    const checkpoint = await openCheckpoint(path, { signal });
    const name = text(args, "tensor");
    if (name !== undefined) {
      const onProgress = (done: number, total: number) => output.progress({ stage: "measure", done, total, unit: "bytes", detail: name });
      const statistics = await measureTensor(findTensor(checkpoint, name), { signal, onProgress });
      output.result(statistics, statisticsText(statistics));
      return;
    }
    const summary = describeCheckpoint(checkpoint);
    output.result(summary, page(summary, flag(args, "tensors")));
  },
};

function findTensor({ tensors, path }: Checkpoint, name: string) {
  const entry = tensors.get(name);
  if (entry !== undefined) return entry;
  const near = nearestName(name, tensors.keys());
  throw inputError("tensor-missing", "the model has no tensor of this name", {
    file: path,
    found: name,
    remedy: near === undefined ? "see weightsmith inspect --tensors" : `did you mean ${near}?`,
  });
}

function statisticsText({ name, dtype, shape, count, zeros, nan, infinite, finite }: TensorStatistics): string {
  const facts = Object.entries({ elements: count, ...finite, zeros, nan, infinite }).map(([key, value]) => [key, String(value)]);
  return `${name}: ${dtype} [${shape.join(", ")}]\n\n${formatTable(["", "value"], facts, [1])}`;
}

function page(s: CheckpointSummary, everyTensor: boolean): string {
  const facts = Object.entries(s.config ?? {}).map(([key, value]) => `  ${key}: ${JSON.stringify(value)}`);
  const sections = [
    `${s.path}: ${s.tensors.length} tensors, ${s.parameters.toLocaleString("en")} parameters, ${formatBytes(s.bytes)} in ${s.shards.length} file${s.shards.length === 1 ? "" : "s"}, ${s.layers} layers`,
    tallies("dtype", s.byDtype),
    tallies("role", s.byRole),
    facts.length === 0 ? "" : `config.json\n${facts.join("\n")}`,
    s.packed.length === 0 ? "" : `packed tensors: ${s.packed.join(", ")} (cannot be merged)`,
    s.sideFiles.length === 0 ? "" : `other files: ${s.sideFiles.join(", ")}`,
    everyTensor
      ? formatTable(
          ["tensor", "dtype", "shape", "bytes", "role"],
          s.tensors.map((t) => [t.name, t.dtype, t.shape.join(" x "), formatBytes(t.bytes), t.role]),
          [3],
        )
      : "",
  ];
  return sections.filter(Boolean).join("\n\n");
}

function tallies(what: string, groups: Readonly<Record<string, Tally>>): string {
  const rows = Object.entries(groups).map(([name, t]) => [name, `${t.tensors}`, t.parameters.toLocaleString("en"), formatBytes(t.bytes)]);
  return formatTable([what, "tensors", "parameters", "bytes"], rows, [1, 2, 3]);
}
