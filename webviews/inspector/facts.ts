// What stands above the table: totals, sizes by role, config, metadata, files.
import type { CheckpointSummary, Tally } from "../../merge-core/checkpoints/describe.ts";
import { formatBytes, formatCount } from "../../merge-core/units.ts";
import { element, textTable } from "../common/dom.ts";
import type { InspectorState } from "../protocol.ts";
import { drawTreemap } from "./treemap.ts";

export type ReadableCheckpoint = Extract<InspectorState, { kind: "checkpoint" }>;

/** Title, totals and what can be unfolded below them. */
export function checkpointFacts({ summary, adapter }: ReadableCheckpoint): HTMLElement[] {
  const { path, parameters, bytes, tensors, shards, layers, byRole, byDtype } = summary;
  const totals = [
    `${formatCount(parameters)} parameters`,
    formatBytes(bytes),
    Object.keys(byDtype).join(", "),
    `${tensors.length} tensors`,
    ...(layers > 0 ? [`${layers} layers`] : []),
    `${shards.length} ${shards.length === 1 ? "file" : "files"}`,
  ];
  return [
    element("h1", {}, path.split(/[\\/]/).slice(-2).join("/")),
    element("ul", { class: "totals" }, ...totals.filter(Boolean).map((text) => element("li", {}, text))),
    ...packedNote(summary),
    fold("Size by role", element("div", { class: "side-by-side" }, roleMap(byRole), tallyTable("Role", byRole)), true),
    fold("Types", tallyTable("Type", byDtype)),
    ...configFold("Adapter", "adapter_config.json", adapter),
    ...configFold("Config", "config.json", summary.config),
    ...metadataFold(summary),
    fold("Files", filesTable(summary)),
  ];
}

function packedNote({ packed }: CheckpointSummary): HTMLElement[] {
  return packed.length === 0 ? [] : [element("p", { class: "note" }, `Packed tensors (${packed.join(", ")}): they can be shown, but not merged.`)];
}

function fold(title: string, content: Node, open = false): HTMLElement {
  return element("details", open ? { open: "" } : {}, element("summary", {}, title), content);
}

function roleMap(byRole: CheckpointSummary["byRole"]): HTMLElement {
  const holder = element("div", {});
  holder.append(
    drawTreemap(
      Object.entries(byRole).map(([name, { bytes }]) => ({ name, bytes })),
      360,
      120,
    ),
  );
  return holder;
}

function tallyTable(what: string, groups: Readonly<Record<string, Tally>>): HTMLElement {
  const rows = Object.entries(groups).map(([name, t]) => [name, String(t.tensors), formatCount(t.parameters), formatBytes(t.bytes)]);
  return textTable(`${what} totals`, [what, "Tensors", "Parameters", "Size"], rows, [1, 2, 3]);
}

function configFold(title: string, file: string, config: Readonly<Record<string, unknown>> | undefined): HTMLElement[] {
  if (config === undefined) return [];
  const rows = Object.entries(config).map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]);
  return [fold(title, textTable(file, ["Key", "Value"], rows))];
}

/** Metadata of all files; what several files share is said once. */
function metadataFold({ shards }: CheckpointSummary): HTMLElement[] {
  const rows = new Map<string, string[]>();
  for (const { metadata } of shards) for (const [key, value] of Object.entries(metadata)) rows.set(`${key}\0${value}`, [key, value]);
  return rows.size === 0 ? [] : [fold("Metadata", textTable("Header metadata", ["Key", "Value"], [...rows.values()]))];
}

function filesTable({ shards, sideFiles }: CheckpointSummary): HTMLElement {
  const fileName = (path: string) => path.split(/[\\/]/).at(-1) ?? path;
  return textTable("Files", ["File", "Size"], [...shards.map((s) => [fileName(s.file), formatBytes(s.bytes)]), ...sideFiles.map((name) => [name, ""])], [1]);
}
