// The checkpoint page: facts on top, every tensor below.
import { adoptStyles } from "../common/dom.ts";
import { connect } from "../common/host.ts";
import pageStyles from "../common/page.css";
import type { InspectorMethods, InspectorState } from "../protocol.ts";
import styles from "./inspector.css";
import { showProblem } from "./problem.ts";
import { CheckpointView } from "./view.ts";

adoptStyles(pageStyles, styles);
const app = document.getElementById("app") as HTMLElement;
let view: CheckpointView | undefined;

const host = connect<InspectorState, InspectorMethods>((state) => {
  if (state.kind === "problem") {
    view = undefined;
    app.replaceChildren(showProblem(state.path, state.diagnostics, () => void host.request("reload", undefined)));
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
