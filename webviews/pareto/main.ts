// The trade-off page in the editor.
import charts from "../common/charts.css";
import { adoptStyles, element } from "../common/dom.ts";
import { loading, useEditor } from "../common/editor-page.ts";
import { connect } from "../common/host.ts";
import { showProblem } from "../common/problem.ts";
import style from "../common/report.css";
import type { ParetoMethods, ParetoState } from "../protocol.ts";
import type { ParetoChoice } from "./model.ts";
import { ParetoPage, type ParetoTools } from "./page.ts";
import extra from "./pareto.css";

adoptStyles(style, charts, extra);
const headline = element("p", { role: "status" });
let page: ParetoPage | undefined;
document.body.replaceChildren(loading("Reading the result of the search."));

const host = connect<ParetoState, ParetoMethods>((state) => {
  if (state.kind === "problem") {
    page = undefined;
    const reload = () => void host.request("reload", undefined);
    document.body.replaceChildren(showProblem("This is no result of a search for trade-offs", state.path, state.diagnostics, reload, "pareto-problem"));
    return;
  }
  const { file, name, running } = state;
  const measured = file.points.filter(({ evaluated }) => evaluated).length;
  headline.textContent = `${file.points.length} ${file.points.length === 1 ? "point" : "points"}, ${measured} of them measured, ${file.points.filter(({ onFront }) => onFront).length} on the front.${running ? " The search goes on." : ""}`;
  if (page !== undefined) {
    page.show(file);
    return;
  }
  page = new ParetoPage(file, host.saved.get() as Partial<ParetoChoice> | undefined, (choice) => host.saved.set(choice), tools());
  document.body.replaceChildren(element("header", {}, element("h1", {}, `Trade-offs: ${name}`), headline), page.element);
});
useEditor(host);

const tools = (): ParetoTools => ({
  recipeAt: (coefficients) => host.request("recipeAt", coefficients),
  writeMerge: (coefficients) => host.request("writeMerge", coefficients),
  evaluate: (coefficients) => host.request("evaluate", coefficients),
});
