// The pages that `weightsmith align --html` and `weightsmith share --html` write, by what is embedded.
import type { AlignPage, HeadsPage } from "../../merge-core/cli/weights-page.ts";
import { drawCurves } from "../charts/curves.ts";
import { drawHeatmap, type Heatmap } from "../charts/heatmap.ts";
import { chartFigure } from "../common/chart-figure.ts";
import charts from "../common/charts.css";
import { adoptStyles, element } from "../common/dom.ts";
import style from "../common/report.css";
import { dataTable, type Table } from "../common/table.ts";
import { heatmapTable } from "../comparison/view.ts";
import { groupsTable, headsHeatmap, headsTable, layersHeatmap, lossCurves, lossTable } from "./view.ts";

function section(title: string, text: string, ...content: Node[]): HTMLElement {
  return element("section", {}, element("h2", {}, title), element("p", { class: "soft" }, text), ...content);
}

function mapFigure(name: string, map: Heatmap, table: () => Table, data: unknown): HTMLElement {
  const draw = (width: number) => drawHeatmap(map, { width });
  return chartFigure({ name, caption: map.label, widest: 760, draw, table, data: () => data, cursor: { marks: ".cell", label: map.label } }).element;
}

const shown = (value: number): string => String(Number(value.toPrecision(4)));

function alignSections(data: AlignPage): HTMLElement[] {
  const { line, groups, distance, singular } = data;
  const sections = [
    section(
      "What moved?",
      `The distance from A was ${shown(distance.before)} and is ${shown(distance.after)}. A product is the sum of what the weights of both have in common along an axis.`,
      dataTable(`${groups.length} groups of axes that move together`, groupsTable(data)),
    ),
  ];
  if (singular !== undefined) {
    const rows = singular.total.map((t) => [`${t.gamma} of the largest`, shown(t.before), shown(t.after)]);
    const table = dataTable("Alignment", { header: ["singular vectors above", "before", "after"], rows });
    sections.push(section("Do singular vectors line up?", "1 where both models have the same ones, 0 where they have nothing in common.", table));
  }
  return line === undefined ? sections : [lineSection(line), ...sections];
}

function lineSection(line: NonNullable<AlignPage["line"]>): HTMLElement {
  const curves = lossCurves(line);
  const figure = chartFigure({
    name: "loss-line",
    caption: curves.label,
    widest: 640,
    draw: (width) => drawCurves(curves, { width }),
    table: () => lossTable(line),
    data: () => line,
    cursor: { marks: ".curve-group", label: curves.label },
  });
  const text = `The barrier is the most that the loss rises above the line between its ends: ${shown(line.before.barrier)} as B was, ${shown(line.after.barrier)} aligned.`;
  return section("Is there a barrier between them?", text, figure.element);
}

function headSections(data: HeadsPage): HTMLElement[] {
  const { before, after } = data.parameters;
  const [heads, layers] = [headsHeatmap(data), layersHeatmap(data)];
  const saved = `${data.pairs.length} heads take another's weights, ${before.toLocaleString("en")} parameters become ${after.toLocaleString("en")}.`;
  return [
    section(
      "Which heads are alike?",
      `Marked heads take the weights of the one that they are most like. ${saved} With grouped queries a head is a key-value head with its queries.`,
      mapFigure("heads", heads, () => headsTable(data), data.similarity.best),
    ),
    section(
      "Which layers are alike?",
      "For a layer and an earlier one, how like its heads are to the best of that one.",
      mapFigure("layers", layers, () => heatmapTable(layers), data.similarity.layers),
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
