// The similarity page: in the editor fed by the host, in the file that `weightsmith compare --html` writes by what is embedded.
import type { Comparison } from "../../merge-core/analysis/comparison.ts";
import charts from "../common/charts.css";
import { adoptStyles, element } from "../common/dom.ts";
import { loading, useEditor } from "../common/editor-page.ts";
import { connect } from "../common/host.ts";
import style from "../common/report.css";
import type { ComparisonMethods, ComparisonState } from "../protocol.ts";
import extra from "./comparison.css";
import { type Choice, ComparisonPage, headline, type PageOptions } from "./page.ts";

function show(comparison: Comparison, options: PageOptions = {}): void {
  const page = new ComparisonPage(comparison, options);
  document.body.replaceChildren(
    element("header", {}, element("h1", {}, "Comparing models"), element("p", {}, headline(comparison))),
    page.element,
    element("footer", {}, element("p", { class: "soft" }, `weightsmith ${comparison.weightsmith}`)),
  );
}

function showInEditor(): void {
  document.body.replaceChildren(loading("Waiting for the comparison."));
  const host = connect<ComparisonState, ComparisonMethods>(({ comparison, key, methods }) => {
    const saved = host.saved.get() as { choice?: Choice } | undefined;
    const keep = (choice: Choice | undefined) => host.saved.set({ key, choice });
    keep(saved?.choice);
    show(comparison, {
      choice: saved?.choice,
      onChoice: keep,
      recipe: { methods, change: (change) => host.request("changeRecipe", change) },
      measureSpectra: (tensor) => host.request("spectra", tensor),
      measureSubspaces: () => host.request("subspaces", undefined),
    });
  });
  useEditor(host);
}

adoptStyles(style, charts, extra);
const embedded = document.getElementById("results");
if (embedded === null) showInEditor();
else show(JSON.parse(embedded.textContent ?? "") as Comparison);
