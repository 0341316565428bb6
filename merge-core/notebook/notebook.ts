// Notebooks: plain Markdown whose fenced blocks with the info string `yaml merge`, `yaml compare` and the like are cells that
// run. Every block keeps its source, so that a notebook is written back byte for byte. Pure.
import type { Diagnostic, SourceRange } from "../diagnostics.ts";

export const CELL_KINDS = ["merge", "compare", "eval", "pareto", "train"] as const;
export type CellKind = (typeof CELL_KINDS)[number];

export interface MarkdownBlock {
  readonly kind: "markdown";
  readonly source: string;
}

export interface Cell {
  readonly kind: CellKind;
  /** What other cells call its result, as `$name`. */
  readonly name: string;
  /** The name is written in the file, and not made from the kind. */
  readonly named: boolean;
  /** The line that opens the block, the lines in it, and the one that closes it, each with its line end. */
  readonly open: string;
  readonly body: string;
  readonly close: string;
  /** Where the body begins in the file, zero-based. */
  readonly line: number;
  readonly offset: number;
}

export type Block = MarkdownBlock | Cell;

export interface Notebook {
  readonly file: string;
  readonly blocks: readonly Block[];
  readonly diagnostics: readonly Diagnostic[];
}

export const isCell = (block: Block): block is Cell => block.kind !== "markdown";

export const cellsOf = ({ blocks }: Notebook): readonly Cell[] => blocks.filter(isCell);

/** The file's text again. */
export const notebookText = ({ blocks }: Pick<Notebook, "blocks">): string =>
  blocks.map((block) => (isCell(block) ? block.open + block.body + block.close : block.source)).join("");

/** CommonMark: at most three spaces, three or more of one mark; the info string after backticks holds none. */
const FENCE = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$/;
const INFO = new RegExp(`^\\s*yaml\\s+(${CELL_KINDS.join("|")})(?:\\s+(\\S+))?\\s*$`);
/** Names are those of folders. */
export const CELL_NAME = /^[A-Za-z0-9][\w.-]*$/;

/** What the opening line of a cell says; undefined for every other block. */
export function readInfo(info: string): { kind: CellKind; name: string | undefined } | undefined {
  const match = INFO.exec(info);
  const kind = CELL_KINDS.find((known) => known === match?.[1]);
  return kind === undefined ? undefined : { kind, name: match?.[2] };
}

interface OpenCell {
  readonly info: { kind: CellKind; name: string | undefined };
  readonly open: string;
  readonly line: number;
  readonly offset: number;
  body: string;
}

/**
 * Reads a notebook. Never throws: what is wrong is told with its place.
 * @param file what diagnostics call it; nothing is read
 */
export function parseNotebook(text: string, file: string): Notebook {
  const reader = new NotebookReader(file);
  for (const line of text.match(/[^\n]*\n|[^\n]+$/g) ?? []) reader.take(line);
  return reader.end();
}

class NotebookReader {
  readonly #file: string;
  readonly #blocks: Block[] = [];
  readonly #diagnostics: Diagnostic[] = [];
  readonly #lines = new Map<string, number>();
  readonly #counts = new Map<CellKind, number>();
  #markdown = "";
  /** The mark that closes the block we are in, cell or not. */
  #fence: string | undefined;
  #cell: OpenCell | undefined;
  #line = 0;
  #offset = 0;

  constructor(file: string) {
    this.#file = file;
  }

  take(raw: string): void {
    const line = raw.replace(/\r?\n$/, "");
    if (this.#fence === undefined) this.#outside(raw, line);
    else if (closes(line, this.#fence)) this.#close(raw);
    else if (this.#cell !== undefined) this.#cell.body += raw;
    else this.#markdown += raw;
    this.#line++;
    this.#offset += raw.length;
  }

  end(): Notebook {
    if (this.#cell !== undefined) {
      const message = "this cell has no end";
      this.#report("notebook-unclosed-cell", message, this.#cell, { expected: `a line ${this.#fence}`, remedy: "add it where the cell is to end" });
      this.#close("");
    }
    this.#flush();
    return { file: this.#file, blocks: this.#blocks, diagnostics: this.#diagnostics };
  }

  #outside(raw: string, line: string): void {
    const [, fence, text = ""] = FENCE.exec(line) ?? [];
    this.#fence = fence;
    const info = fence === undefined ? undefined : readInfo(text);
    if (info === undefined) this.#markdown += raw;
    else {
      this.#flush();
      this.#cell = { info, open: raw, line: this.#line + 1, offset: this.#offset + raw.length, body: "" };
    }
  }

  #close(raw: string): void {
    this.#fence = undefined;
    const cell = this.#cell;
    this.#cell = undefined;
    if (cell === undefined) {
      this.#markdown += raw;
      return;
    }
    const { info, open, body, line, offset } = cell;
    const named = info.name !== undefined;
    const name = info.name ?? this.#makeName(info.kind);
    this.#checkName(name, cell);
    this.#blocks.push({ kind: info.kind, name, named, open, body, close: raw, line, offset });
  }

  /** `merge-1` for the first merge without a name. */
  #makeName(kind: CellKind): string {
    const count = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, count);
    return `${kind}-${count}`;
  }

  #checkName(name: string, cell: OpenCell): void {
    const before = this.#lines.get(name);
    if (!CELL_NAME.test(name)) this.#report("notebook-cell-name", "this is no name for a cell", cell, { found: name, expected: "letters, digits, - _ ." });
    else if (before !== undefined)
      this.#report("notebook-cell-name", "two cells have one name", cell, { found: name, expected: `a name other than on line ${before}` });
    this.#lines.set(name, cell.line);
  }

  #flush(): void {
    if (this.#markdown !== "") this.#blocks.push({ kind: "markdown", source: this.#markdown });
    this.#markdown = "";
  }

  #report(code: string, message: string, { open, line, offset }: OpenCell, more: Partial<Diagnostic>): void {
    const width = open.trimEnd().length;
    const start = offset - open.length;
    const range = { line: line - 1, column: 0, endLine: line - 1, endColumn: width, offset: start, end: start + width };
    this.#diagnostics.push({ code, severity: "error", message, file: this.#file, range, ...more });
  }
}

/** A closing fence: the same mark, at least as often, and nothing after it. */
function closes(line: string, fence: string): boolean {
  const match = /^ {0,3}(`{3,}|~{3,})[ \t]*$/.exec(line)?.[1];
  return match?.[0] === fence[0] && (match?.length ?? 0) >= fence.length;
}

/** A problem of a cell's text, told at its place in the notebook; one without a place gets the cell's. */
export function inNotebook(diagnostic: Diagnostic, cell: Cell, file: string): Diagnostic {
  if (diagnostic.file !== undefined && diagnostic.file !== file)
    return { ...diagnostic, notes: [...(diagnostic.notes ?? []), `in cell ${cell.name}, ${file}:${cell.line}`] };
  const { line, offset } = cell;
  const start: SourceRange = { line: -1, column: 0, endLine: -1, endColumn: cell.open.trimEnd().length, offset: -cell.open.length, end: -1 };
  const move = (range: SourceRange): SourceRange => ({
    ...range,
    line: range.line + line,
    endLine: range.endLine + line,
    offset: range.offset + offset,
    end: range.end + offset,
  });
  const { fix } = diagnostic;
  return { ...diagnostic, file, range: move(diagnostic.range ?? start), ...(fix && { fix: { ...fix, range: move(fix.range) } }) };
}
