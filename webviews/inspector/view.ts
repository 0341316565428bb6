// The page of a readable checkpoint. Holds the table's navigation and draws what the summary says.
import type { CheckpointSummary } from "../../merge-core/checkpoints/describe.ts";
import { elementCount } from "../../merge-core/formats/dtypes.ts";
import { formatBytes, formatCount } from "../../merge-core/units.ts";
import { element } from "../common/dom.ts";
import type { Host } from "../common/host.ts";
import { VirtualList } from "../common/virtual-list.ts";
import type { InspectorMethods } from "../protocol.ts";
import { TensorDetail } from "./detail.ts";
import { checkpointFacts, type ReadableCheckpoint } from "./facts.ts";
import { arrangeRows, DEFAULT_VIEW, type GroupKey, type Row, type SortKey, type TableView } from "./rows.ts";

const ROW_HEIGHT = 22;
const COLUMNS: readonly { readonly key: SortKey; readonly title: string }[] = [
  { key: "name", title: "Tensor" },
  { key: "dtype", title: "Type" },
  { key: "shape", title: "Shape" },
  { key: "bytes", title: "Size" },
  { key: "role", title: "Role" },
  { key: "layer", title: "Layer" },
];
const GROUPS: readonly GroupKey[] = ["none", "layer", "role", "dtype"];

export class CheckpointView {
  readonly element = element("div", { class: "checkpoint", "data-testid": "inspector" });
  readonly #host: Host<InspectorMethods>;
  readonly #list: VirtualList;
  readonly #facts = element("header", {});
  readonly #filter = element("input", {
    type: "search",
    placeholder: "Filter: part of a name, role:mlp, dtype:bf16, layer:3, shape:4096",
    "aria-label": "Filter tensors",
  });
  readonly #group = element(
    "select",
    { "aria-label": "Group tensors by" },
    ...GROUPS.map((key) => element("option", { value: key }, key === "none" ? "no groups" : `by ${key}`)),
  );
  readonly #count = element("span", { class: "muted", role: "status", "data-testid": "tensor-count" });
  readonly #header = element("div", { class: "list-header", role: "row" });
  readonly #detail: TensorDetail;
  #view: TableView;
  #summary: CheckpointSummary | undefined;
  #rows: readonly Row[] = [];

  constructor(host: Host<InspectorMethods>) {
    this.#host = host;
    this.#view = restoreView(host.saved.get());
    this.#detail = new TensorDetail(host, () => this.#list.element.focus());
    this.#list = new VirtualList({
      label: "Tensors",
      columns: COLUMNS.length,
      rowHeight: ROW_HEIGHT,
      render: (index, row) => renderRow(this.#rows[index], row),
      activate: (index) => this.#activate(index),
    });
    this.#filter.value = this.#view.filter;
    this.#group.value = this.#view.group;
    this.#filter.addEventListener("input", () => this.#change({ filter: this.#filter.value }));
    this.#group.addEventListener("change", () => this.#change({ group: this.#group.value as GroupKey, collapsed: [] }));
    this.#list.element.addEventListener("keydown", (event) => this.#onCopy(event));
    const compare = element("button", { type: "button" }, "Compare With...");
    compare.addEventListener("click", () => void host.request("compare", undefined));
    const toolbar = element("div", { class: "toolbar" }, this.#filter, this.#group, this.#count, compare);
    // Rows stand in tables; the list is one of its own, which scrolls below.
    const header = element("div", { role: "table", "aria-label": "Columns" }, this.#header);
    this.element.append(this.#facts, toolbar, header, this.#list.element, this.#detail.element);
  }

  show(state: ReadableCheckpoint): void {
    this.#summary = state.summary;
    this.#facts.replaceChildren(...checkpointFacts(state));
    this.#arrange(false);
  }

  #change(change: Partial<TableView>, toTop = true): void {
    this.#view = { ...this.#view, ...change };
    this.#host.saved.set(this.#view);
    this.#arrange(toTop);
  }

  #arrange(toTop: boolean): void {
    const tensors = this.#summary?.tensors ?? [];
    this.#rows = arrangeRows(tensors, this.#view);
    const shown = this.#rows.reduce((sum, row) => sum + (row.kind === "group" ? (row.open ? 0 : row.tensors) : 1), 0);
    this.#count.textContent = shown === tensors.length ? `${shown} tensors` : `${shown} of ${tensors.length} tensors`;
    this.#drawHeader();
    this.#list.reset(this.#rows.length, toTop);
    this.#header.style.paddingRight = `${2 + this.#list.scrollBarWidth}px`;
  }

  #drawHeader(): void {
    const focused = this.#header.contains(document.activeElement) ? document.activeElement?.textContent : undefined;
    const cells = COLUMNS.map(({ key, title }) => {
      const sorted = this.#view.sort === key ? (this.#view.descending ? "descending" : "ascending") : "none";
      const button = element("button", { type: "button" }, title);
      button.addEventListener("click", () => this.#change(nextSort(this.#view, key)));
      return element("div", { role: "columnheader", "aria-sort": sorted, class: `cell cell-${key}` }, button);
    });
    this.#header.replaceChildren(...cells);
    if (focused !== undefined) [...this.#header.querySelectorAll("button")].find((button) => button.textContent === focused)?.focus();
  }

  /** Enter or a click folds a group, or measures a tensor. */
  #activate(index: number): void {
    const row = this.#rows[index];
    if (row?.kind === "tensor") void this.#detail.show(row.tensor);
    if (row?.kind !== "group") return;
    const collapsed = row.open ? [...this.#view.collapsed, row.key] : this.#view.collapsed.filter((key) => key !== row.key);
    this.#change({ collapsed }, false);
  }

  #onCopy(event: KeyboardEvent): void {
    if (!(event.ctrlKey || event.metaKey) || event.key !== "c") return;
    const row = this.#rows[this.#list.activeIndex];
    if (row?.kind !== "tensor") return;
    event.preventDefault();
    void this.#host.request("copy", row.tensor.name);
  }
}

