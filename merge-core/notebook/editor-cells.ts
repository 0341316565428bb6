// Between a notebook's text and the cells of an editor. Cells keep the source they were read from, and give it back as
// long as nobody has changed them. Pure.
import { type Block, type CellKind, isCell, parseNotebook } from "./notebook.ts";

/** The source that a cell was read from. */
export interface CellSource {
  /** Its place in the file: neighbours that stay neighbours keep what is between them. */
  readonly index: number;
  /** Empty lines around Markdown. */
  readonly before: string;
  readonly content: string;
  readonly after: string;
  /** What the editor was shown for it. */
  readonly value: string;
  /** The opening line of a cell that runs, without its line end. */
  readonly open?: string;
}

export interface EditorCell {
  readonly kind: "markdown" | CellKind;
  /** As written in the file; absent where the cell has none. */
  readonly name?: string | undefined;
  readonly value: string;
  readonly source?: CellSource | undefined;
}

const lineEnd = (text: string): string => (/\r\n/.test(text) ? "\r\n" : "\n");
const withoutReturns = (text: string): string => text.replaceAll("\r\n", "\n");

/** Cells to show. Empty lines between cells belong to the one before. */
export function editorCells(text: string): EditorCell[] {
  const cells: EditorCell[] = [];
  for (const block of parseNotebook(text, "").blocks) {
    const last = cells.at(-1);
    if (!isCell(block) && block.source.trim() === "" && last?.source !== undefined)
      cells[cells.length - 1] = { ...last, source: { ...last.source, after: last.source.after + block.source } };
    else cells.push(editorCell(block, cells.length));
  }
  return cells;
}

function editorCell(block: Block, index: number): EditorCell {
  if (!isCell(block)) {
    const [, before = "", content = "", after = ""] = /^(\s*\n|)([\s\S]*?)(\s*)$/.exec(block.source) ?? [];
    const value = withoutReturns(content);
    return { kind: "markdown", value, source: { index, before, content, after, value } };
  }
  const { kind, name, named, open, body, close } = block;
  const value = withoutReturns(body).replace(/\n$/, "");
  const source = { index, before: "", content: open + body + close, after: "", value, open: open.trimEnd() };
  return { kind, name: named ? name : undefined, value, source };
}

/** The file's text for the cells as they are now, with the line ends that it had. */
export function textOfCells(cells: readonly EditorCell[]): string {
  const end = lineEnd(cells.map(({ source }) => (source === undefined ? "" : source.before + source.content + source.after)).join(""));
  let text = "";
  for (const [i, cell] of cells.entries()) {
    const previous = cells[i - 1];
    const neighbours = previous?.source !== undefined && cell.source !== undefined && previous.source.index + 1 === cell.source.index;
    if (previous !== undefined) text = apart(text, neighbours && !(previous.kind === "markdown" && cell.kind === "markdown"), end);
    const start = i === 0 || neighbours ? (cell.source?.before ?? "") : "";
    text += start + cellText(cell, end);
  }
  return cells.length > 0 && cells.at(-1)?.source === undefined ? apart(text, true, end) : text;
}

/** Ends the line, and for cells that were not neighbours leaves an empty one. */
function apart(text: string, neighbours: boolean, end: string): string {
  const ended = text === "" || text.endsWith("\n") ? text : text + end;
  return neighbours || ended === "" || /\n\r?\n$/.test(ended) ? ended : ended + end;
}

function cellText({ kind, name, value, source }: EditorCell, end: string): string {
  const written = withoutReturns(value).replaceAll("\n", end);
  const after = source?.after ?? "";
  if (kind === "markdown") return (source !== undefined && source.value === value ? source.content : written) + after;
  const kept = source?.open !== undefined && source.value === value && infoOf(source.open) === `${kind} ${name ?? ""}`.trim();
  if (kept) return source.content + after;
  const fence = fenceFor(value);
  const body = written === "" ? "" : `${written}${end}`;
  return `${fence}yaml ${kind}${name === undefined ? "" : ` ${name}`}${end}${body}${fence}${end}${after}`;
}

const infoOf = (open: string): string => open.replace(/^\s*[`~]+\s*yaml\s+/, "").replace(/\s+/g, " ");

/** A fence longer than any that the text holds. */
function fenceFor(text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/^ {0,3}(`{3,})/gm)].map(([, marks = ""]) => marks.length));
  return "`".repeat(longest + 1);
}

/** What a new cell is most likely meant to do, by the keys it has. */
export function guessKind(text: string): CellKind {
  const has = (key: string) => new RegExp(`^${key}\\s*:`, "m").test(text);
  if (has("merge_method")) return "merge";
  if (has("objectives")) return "pareto";
  if (has("method") || has("optimizer") || has("steps") || has("epochs")) return "train";
  if (has("metrics") || has("data")) return "eval";
  return has("models") && (has("base") || has("density")) ? "compare" : "merge";
}
