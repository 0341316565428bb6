// The checkpoint page: facts on top, every tensor below.
import { adoptStyles } from "../common/dom.ts";
import { connect } from "../common/host.ts";
import pageStyles from "../common/page.css";
import { showProblem } from "../common/problem.ts";
import type { InspectorMethods, InspectorState } from "../protocol.ts";
import styles from "./inspector.css";
import { CheckpointView } from "./view.ts";

adoptStyles(pageStyles, styles);
const app = document.getElementById("app") as HTMLElement;
let view: CheckpointView | undefined;

const host = connect<InspectorState, InspectorMethods>((state) => {
  if (state.kind === "problem") {
    view = undefined;
    const reload = () => void host.request("reload", undefined);
    app.replaceChildren(showProblem("This checkpoint cannot be read", state.path, state.diagnostics, reload, "inspector-problem"));
    return;
  }
  view ??= mount();
  view.show(state);
});

function mount(): CheckpointView {
  const made = new CheckpointView(host);
  app.replaceChildren(made.element);
  return made;
}
