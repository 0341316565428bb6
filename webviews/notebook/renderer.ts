// Outputs of cells in the editor's notebooks. All of them live in one page of the editor's, hence the roots of their own.
import type { CellOutput } from "../../merge-core/notebook/cell-output.ts";
import { element } from "../common/dom.ts";
import theme from "../common/editor-theme.css";
import { connect } from "../common/host.ts";
import { messageOf } from "../common/problem.ts";
import { saveThrough } from "../common/save.ts";
import type { Choice } from "../comparison/page.ts";
import type { ParetoChoice } from "../pareto/model.ts";
import type { Compared, NotebookMethods, ToHost } from "../protocol.ts";
import { type OutputHost, outputElement, problemElement } from "./output.ts";
import { adoptProperties, shadowed } from "./shadow.ts";
import { STYLES } from "./styles.ts";

interface OutputItem {
  json(): unknown;
}

const ALL = [...STYLES, theme];

/** What the editor gives a renderer; where nobody listens it has no messages. */
interface RendererContext {
  getState(): unknown;
  setState(state: unknown): void;
  readonly postMessage?: (message: ToHost) => void;
  readonly onDidReceiveMessage?: (listener: (message: unknown) => void) => unknown;
}

/** What the editor asks of a renderer. */
export function activate(context: RendererContext): { renderOutputItem(item: OutputItem, holder: HTMLElement): void } {
  adoptProperties(ALL);
  saveThrough(download);
  const host = hostOf(context);
  return {
    renderOutputItem(item, holder) {
      holder.replaceChildren(shadowed(ALL, drawn(item, host)));
    },
  };
}

/** Requests of outputs go where those of pages go; what is chosen in them outlives their being drawn again. */
function hostOf({ postMessage, onDidReceiveMessage, getState, setState }: RendererContext): OutputHost | undefined {
  if (postMessage === undefined) return undefined;
  const messages = new EventTarget();
  onDidReceiveMessage?.((data) => messages.dispatchEvent(new MessageEvent("message", { data })));
  const host = connect<undefined, NotebookMethods>(() => undefined, { postMessage, getState, setState }, messages);
  const choices = () => (getState() ?? {}) as Readonly<Record<string, unknown>>;
  const keep = (key: string, choice: unknown) => setState({ ...choices(), [key]: choice });
  let methods: Promise<readonly string[]> | undefined;
  return {
    tools: (front) => ({
      recipeAt: (coefficients) => host.request("recipeAt", { front, coefficients }),
      writeMerge: (coefficients) => host.request("writeMerge", { front, coefficients }),
      evaluate: (coefficients) => host.request("evaluate", { front, coefficients }),
    }),
    choice: (front) => choices()[front] as ParetoChoice | undefined,
    keep,
    compared({ base, models, density }) {
      const compared: Compared = { ...(base !== undefined && { base }), models, density };
      const key = JSON.stringify([base, ...models]);
      methods ??= host.request("methods", undefined);
      return {
        choice: choices()[key] as Choice | undefined,
        onChoice: (choice) => keep(key, choice),
        recipe: { methods, change: (change) => host.request("changeRecipe", { compared, change }) },
        measureSpectra: (tensor) => host.request("spectra", { compared, tensor }),
        measureSubspaces: () => host.request("subspaces", compared),
      };
    },
  };
}

function drawn(item: OutputItem, host: OutputHost | undefined): HTMLElement {
  try {
    return outputElement(item.json() as CellOutput, host);
  } catch (error) {
    return problemElement("This output cannot be shown", [
      { code: "notebook-output", severity: "error", message: messageOf(error), remedy: "run the cell again" },
    ]);
  }
}

/** The editor sees to a download that it sees being chosen, which takes a link in the document. */
function download(name: string, content: Blob): void {
  const link = element("a", { href: URL.createObjectURL(content), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
