// One tensor's values: asked for when the tensor is chosen, stopped when another is.
import type { TensorStatistics } from "../../merge-core/analysis/tensor-statistics.ts";
import { WeightsmithError } from "../../merge-core/diagnostics.ts";
import { elementCount } from "../../merge-core/formats/dtypes.ts";
import { formatBytes } from "../../merge-core/units.ts";
import { element, textTable } from "../common/dom.ts";
import type { Host } from "../common/host.ts";
import type { InspectorMethods } from "../protocol.ts";
import { binRows, drawHistogram } from "./histogram.ts";
import type { TensorRow } from "./rows.ts";

export class TensorDetail {
  readonly element = element("section", { class: "detail", "aria-label": "Tensor", "data-testid": "tensor-detail", hidden: "" });
  readonly #host: Host<InspectorMethods>;
  readonly #leave: () => void;
  #running = new AbortController();

  /** @param leave takes the focus when the detail closes */
  constructor(host: Host<InspectorMethods>, leave: () => void) {
    this.#host = host;
    this.#leave = leave;
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#close();
    });
  }

  async show(tensor: TensorRow): Promise<void> {
    this.#running.abort();
    const running = new AbortController();
    this.#running = running;
    this.element.hidden = false;
    this.#fill(tensor, element("p", { role: "status" }, `Reading ${formatBytes(tensor.bytes)}...`));
    try {
      const statistics = await this.#host.request("measure", tensor.name, { signal: running.signal });
      if (!running.signal.aborted) this.#fill(tensor, statisticsView(statistics));
    } catch (error) {
      if (!running.signal.aborted) this.#fill(tensor, element("p", { class: "note", role: "alert" }, messageOf(error)));
    }
  }

  #fill(tensor: TensorRow, content: HTMLElement): void {
    const copy = element("button", { type: "button" }, "Copy Name");
    copy.addEventListener("click", () => void this.#host.request("copy", tensor.name));
    const close = element("button", { type: "button" }, "Close");
    close.addEventListener("click", () => this.#close());
    const facts = `${tensor.dtype} [${tensor.shape.join(", ")}], ${elementCount(tensor.shape).toLocaleString("en")} elements, ${formatBytes(tensor.bytes)}`;
    const title = element("div", { class: "detail-title" }, element("h2", { class: "name" }, tensor.name), copy, close);
    this.element.replaceChildren(title, element("p", { class: "muted" }, facts), content);
  }

  #close(): void {
    this.#running.abort();
    this.element.hidden = true;
    this.#leave();
  }
}

const messageOf = (error: unknown): string => {
  const [cause] = error instanceof WeightsmithError ? error.diagnostics : [];
  return cause === undefined ? String(error) : [cause.message, cause.found].filter(Boolean).join(": ");
};

function statisticsView({ finite, zeros, nan, infinite, histogram }: TensorStatistics): HTMLElement {
  const number = (value: number) => value.toPrecision(6);
  const moments = finite === undefined ? [] : (["min", "max", "mean", "std", "rms"] as const).map((key) => [key, number(finite[key])]);
  const counts = Object.entries({ zeros, NaN: nan, infinite }).map(([key, value]) => [key, value.toLocaleString("en")]);
  const table = textTable("Values", ["", ""], [...moments, ...counts], [1]);
  if (finite === undefined) return table;
  const rows = binRows(histogram, finite.min, finite.max).map(({ from, to, count }) => [number(from), number(to), count.toLocaleString("en")]);
  const asTable = element("details", {}, element("summary", {}, "Histogram as a table"), textTable("Histogram", ["From", "To", "Values"], rows, [0, 1, 2]));
  const picture = element("div", {}, asTable);
  picture.prepend(drawHistogram(histogram, finite.min, finite.max));
  return element("div", { class: "side-by-side" }, table, picture);
}
