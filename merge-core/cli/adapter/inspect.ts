// weightsmith adapter inspect: what an adapter is, from its config and headers, and whether it fits a base.
import { type AdapterSummary, describeAdapter } from "../../adapters/describe-adapter.ts";
import { modelOpener } from "../../plan/open-model.ts";
import { modelReference } from "../../recipe/model-reference.ts";
import { type DescribedSlices, describeSlices } from "../../slices/describe-slices.ts";
import type { Command } from "../command.ts";
import { DOWNLOAD, openerOptions } from "../load-plan.ts";
import { positionals, text } from "../options.ts";
import { formatBytes, formatTable } from "../output.ts";

export const inspect: Command = {
  name: "adapter inspect",
  summary: "show what an adapter is and does",
  usage: "PATH [--base MODEL]",
  help: `
Reads an adapter's config and the headers of its tensors: family, ranks, targets, parameters, the scale and where it
comes from, the base it was made for. With --base it says whether every tensor has its place in that model. Of an adapter
that was trained in slices it tells which slice trained which layers, and what would be left without it.

  weightsmith adapter inspect ./adapter
  weightsmith adapter inspect ./adapter --base ./model --json`,
  options: [{ name: "base", type: "string", value: "MODEL", doc: "check the adapter against this model" }, DOWNLOAD],
  async run(args, context) {
    const [path = ""] = positionals(args, ["PATH"]);
    const { output, signal } = context;
    const base = text(args, "base");
    const range = { line: 0, column: 0, endLine: 0, endColumn: 0, offset: 0, end: 0 };
    const open = modelOpener(".", openerOptions(args, context));
    const model = base === undefined ? undefined : await open(modelReference({ path: base }, undefined, range));
    const summary = await describeAdapter(path, model, { signal });
    const sliced = await describeSlices(path, summary.modules);
    output.diagnostics([...summary.findings, ...(sliced?.findings ?? [])]);
    if (sliced === undefined) return output.result(summary, page(summary));
    const { findings, ...slices } = sliced;
    output.result({ ...summary, findings: [...summary.findings, ...findings], slices }, `${page(summary)}\n\n${table(sliced)}`);
  },
};

function page(s: AdapterSummary): string {
  const list = (counts: Readonly<Record<string, number>>) => Object.entries(counts).map(([name, count]) => `${name} (${count})`);
  const facts = [
    ["family", `${s.family} (${s.type}), ${s.paper}`],
    ["weight", s.formula],
    [
      "settings",
      Object.entries(s.settings)
        .map(([name, value]) => `${name} ${value}`)
        .join(", "),
    ],
    ["rank", list(s.ranks).join(", ")],
    ["scale", s.scales.map(({ scale, from, modules }) => `${scale} = ${from} (${modules})`).join(", ")],
    ["targets", list(s.targets).join(", ")],
    ["replaces", s.replaced.join(", ")],
    ["parameters", `${s.parameters.toLocaleString("en")} in ${s.tensors} tensors, ${s.dtypes.join(", ")}, ${formatBytes(s.bytes)}`],
    ["made for", `${s.baseModel ?? "not said"}${s.revision === undefined ? "" : ` at ${s.revision}`}`],
    ["fits", s.fits === undefined ? "not checked (--base MODEL)" : `${s.fits.base}: ${s.fits.ok ? "yes" : "no"}`],
  ].filter(([, value]) => value !== "");
  return [`${s.path}: ${s.modules.length} modules`, "", ...facts.map(([name = "", value = ""]) => `  ${name.padEnd(10)}  ${value}`)].join("\n");
}

/** Slices in use in the order in which they were trained on, then the rest. */
function table({ slices, active, parts }: DescribedSlices): string {
  const place = ({ number }: { readonly number: number }) => (active.includes(number) ? active.indexOf(number) : active.length);
  const sorted = [...slices].sort((x, y) => place(x) - place(y));
  const loss = (value: number | undefined) => value?.toFixed(4) ?? "";
  const rows = sorted.map((slice) => [
    `${slice.number} ${slice.name}`,
    slice.layers?.join(", ") ?? (slice.removed === true ? "removed" : "not in use"),
    loss(slice.trainLoss),
    loss(slice.validationLoss),
    slice.removed === true ? "" : slice.without.join(", ") || "nothing",
  ]);
  return `${formatTable(["slice", "layers", "loss", "validation", "left without it"], rows, [2, 3])}\n${parts} parts`;
}
