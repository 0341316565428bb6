// Words about a search and its points, and what the marks of the scatter stand for.
import type { FrontFile } from "../../merge-core/pareto/front-file.ts";
import { type ScatterKind, scatterMark } from "../charts/scatter.ts";
import { figure } from "../charts/svg.ts";
import { element } from "../common/dom.ts";
import { svgElement } from "../common/svg.ts";
import type { Setting } from "./model.ts";

const LEGEND: readonly (readonly [ScatterKind, string])[] = [
  ["front", "on the front"],
  ["measured", "measured, dominated"],
  ["predicted", "predicted only"],
  ["baseline", "baseline"],
  ["knee", "knee"],
  ["preferred", "predicted at the preference"],
];

/** What the marks of the scatter stand for. */
export function legend(): HTMLElement {
  const swatch = (kind: ScatterKind) =>
    svgElement(
      "svg",
      { viewBox: "-11 -11 22 22", width: 20, height: 20, "aria-hidden": "true", class: "swatch" },
      svgElement("path", { class: `dot ${kind}`, d: scatterMark(kind) }),
    );
  return element("ul", { class: "legend" }, ...LEGEND.map(([kind, name]) => element("li", {}, swatch(kind), name)));
}

/** What the surrogates say of a setting, with the error that they have on the front. */
export function settingText(file: FrontFile, { coefficients, predicted }: Setting): string {
  const at = coefficients.map((c, i) => `${file.coefficients[i]?.name} ${figure(c)}`).join(", ");
  const values = predicted.map(
    (value, i) => `${file.objectives[i]?.name} ${figure(value)} ± ${figure(file.surrogates[i]?.frontError ?? file.surrogates[i]?.fitError ?? Number.NaN)}`,
  );
  return `${values.join(", ")} at ${at}`;
}

/** Where the objectives come from, and in facts how the search went. */
export function searchNotes({ method, seed, hypervolume, reference, knee, surrogates, points, objectives }: FrontFile): { sources: string; facts: string[] } {
  const errors = surrogates.map(
    ({ objective, fitError, frontError }) => `${objective} ${figure(fitError)}${frontError === null ? "" : `, on the front ${figure(frontError)}`}`,
  );
  const failed = points.filter(({ status }) => status === "failed");
  const worst = objectives.map(({ name }, i) => `${name} ${figure(reference[i] ?? Number.NaN)}`).join(", ");
  const facts = [
    `Method ${method}, seed ${seed}.`,
    `Hypervolume ${figure(hypervolume)}: the size of what the front dominates, up to ${worst}.`,
    knee === null ? "No knee." : `Knee: ${knee}, the point that bulges furthest from the plane through the front's ends.`,
    ...(errors.length === 0 ? ["No surrogates: nothing is predicted."] : [`Error of the predictions on what they were fitted to: ${errors.join("; ")}.`]),
    ...(failed.length === 0
      ? []
      : [
          `${failed.length} ${failed.length === 1 ? "trial" : "trials"} failed: ${failed.map(({ id, error }) => `${id} (${error ?? "no reason given"})`).join("; ")}.`,
        ]),
  ];
  const sources = objectives.map(({ name, metric, source }) => `${name} is ${metric}${source === undefined ? "" : ` of ${source}`}`);
  return { sources: `${sources.join("; ")}.`, facts };
}
