// Everything a command says: results on stdout, progress and problems on stderr.
import { type Diagnostic, formatDiagnostic } from "../diagnostics.ts";
import { formatBytes, formatDuration } from "../units.ts";

export { formatBytes, formatDuration };

export interface Progress {
  /** What is being done, e.g. `merge` or `train`. */
  readonly stage: string;
  readonly done: number;
  readonly total: number;
  /** How `done` is counted. */
  readonly unit: "bytes" | "steps" | "examples" | "items";
  /** What is at work now, e.g. a tensor name or a loss. */
  readonly detail?: string;
  /** Of a merge: input bytes and values so far, and the file being written. Only programs that follow the run see them. */
  readonly bytesRead?: number;
  readonly values?: number;
  readonly shard?: { readonly file: string; readonly number: number; readonly count: number };
}

export interface Streams {
  readonly out: NodeJS.WritableStream;
  readonly err: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };
}

const LINE_INTERVAL_MS = 5000;
const BAR_INTERVAL_MS = 100;
/** Programs that follow a run, such as the editor, get a line this often. */
const RECORD_INTERVAL_MS = 200;

/** One output layer for text, JSON and quiet. */
export class Output {
  readonly #streams: Streams;
  readonly #json: boolean;
  readonly #quiet: boolean;
  readonly #records: boolean;
  #stage = "";
  #startedMs = 0;
  #firstDone = 0;
  #drawnMs = 0;
  #barShown = false;

  constructor(streams: Streams, options: { json: boolean; quiet: boolean; records?: boolean }) {
    this.#streams = streams;
    this.#json = options.json;
    this.#quiet = options.quiet;
    this.#records = options.records ?? false;
  }

  /** The command's result: `document` under --json, else the lines. */
  result(document: unknown, lines: string): void {
    this.#clearBar();
    this.#streams.out.write(this.#json ? `${JSON.stringify(document, null, 2)}\n` : lines.endsWith("\n") ? lines : `${lines}\n`);
  }

  /** Problems, one a line with notes indented. */
  diagnostics(list: readonly Diagnostic[]): void {
    this.#clearBar();
    for (const diagnostic of list) this.#streams.err.write(`${formatDiagnostic(diagnostic)}\n`);
  }

  note(line: string): void {
    if (this.#quiet) return;
    this.#clearBar();
    this.#streams.err.write(`${line}\n`);
  }

  /** A bar on a terminal, a line every few seconds elsewhere; with rate and time left. As records: one line `{"progress":{...}}` at a time. */
  progress(p: Progress): void {
    if (this.#quiet) return;
    const now = performance.now();
    if (p.stage !== this.#stage) {
      this.#stage = p.stage;
      this.#startedMs = now;
      this.#firstDone = p.done;
      this.#drawnMs = this.#streams.err.isTTY || this.#records ? 0 : now;
    }
    const terminal = this.#streams.err.isTTY === true && !this.#records;
    const last = p.done >= p.total;
    if (!last && now - this.#drawnMs < (this.#records ? RECORD_INTERVAL_MS : terminal ? BAR_INTERVAL_MS : LINE_INTERVAL_MS)) return;
    this.#drawnMs = now;
    if (this.#records) {
      this.#streams.err.write(`${JSON.stringify({ progress: p })}\n`);
      return;
    }
    const line = progressLine(p, (now - this.#startedMs) / 1000, p.done - this.#firstDone);
    if (terminal) {
      this.#streams.err.write(`\r\x1b[2K${line.slice(0, (this.#streams.err.columns ?? 80) - 1)}`);
      this.#barShown = !last;
      if (last) this.#streams.err.write("\n");
    } else this.#streams.err.write(`${line}\n`);
  }

  #clearBar(): void {
    if (!this.#barShown) return;
    this.#streams.err.write("\r\x1b[2K");
    this.#barShown = false;
  }
}

const BAR_CELLS = 20;

/** `merge [#####...............]  25 %  1.0 GiB of 4.0 GiB  1.2 GiB/s  3 s left  model.layers.0...` */
export function progressLine(p: Progress, seconds: number, doneSinceStart: number): string {
  const fraction = p.total > 0 ? Math.min(1, p.done / p.total) : 1;
  const filled = Math.round(fraction * BAR_CELLS);
  const rate = seconds > 0 ? doneSinceStart / seconds : 0;
  const left = rate > 0 && fraction < 1 ? `  ${formatDuration((p.total - p.done) / rate)} left` : "";
  const count = p.unit === "bytes" ? `${formatBytes(p.done)} of ${formatBytes(p.total)}` : `${p.done} of ${p.total} ${p.unit}`;
  const speed = rate > 0 ? `  ${p.unit === "bytes" ? formatBytes(rate) : `${rate.toPrecision(3)} ${p.unit}`}/s` : "";
  const percent = `${Math.floor(fraction * 100)}`.padStart(3);
  return `${p.stage} [${"#".repeat(filled)}${".".repeat(BAR_CELLS - filled)}] ${percent} %  ${count}${speed}${left}${p.detail ? `  ${p.detail}` : ""}`;
}

/** Rows as aligned columns; numbers given as strings are aligned right when `right` says so. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths = header.map((cell, i) => Math.max(cell.length, ...rows.map((row) => (row[i] ?? "").length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  return [line(header), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}
