// Problems as values: the CLI prints them, the editor underlines them, tests compare them.

export type Severity = "error" | "warning" | "info";

/** Zero-based, half-open, as editors count. `offset`/`end` are UTF-16 offsets into the file. */
export interface SourceRange {
  readonly line: number;
  readonly column: number;
  readonly endLine: number;
  readonly endColumn: number;
  readonly offset: number;
  readonly end: number;
}

/** A change of a text that mends a problem. */
export interface Fix {
  readonly title: string;
  /** What is replaced; empty where whole lines are added. */
  readonly range: SourceRange;
  readonly text: string;
  /** The part of `text` that stands for a model only the user can name; without one an editor can apply the fix as it stands. */
  readonly model?: string;
}

/**
 * One problem. `message` says what is wrong in one clause; `found` and `expected` carry the values;
 * `remedy` says what to do. `file` is a path as the user gave it; `range` is only set for text files.
 */
export interface Diagnostic {
  readonly code: string;
  readonly severity: Severity;
  readonly message: string;
  readonly file?: string;
  readonly range?: SourceRange;
  readonly found?: string;
  readonly expected?: string;
  readonly remedy?: string;
  readonly notes?: readonly string[];
  readonly fix?: Fix;
}

/** The process exit status an error stands for: 2 bad input or usage, 1 failed while running, 130 interrupted. */
export type ExitCode = 1 | 2 | 130;

/** The only error class this library throws on purpose. Carries one or more diagnostics, the first being the cause. */
export class WeightsmithError extends Error {
  override readonly name = "WeightsmithError";
  readonly code: string;
  readonly diagnostics: readonly Diagnostic[];
  readonly exitCode: ExitCode;

  constructor(diagnostics: Diagnostic | readonly Diagnostic[], options: { exitCode?: ExitCode; cause?: unknown } = {}) {
    const list: readonly Diagnostic[] = Array.isArray(diagnostics) ? diagnostics : [diagnostics as Diagnostic];
    const first = list[0];
    if (first === undefined) throw new TypeError("a WeightsmithError needs at least one diagnostic");
    super(formatDiagnostic(first), options.cause === undefined ? undefined : { cause: options.cause });
    this.code = first.code;
    this.diagnostics = list;
    this.exitCode = options.exitCode ?? 2;
  }
}

/** Shorthand for the common case of one error diagnostic. */
export function inputError(code: string, message: string, details: Omit<Diagnostic, "code" | "severity" | "message"> = {}): WeightsmithError {
  return new WeightsmithError({ code, severity: "error", message, ...details });
}

/** The error every cancelled operation rejects with. */
export function cancelledError(): WeightsmithError {
  return new WeightsmithError({ code: "cancelled", severity: "error", message: "cancelled" }, { exitCode: 130 });
}

/** Throws the cancellation error if `signal` has fired. */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw cancelledError();
}

/** `error[code] file:line:col: what is wrong; found X, expected Y; what to do`, notes on indented lines after it. */
export function formatDiagnostic(d: Diagnostic): string {
  const place = d.file === undefined ? "" : d.range === undefined ? ` ${d.file}:` : ` ${d.file}:${d.range.line + 1}:${d.range.column + 1}:`;
  const values = [d.found === undefined ? "" : `found ${d.found}`, d.expected === undefined ? "" : `expected ${d.expected}`].filter(Boolean).join(", ");
  const text = [d.message, values, d.remedy ?? ""].filter(Boolean).join("; ");
  const notes = (d.notes ?? []).map((note) => `\n  note: ${note}`).join("");
  return printable(`${d.severity}[${d.code}]${place || ":"} ${text}${notes}${formatFix(d.fix)}`);
}

/** With letters that steer a terminal, which a hostile file may hold, as numbers; line ends stay. */
const printable = (text: string): string =>
  text.replace(/\p{Cc}/gu, (letter) => (letter === "\n" || letter === "\t" ? letter : `\\x${letter.charCodeAt(0).toString(16).padStart(2, "0")}`));

/** Lines that a fix adds, and where; what a replacement does is said by the remedy. */
function formatFix(fix: Fix | undefined): string {
  if (fix === undefined || fix.range.end > fix.range.offset) return "";
  const lines = fix.text.split("\n").filter((line) => line !== "");
  return `\n  fix: insert before line ${fix.range.line + 1}${lines.map((line) => `\n    ${line}`).join("")}`;
}

/** The candidate nearest to `word` by edit distance, if near enough to be a likely slip of the keyboard. */
export function nearestName(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase(), bestDistance);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Edit distance with adjacent transpositions (optimal string alignment); stops early at `limit`. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, substitution);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, (beforePrevious[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    beforePrevious = previous;
    previous = row;
  }
  return previous[b.length] ?? limit;
}
