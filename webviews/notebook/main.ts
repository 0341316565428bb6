// The page that `weightsmith run` writes: the notebook's text, and under each cell what it gave.
import type { NotebookReport, ReportCell } from "../../merge-core/notebook/report.ts";
import { adoptStyles, element } from "../common/dom.ts";
import { markdown } from "./markdown.ts";
import { outputElement } from "./output.ts";
import { shadowed } from "./shadow.ts";
import { STYLES } from "./styles.ts";

function cell({ kind, name, body, output }: ReportCell): HTMLElement {
  const source = element("details", { class: "cell-source" }, element("summary", {}, `${kind} ${name}`), element("pre", {}, body.replace(/\r?\n$/, "")));
  const shown = output === undefined ? element("p", { class: "not-run" }, "Not run.") : shadowed(STYLES, outputElement(output));
  return element("section", { "aria-label": `${kind} ${name}` }, source, shown);
}

adoptStyles(...STYLES);
const report = JSON.parse(document.getElementById("results")?.textContent ?? "") as NotebookReport;
const blocks = report.blocks.flatMap((block) => (block.kind === "markdown" ? markdown(block.source) : [cell(block)]));
document.body.replaceChildren(
  element("article", { "data-testid": "notebook" }, ...blocks),
  element(
    "footer",
    {},
    element("p", { class: "soft" }, `${report.name}, weightsmith ${report.weightsmith}. Every number was measured in the run that wrote this page.`),
  ),
);
