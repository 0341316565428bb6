// The page of runs in the editor.
import charts from "../common/charts.css";
import { adoptStyles, element } from "../common/dom.ts";
import { loading, useEditor } from "../common/editor-page.ts";
import { connect } from "../common/host.ts";
import style from "../common/report.css";
import type { RunsMethods, RunsState } from "../protocol.ts";
import { FIRST_CHOICE, type RunsChoice, RunsPage } from "./page.ts";
import extra from "./runs.css";

interface Saved {
  readonly choice: RunsChoice;
  readonly logs: readonly string[];
}

adoptStyles(style, charts, extra);
document.body.replaceChildren(loading("Reading the runs."));
let page: RunsPage | undefined;
let saved: Saved = { choice: FIRST_CHOICE, logs: [] };

const host = connect<RunsState, RunsMethods>((state) => {
  if (page === undefined) {
    saved = { ...saved, ...(host.saved.get() as Partial<Saved> | undefined) };
    page = new RunsPage({ ...FIRST_CHOICE, ...saved.choice }, (choice) => keep({ choice }), {
      addLogs: () => void host.request("addLogs", undefined),
      cancel: (id) => void host.request("cancel", id),
    });
    document.body.replaceChildren(element("header", {}, element("h1", {}, "Runs")), page.element);
  }
  keep({ logs: state.logs });
  page.show(state);
});
useEditor(host);

function keep(change: Partial<Saved>): void {
  saved = { ...saved, ...change };
  host.saved.set(saved);
}