/** First ascending, then descending, then the order of the file again. */
export function nextSort(view: TableView, key: SortKey): Partial<TableView> {
  if (view.sort !== key) return { sort: key, descending: false };
  return view.descending ? { sort: "file", descending: false } : { descending: true };
}

/** What an earlier page left, if it is a view at all. */
function restoreView(saved: unknown): TableView {
  return typeof saved === "object" && saved !== null && "filter" in saved ? { ...DEFAULT_VIEW, ...(saved as Partial<TableView>) } : DEFAULT_VIEW;
}

function renderRow(row: Row | undefined, target: HTMLElement): void {
  if (row === undefined) return;
  target.classList.toggle("group-row", row.kind === "group");
  if (row.kind === "group") {
    target.setAttribute("aria-expanded", String(row.open));
    setCells(target, [`${row.open ? "\u25be" : "\u25b8"} ${row.title}`, "", `${row.tensors} tensors`, formatBytes(row.bytes), "", ""]);
    return;
  }
  const { name, dtype, shape, bytes, role, layer } = row.tensor;
  target.removeAttribute("aria-expanded");
  const dims = shape.length === 0 ? "scalar" : shape.join(" \u00d7 ");
  setCells(
    target,
    [name, dtype, dims, formatBytes(bytes), role, layer === undefined ? "" : String(layer)],
    `${name}\n${dtype} [${shape.join(", ")}], ${formatCount(elementCount(shape))} elements`,
  );
}

/** Cells are made once per row element and then only written to, which is what keeps scrolling smooth. */
function setCells(target: HTMLElement, texts: readonly string[], title = ""): void {
  while (target.childElementCount < texts.length)
    target.append(element("div", { role: "gridcell", class: `cell cell-${COLUMNS[target.childElementCount]?.key}` }));
  texts.forEach((text, i) => {
    const cell = target.children[i];
    if (cell !== undefined && cell.textContent !== text) cell.textContent = text;
  });
  if (target.title !== title) target.title = title;
}
