// Which rows the tensor table shows, in which order: filter, sort and groups as pure functions of the summary.
import type { CheckpointSummary } from "../../merge-core/checkpoints/describe.ts";
import { elementCount } from "../../merge-core/formats/dtypes.ts";

export type TensorRow = CheckpointSummary["tensors"][number];
export type SortKey = "file" | "name" | "dtype" | "shape" | "bytes" | "role" | "layer";
export type GroupKey = "none" | "layer" | "role" | "dtype";

/** What of the table is navigation, kept while the page is hidden. */
export interface TableView {
  readonly filter: string;
  readonly sort: SortKey;
  readonly descending: boolean;
  readonly group: GroupKey;
  readonly collapsed: readonly string[];
}

export const DEFAULT_VIEW: TableView = { filter: "", sort: "file", descending: false, group: "none", collapsed: [] };

export type Row =
  | { readonly kind: "tensor"; readonly tensor: TensorRow }
  | { readonly kind: "group"; readonly key: string; readonly title: string; readonly tensors: number; readonly bytes: number; readonly open: boolean };

/** Rows for a view. File order is the order in which the summary lists the tensors. */
export function arrangeRows(tensors: readonly TensorRow[], view: TableView): Row[] {
  const kept = tensors.filter(parseFilter(view.filter));
  const sorted = view.sort === "file" ? (view.descending ? kept.toReversed() : kept) : kept.toSorted(comparison(view.sort, view.descending));
  if (view.group === "none") return sorted.map((tensor) => ({ kind: "tensor", tensor }));
  return [...groupBy(sorted, view.group)].flatMap(([key, members]) => groupRows(key, members, view));
}

/**
 * Words that must all hold; a word is a part of the name, or `role:`, `dtype:`, `layer:`, `shape:` with a value.
 * Case does not matter. `shape:4096` fits any tensor with that dimension.
 */
export function parseFilter(text: string): (tensor: TensorRow) => boolean {
  const tests = text.toLowerCase().split(/\s+/).filter(Boolean).map(wordTest);
  return (tensor) => tests.every((test) => test(tensor));
}

function wordTest(word: string): (tensor: TensorRow) => boolean {
  const [, key, value = ""] = /^(role|dtype|layer|shape):(.*)$/.exec(word) ?? [];
  if (key === "role") return (t) => t.role.startsWith(value);
  if (key === "dtype") return (t) => t.dtype.toLowerCase().startsWith(value);
  if (key === "layer") return (t) => t.layer === Number(value);
  if (key === "shape") return (t) => t.shape.includes(Number(value));
  return (t) => t.name.toLowerCase().includes(word);
}

/** Names with numbers in their natural order: layer 2 before layer 10. */
const names = new Intl.Collator("en", { numeric: true });

const COMPARISONS: Readonly<Record<Exclude<SortKey, "file">, (a: TensorRow, b: TensorRow) => number>> = {
  name: (a, b) => names.compare(a.name, b.name),
  dtype: (a, b) => names.compare(a.dtype, b.dtype),
  shape: (a, b) => elementCount(a.shape) - elementCount(b.shape),
  bytes: (a, b) => a.bytes - b.bytes,
  role: (a, b) => names.compare(a.role, b.role),
  layer: (a, b) => (a.layer ?? -1) - (b.layer ?? -1),
};

function comparison(key: Exclude<SortKey, "file">, descending: boolean): (a: TensorRow, b: TensorRow) => number {
  const compare = COMPARISONS[key];
  return descending ? (a, b) => compare(b, a) : compare;
}

/** Groups in a readable order: layers by number with what has none first, others by name. */
function groupBy(tensors: readonly TensorRow[], key: Exclude<GroupKey, "none">): [string, TensorRow[]][] {
  const groups = new Map<string, TensorRow[]>();
  for (const tensor of tensors) {
    const title = key === "layer" ? (tensor.layer === undefined ? "outside layers" : `layer ${tensor.layer}`) : tensor[key];
    const members = groups.get(title);
    if (members === undefined) groups.set(title, [tensor]);
    else members.push(tensor);
  }
  const order = ([a]: [string, TensorRow[]], [b]: [string, TensorRow[]]) =>
    Number(a !== "outside layers") - Number(b !== "outside layers") || names.compare(a, b);
  return [...groups].sort(order);
}

function groupRows(key: string, members: readonly TensorRow[], view: TableView): Row[] {
  const open = !view.collapsed.includes(key);
  const header: Row = { kind: "group", key, title: key, tensors: members.length, bytes: members.reduce((sum, t) => sum + t.bytes, 0), open };
  return [header, ...(open ? members.map((tensor): Row => ({ kind: "tensor", tensor })) : [])];
}
