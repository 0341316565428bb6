// weightsmith inspect PATH: what is in a checkpoint, from its headers alone.
import { type CheckpointSummary, describeCheckpoint, type Tally } from "../checkpoints/describe.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import type { Command } from "./command.ts";
import { flag, positionals } from "./options.ts";
import { formatBytes, formatTable } from "./output.ts";

export const inspect: Command = {
  name: "inspect",
  summary: "show what is in a checkpoint",
  usage: "PATH",
  help: `
Reads the headers of a model folder, a .safetensors file or an index.json, and no tensor data: sizes, dtypes, roles,
config facts. Fast for any size. A damaged or hostile file ends with a diagnostic.

  weightsmith inspect ./model
  weightsmith inspect ./model --tensors
  weightsmith inspect model.safetensors --json`,
  options: [{ name: "tensors", type: "flag", doc: "list every tensor (always in --json)" }],
  async run(args, { output, signal }) {
    const [path = ""] = positionals(args, ["PATH"]);
    const summary = describeCheckpoint(await openCheckpoint(path, { signal }));
    output.result(summary, page(summary, flag(args, "tensors")));
  },
};

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
