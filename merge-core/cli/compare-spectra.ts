// The part of a comparison's text that --spectra adds.
import type { Comparison, Group, Measures } from "../analysis/comparison.ts";
import { number, numericTable } from "./numeric-table.ts";

/** Layers shown; --json and --html have all, and every matrix. */
const MOST_LAYERS = 12;

export function spectraSections(comparison: Comparison, names: readonly string[]): string[] {
  const { spectra, total, roles, layers } = comparison;
  if (spectra === undefined) return [];
  const title = `means over ${spectra.length} matrices`;
  const pairs = comparison.base === undefined || total.pairs.length === 0;
  return [
    `Ranks: ${title}\n${rankTable(total, names)}`,
    ...(pairs
      ? []
      : [
          `Subspaces of the changes: ${title}\n${subspaceTable([{ ...total, name: "" }], names)}`,
          `Subspaces by role\n${subspaceTable(roles, names)}`,
          `Subspaces by layer${layers.length > MOST_LAYERS ? ` (the first ${MOST_LAYERS} of ${layers.length})` : ""}\n${subspaceTable(layers.slice(0, MOST_LAYERS), names)}`,
        ]),
    leftOut(comparison),
  ];
}

function rankTable({ models }: Measures, names: readonly string[]): string {
  const hasChanges = models.some(({ changes }) => changes !== undefined);
  return numericTable(
    ["model", "effective rank", "stable rank", ...(hasChanges ? ["effective rank of change", "stable rank of change"] : [])],
    models.map(({ effectiveRank, stableRank, changes }, i) => [
      names[i] ?? "",
      number(effectiveRank),
      number(stableRank),
      ...(hasChanges ? [number(changes?.effectiveRank), number(changes?.stableRank)] : []),
    ]),
  );
}

/** A row for each pair in each group that holds matrices. */
function subspaceTable(groups: readonly Group[], names: readonly string[]): string {
  const rows = groups.flatMap(({ name, pairs }) =>
    pairs.flatMap(({ a, b, changes }) => {
      if (changes?.subspace === undefined) return [];
      const { subspace, subspaceReverse, angle, directionOverlap } = changes;
      return [[[name, names[a], names[b]].filter(Boolean).join(" "), ...[subspace, subspaceReverse, angle, directionOverlap].map((value) => number(value))]];
    }),
  );
  return numericTable(["pair", "first in second", "second in first", "mean angle", "direction overlap"], rows);
}

/** Tensors by why they have no spectra. */
function leftOut({ spectraSkipped = [] }: Comparison): string {
  const reasons = [...new Set(spectraSkipped.map(({ reason }) => reason))];
  const line = (reason: string) => {
    const found = spectraSkipped.filter((item) => item.reason === reason);
    return `  ${found.length === 1 ? found[0]?.name : `${found[0]?.name} and ${found.length - 1} more`}: ${reason}`;
  };
  return reasons.length === 0 ? "" : `Without spectra\n${reasons.map(line).join("\n")}`;
}
