// The page that `weightsmith demo` writes: the results are embedded as JSON; everything shown is drawn from them here.
import { type DemoResults, resultsTable } from "../../merge-core/evaluate/demo-results.ts";
import { chartFigure } from "../common/chart-figure.ts";
import charts from "../common/charts.css";
import { adoptStyles, element, section, textTable } from "../common/dom.ts";
import { heatmapFigure } from "../common/heatmap-figure.ts";
import style from "../common/report.css";
import type { Table } from "../common/table.ts";
import { legend } from "./legend.ts";
import { drawWeights, headline, resultsHeatmap, weightsTable } from "./view.ts";

const results = JSON.parse(document.getElementById("results")?.textContent ?? "") as DemoResults;

function taskSection(): HTMLElement {
  const figure = heatmapFigure({
    name: "results",
    caption: "Exact match, in percent",
    widest: 760,
    label: "Models by tasks",
    map: () => resultsHeatmap(results),
    table: () => tableOf(resultsTable(results)),
    data: () => results.models,
  });
  return section(
    "What does each merge keep of each task?",
    `Exact match in percent on held-out test questions (${exampleCounts()}), answered greedily. “Of experts” is the mean of each task's score divided by its expert's.`,
    figure.element,
  );
}

const tableOf = ({ header, rows }: { readonly header: readonly string[]; readonly rows: readonly (readonly string[])[] }): Table => ({
  header: [...header],
  rows: rows.map((row) => [...row]),
});

function exampleCounts(): string {
  const counts = results.tasks.map((task) => results.examples[task] ?? 0);
  return new Set(counts).size === 1 ? `${counts[0]} per task` : results.tasks.map((task, i) => `${task} ${counts[i]}`).join(", ");
}

function weightSection(): HTMLElement {
  const { tradeOff } = results;
  const [first, second] = tradeOff.tasks;
  const { header, rows } = weightsTable(results);
  const figure = chartFigure({
    name: "trade-off",
    caption: "The merges of the two",
    widest: 560,
    draw: (width) => drawWeights(results, { width }),
    table: () => ({ header, rows }),
    data: () => tradeOff,
  });
  figure.element.querySelector(".holder")?.after(legend());
  return section(
    `What does ${second} cost ${first}?`,
    `Each dot is a ${tradeOff.method} merge of the two experts, made and measured; its label is the weight of ${second}, ${first} having the rest. Up and to the right is better.`,
    element(
      "div",
      { class: "beside" },
      figure.element,
      element("div", { class: "scroll" }, textTable("The same as a table, in percent", header, rows, [0, 1, 2])),
    ),
  );
}

function recipeSection(): HTMLElement {
  const recipes = Object.entries(results.recipes).map(([name, text]) => element("details", {}, element("summary", {}, name), element("pre", {}, text)));
  return section(
    "How was each merge made?",
    "Recipes as weightsmith merge and mergekit read them; paths are relative to the folder of recipes among the sample models.",
    ...recipes,
  );
}

adoptStyles(style, charts);
document.body.replaceChildren(
  element("header", {}, element("h1", {}, "Merging four experts"), element("p", {}, headline(results))),
  element("main", {}, taskSection(), weightSection(), recipeSection()),
  element("footer", {}, element("p", { class: "soft" }, `weightsmith ${results.weightsmith}. Every number here was measured in the run that wrote this page.`)),
);
