// The page that `weightsmith compare --html` writes: the comparison is embedded as JSON; everything shown is drawn from it here.
import type { Comparison } from "../../merge-core/analysis/comparison.ts";
import { drawBars } from "../charts/bars.ts";
import { drawDendrogram } from "../charts/dendrogram.ts";
import { drawHeatmap, type Heatmap } from "../charts/heatmap.ts";
import { adoptStyles, element, textTable } from "../common/dom.ts";
import style from "../common/report.css";
import { responsive } from "../common/responsive.ts";
import extra from "./comparison.css";
import { heatmapTable, layerHeatmap, modelMatrix, modelsTable, modelTree, pairsTable, pairViews, roleBars, type Table } from "./view.ts";

const comparison = JSON.parse(document.getElementById("results")?.textContent ?? "") as Comparison;
const hasBase = comparison.base !== undefined;

function section(title: string, text: string, ...content: Node[]): HTMLElement {
  return element("section", {}, element("h2", {}, title), element("p", { class: "soft" }, text), ...content);
}

const figure = (...content: Node[]): HTMLElement => element("figure", {}, ...content);

function dataTable(caption: string, { header, rows }: Table): HTMLElement {
  const numeric = header.map((_, i) => i).slice(1);
  return element("div", { class: "scroll" }, textTable(caption, header, rows, numeric));
}

const folded = (table: HTMLElement): HTMLElement => element("details", {}, element("summary", {}, "Table"), table);

function modelSection(): HTMLElement {
  const map = modelMatrix(comparison);
  const tree = modelTree(comparison);
  const what = hasBase ? "changes from the base" : "weights";
  return section(
    "Which models are alike?",
    `Cosine of the models' ${what}: 1 is the same direction, 0 unrelated, negative opposed. Colour is its size.${hasBase ? " Changes of different tasks are often nearly unrelated." : " Models of one origin all have weights near 1."}`,
    figure(responsive((width) => drawHeatmap(map, { width }), 640)),
    ...(tree === undefined ? [] : [figure(responsive((width) => drawDendrogram(tree, { width }), 640))]),
    folded(dataTable("Cosines", heatmapTable(map))),
    dataTable("Pairs", pairsTable(comparison)),
  );
}

function layerSection(): HTMLElement {
  const views = pairViews(comparison);
  const place = element("div");
  const choice = element("select", { id: "pair" }, ...views.map(({ name }, i) => element("option", { value: i }, name)));
  const show = () => {
    const map: Heatmap | undefined = views[Number(choice.value)] && layerHeatmap(comparison, views[Number(choice.value)] as (typeof views)[number]);
    if (map === undefined) return;
    place.replaceChildren(figure(responsive((width) => drawHeatmap(map, { width }), 760)), folded(dataTable(map.label, heatmapTable(map))));
  };
  choice.addEventListener("change", show);
  show();
  const text = hasBase
    ? "Of the elements that both models changed, the percentage changed in opposite directions, by layer and role. Unrelated changes have about 50. Colour runs from the lowest to the highest number."
    : "Cosine of the weights, by layer and role. Colour runs from the lowest to the highest number.";
  return section(
    hasBase ? "Where do they conflict?" : "Where do they differ?",
    text,
    element("p", {}, element("label", { for: "pair" }, "Pair "), choice),
    place,
  );
}

function roleSection(): HTMLElement {
  const bars = roleBars(comparison);
  const rows = bars.bars.map(({ name, value }) => [name, Number.isNaN(value) ? "–" : (100 * value).toFixed(1)]);
  return section(
    "Which parts conflict most?",
    "The same over all layers and pairs, in percent.",
    figure(responsive((width) => drawBars(bars, { width }), 640)),
    folded(dataTable("Conflict by role, in percent", { header: ["role", "conflict"], rows })),
  );
}

function changeSection(): HTMLElement {
  const kept = `${Number((100 * comparison.density).toPrecision(4))} %`;
  const text = hasBase
    ? `Size and spread of each change; “norm kept” and “dropped by sign” are what a trim to ${kept} of each tensor keeps, and what the sign election would then drop.`
    : "Length of the weights.";
  return section("How large are the changes?", text, dataTable("Models", modelsTable(comparison)));
}

function notes(): HTMLElement {
  const list = comparison.explanations.map(({ measure, meaning, source }) =>
    element("li", {}, element("b", {}, measure), `: ${meaning} `, ...(source === undefined ? [] : [element("a", { href: source.url }, source.title)])),
  );
  const skipped = comparison.skipped.map(({ name, reason }) => element("li", {}, `${name}: ${reason}`));
  return section(
    "What do the measures mean?",
    "None of them says how good a merge will be; only an evaluation does.",
    element("ul", {}, ...list),
    ...(skipped.length === 0 ? [] : [element("h3", {}, "Tensors left out"), element("ul", {}, ...skipped)]),
  );
}

const { total, tensors, models, base } = comparison;
const headline = `${models.length} models${base === undefined ? "" : ` against ${base}`}: ${tensors.length} tensors, ${total.elements.toLocaleString("en")} elements${total.conflict == null ? "" : `, ${(100 * total.conflict).toFixed(1)} % sign conflict`}.`;
adoptStyles(style, extra);
document.body.replaceChildren(
  element("header", {}, element("h1", {}, "Comparing models"), element("p", {}, headline)),
  element("main", {}, modelSection(), layerSection(), ...(hasBase ? [roleSection()] : []), changeSection(), notes()),
  element("footer", {}, element("p", { class: "soft" }, `weightsmith ${comparison.weightsmith}`)),
);
