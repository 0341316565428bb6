// The trade-off page: in the editor fed by the host, in the file that `weightsmith pareto` writes by what is embedded.
import type { FrontFile } from "../../merge-core/pareto/front-file.ts";
import charts from "../common/charts.css";
import { adoptStyles, element } from "../common/dom.ts";
import { loading, useEditor } from "../common/editor-page.ts";
import { connect } from "../common/host.ts";
import { showProblem } from "../common/problem.ts";
import style from "../common/report.css";
import type { ParetoMethods, ParetoState } from "../protocol.ts";
import type { ParetoChoice } from "./model.ts";
import { ParetoPage } from "./page.ts";
import extra from "./pareto.css";
import type { ParetoTools } from "./point-panel.ts";

adoptStyles(style, charts, extra);

function summary({ points }: FrontFile): string {
  const measured = points.filter(({ evaluated }) => evaluated).length;
  const onFront = points.filter((point) => point.onFront).length;
  const [all, some, few] = [points.length, measured, onFront].map((count) => count.toLocaleString("en"));
  return `${all} ${points.length === 1 ? "point" : "points"}, ${some} of them measured, ${few} on the front.`;
}

/** The file that `weightsmith pareto` writes beside its result: to look at, with nothing to merge or measure by. */
function showReport(file: FrontFile): void {
  const report = new ParetoPage(file, undefined, () => undefined);
  document.body.replaceChildren(
    element("header", {}, element("h1", {}, "Trade-offs"), element("p", {}, summary(file))),
    report.element,
    element("footer", {}, element("p", { class: "soft" }, `weightsmith ${file.weightsmith}`)),
  );
}

function showInEditor(): void {
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
    headline.textContent = `${summary(file)}${running ? " The search goes on." : ""}`;
    if (page !== undefined) {
      page.show(file);
      return;
    }
    page = new ParetoPage(file, host.saved.get() as Partial<ParetoChoice> | undefined, (choice) => host.saved.set(choice), tools);
    document.body.replaceChildren(element("header", {}, element("h1", {}, `Trade-offs: ${name}`), headline), page.element);
  });
  const tools: ParetoTools = {
    recipeAt: (coefficients) => host.request("recipeAt", coefficients),
    writeMerge: (coefficients) => host.request("writeMerge", coefficients),
    evaluate: (coefficients) => host.request("evaluate", coefficients),
  };
  useEditor(host);
}

const embedded = document.getElementById("results");
if (embedded === null) showInEditor();
else showReport(JSON.parse(embedded.textContent ?? "") as FrontFile);
