// A comparison as text.
import type { Comparison, Explanation, Group, LayerGroup, Measure, Measures } from "../analysis/comparison.ts";
import { activationSection } from "./compare-data.ts";
import { spectraSections } from "./compare-spectra.ts";
import { number, numericTable } from "./numeric-table.ts";

/** Layers shown; --json and --html have all. */
const MOST_LAYERS = 12;

export function comparisonText(comparison: Comparison): string {
  const names = shortNames(comparison.models);
  const { total, base } = comparison;
  const kept = `${number(100 * comparison.density)} %`;
  const sections = [
    `${comparison.models.length} models${base === undefined ? "" : ` against base ${base}`}, ${comparison.tensors.length} tensors, ${total.elements.toLocaleString("en")} elements`,
    names.map((name, i) => `  ${name} = ${comparison.models[i]}`).join("\n"),
    modelTable(total, names),
    pairTable(total, names),
    ...(base === undefined
      ? []
      : [
          `Preview: what a trim to ${kept} per tensor keeps, and what the sign election then drops\n${previewTable(total, names)}`,
          `By role\n${groupTable(comparison.roles)}`,
          `${layersTitle(comparison.layers)}\n${groupTable(byConflict(comparison.layers).slice(0, MOST_LAYERS))}`,
        ]),
    ...spectraSections(comparison, names),
    activationSection(comparison, names),
    comparison.skipped.length === 0 ? "" : `Left out\n${comparison.skipped.map(({ name, reason }) => `  ${name}: ${reason}`).join("\n")}`,
    `What the measures mean\n${explanationText(comparison.explanations)}`,
    NO_PREDICTION,
  ];
  return sections.filter(Boolean).join("\n\n");
}

export const NO_PREDICTION = "None of these says how good a merge will be; only an evaluation does.";

/** A line for each measure, with its paper. */
export const explanationText = (explanations: readonly Explanation[]): string =>
  explanations.map(({ measure, meaning, source }) => `  ${measure}: ${meaning}${source === undefined ? "" : ` [${source.url}]`}`).join("\n");

/** A letter for each model, so that tables stay narrow whatever the paths are. */
export const shortNames = (models: readonly string[]): string[] => models.map((_, i) => `M${i + 1}`);

const layersTitle = (layers: readonly LayerGroup[]): string =>
  layers.length <= MOST_LAYERS ? "Layers by conflict" : `Layers by conflict (the first ${MOST_LAYERS} of ${layers.length})`;

const byConflict = (layers: readonly LayerGroup[]): LayerGroup[] => layers.toSorted((a, b) => (a.conflictRank ?? 0) - (b.conflictRank ?? 0));

function modelTable({ models }: Measures, names: readonly string[]): string {
  const hasChanges = models.some(({ changes }) => changes !== undefined);
  if (!hasChanges)
    return numericTable(
      ["model", "norm"],
      models.map(({ norm }, i) => [names[i] ?? "", number(norm)]),
    );
  return numericTable(
    ["model", "norm", "cos to base", "change norm", "relative", "density", "median", "90 %", "99 %", "largest"],
    models.map(({ norm, cosineToBase, changes }, i) => {
      const { p50 = 0, p90 = 0, p99 = 0, max = 0 } = changes?.quantiles ?? {};
      const change = [changes?.norm ?? null, changes?.relativeNorm ?? null, changes?.density ?? null, p50, p90, p99, max];
      return [names[i] ?? "", number(norm), number(cosineToBase, 6), ...change.map((value) => number(value))];
    }),
  );
}

function pairTable({ pairs }: Measures, names: readonly string[]): string {
  const hasChanges = pairs.some(({ changes }) => changes !== undefined);
  const header = ["pair", "cos weights", "L2", "norm ratio"];
  return numericTable(
    hasChanges ? [...header.slice(0, 3), "cos changes", "norm ratio", "conflict", "support", "top-k overlap", "top-k conflict"] : header,
    pairs.map(({ a, b, cosine, l2, normRatio, changes }) => {
      const weights = [`${names[a]} ${names[b]}`, number(cosine, 6), number(l2)];
      if (changes === undefined) return [...weights, number(normRatio)];
      const { conflict, support, topOverlap, topConflict } = changes;
      return [...weights, ...[changes.cosine, changes.normRatio, conflict, support, topOverlap, topConflict].map((value) => number(value))];
    }),
  );
}

function previewTable({ models }: Measures, names: readonly string[]): string {
  return numericTable(
    ["model", "norm kept", "elements dropped by sign", "energy dropped by sign"],
    models.map(({ changes }, i) => [
      names[i] ?? "",
      ...[changes?.keptNorm, changes?.droppedBySign, changes?.droppedEnergy].map((value) => number(value ?? null)),
    ]),
  );
}

function groupTable(groups: readonly Group[]): string {
  return numericTable(
    ["group", "elements", "conflict", "sign agreement", "mean cos of changes", "mean change"],
    groups.map(({ name, elements, conflict, signAgreement, pairs, models }) => [
      name,
      elements.toLocaleString("en"),
      number(conflict ?? null),
      number(signAgreement ?? null),
      number(mean(pairs.map(({ changes }) => changes?.cosine ?? null))),
      number(mean(models.map(({ changes }) => changes?.relativeNorm ?? null))),
    ]),
  );
}

/** Over the values that exist. */
function mean(values: readonly Measure[]): Measure {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}
