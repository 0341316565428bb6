// The pages that `weightsmith align --html` and `weightsmith share --html` write, by what is embedded.
import type { AlignPage, HeadsPage } from "../../merge-core/cli/weights-page.ts";
import { drawCurves } from "../charts/curves.ts";
import type { Heatmap } from "../charts/heatmap.ts";
import { figure } from "../charts/svg.ts";
import { chartFigure } from "../common/chart-figure.ts";
import charts from "../common/charts.css";
import { adoptStyles, element, section } from "../common/dom.ts";
import { heatmapFigure } from "../common/heatmap-figure.ts";
import style from "../common/report.css";
import { dataTable, type Table } from "../common/table.ts";
import { groupsTable, headsHeatmap, headsTable, layersHeatmap, lossCurves, lossTable } from "./view.ts";

function mapFigure(name: string, map: Heatmap, data: unknown, table?: () => Table): HTMLElement {
  return heatmapFigure({ name, caption: map.label, widest: 760, map: () => map, data: () => data, ...(table && { table }) }).element;
}

function alignSections(data: AlignPage): HTMLElement[] {
  const { line, groups, distance, singular } = data;
  const sections = [
    section(
      "What moved?",
      `The distance from A was ${figure(distance.before)} and is ${figure(distance.after)}. A product is the sum of what the weights of both have in common along an axis.`,
      dataTable(`${groups.length} groups of axes that move together`, groupsTable(data)),
    ),
  ];
  if (singular !== undefined) {
    const rows = singular.total.map((t) => [`${t.gamma} of the largest`, figure(t.before), figure(t.after)]);
    const table = dataTable("Alignment", { header: ["singular vectors above", "before", "after"], rows });
    sections.push(section("Do singular vectors line up?", "1 where both models have the same ones, 0 where they have nothing in common.", table));
  }
  return line === undefined ? sections : [lineSection(line), ...sections];
}

function lineSection(line: NonNullable<AlignPage["line"]>): HTMLElement {
  const curves = lossCurves(line);
  const chart = chartFigure({
    name: "loss-line",
    caption: curves.label,
    widest: 640,
    draw: (width) => drawCurves(curves, { width }),
    table: () => lossTable(line),
    data: () => line,
    cursor: { marks: ".curve-group", label: curves.label },
  });
  const text = `The barrier is the most that the loss rises above the line between its ends: ${figure(line.before.barrier)} as B was, ${figure(line.after.barrier)} aligned.`;
  return section("Is there a barrier between them?", text, chart.element);
}

function headSections(data: HeadsPage): HTMLElement[] {
  const { before, after } = data.parameters;
  const [heads, layers] = [headsHeatmap(data), layersHeatmap(data)];
  const saved = `${data.pairs.length} heads take another's weights, ${before.toLocaleString("en")} parameters become ${after.toLocaleString("en")}.`;
  return [
    section(
      "Which heads are alike?",
      `Marked heads take the weights of the one that they are most like. ${saved} With grouped queries a head is a key-value head with its queries.`,
      mapFigure("heads", heads, data.similarity.best, () => headsTable(data)),
    ),
    section(
      "Which layers are alike?",
      "For a layer and an earlier one, how like its heads are to the best of that one.",
      mapFigure("layers", layers, data.similarity.layers),
    ),
  ];
}

adoptStyles(style, charts);
const results = JSON.parse(document.getElementById("results")?.textContent ?? "") as AlignPage | HeadsPage;
const [title, text, sections] =
  results.kind === "align"
    ? ["Aligning two models", `${results.b} in the order in which it lies nearest to ${results.a}.`, alignSections(results)]
    : ["Heads that are alike", `Attention heads of ${results.model}.`, headSections(results)];
document.body.replaceChildren(
  element("header", {}, element("h1", {}, title), element("p", {}, text)),
  element("main", { "data-testid": "weights" }, ...sections),
  element("footer", {}, element("p", { class: "soft" }, `weightsmith ${results.weightsmith}`)),
);
