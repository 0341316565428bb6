// For each input of an embedding or head, where each row of the output's vocabulary comes from.
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { ROW_MEAN, ROW_PADDING, ROW_ZERO } from "../compute/row-gather.ts";
import type { Diagnostic } from "../diagnostics.ts";
import { isFloat } from "../formats/dtypes.ts";
import type { OutputVocabulary } from "./output-vocabulary.ts";
import type { FoundPart } from "./parts.ts";
import type { RowMap } from "./plan.ts";

/** The tensor of one model, and which of its rows each token of the output has (-1 for none). */
interface Side {
  readonly model: string;
  readonly entry: TensorEntry;
  readonly isBase: boolean;
  readonly rowOf: Int32Array;
}

/** A row: of a side, zero, padding, or the mean of several. */
type Row = { readonly side: number; readonly row: number } | { readonly mean: readonly Side[] };

const ZERO: Row = { side: ROW_ZERO, row: 0 };
const PADDING: Row = { side: ROW_PADDING, row: 0 };

/**
 * Row maps of the parts of one tensor; undefined for a part whose rows are in place already.
 * A model's own row comes first, unless the recipe forces another. Else the row is that of the recipe's source, of the only model that has the
 * token, of the base, the mean of those of all models that have it, or zero.
 */
export function rowMaps(
  vocabulary: OutputVocabulary,
  parts: readonly FoundPart[],
  report: (d: Omit<Diagnostic, "file">) => void,
): readonly (RowMap | undefined)[] {
  const sides = parts.map((part) => sideOf(vocabulary, part));
  const distinct = sides.filter((side, i) => sides.findIndex(({ model, entry }) => model === side.model && entry === side.entry) === i);
  const defaults = Array.from({ length: vocabulary.rows }, (_, id) => defaultRow(vocabulary, distinct, id, report));
  return sides.map((side) => encode(side, distinct, (id) => ownRow(vocabulary, distinct, side, id) ?? (defaults[id] as Row), vocabulary.rows));
}

function sideOf({ idsOf, tokens, vocabularies, notes, rows }: OutputVocabulary, { source, entry }: FoundPart): Side {
  const model = source.model.text;
  const ids = idsOf.get(model) ?? new Int32Array(tokens.length).fill(-1);
  const held = entry.shape[0] ?? 0;
  const taken = new Set(vocabularies.get(model)?.ids.values());
  const rowOf = Int32Array.from({ length: rows }, (_, id) => {
    const own = tokens[id] === undefined ? (taken.has(id) ? -1 : id) : (ids[id] as number);
    if (own >= held && tokens[id] !== undefined) notes.outOfRange(model, id);
    return own < held ? own : -1;
  });
  return { model, entry, isBase: source.isBase, rowOf };
}

/** The row that a model keeps; undefined for the default. */
function ownRow({ requests, meanFrom }: OutputVocabulary, sides: readonly Side[], side: Side, id: number): Row | undefined {
  const row = side.rowOf[id] as number;
  if (id >= meanFrom || row < 0 || requests.get(id)?.force === true) return undefined;
  return { side: sides.findIndex(({ model, entry }) => model === side.model && entry === side.entry), row };
}

function defaultRow(vocabulary: OutputVocabulary, sides: readonly Side[], id: number, report: (d: Omit<Diagnostic, "file">) => void): Row {
  if (id >= vocabulary.meanFrom) return PADDING;
  const request = vocabulary.requests.get(id);
  if (request?.source !== undefined) return requestedRow(vocabulary, sides, id, report);
  const present = sides.filter(({ rowOf }) => (rowOf[id] as number) >= 0);
  const only = present.length === 1 ? present[0] : present.find(({ isBase }) => isBase);
  if (only !== undefined) return { side: sides.indexOf(only), row: only.rowOf[id] as number };
  if (present.length === sides.length && present.length > 0) return ZERO;
  if (present.length > 0) {
    vocabulary.notes.average(id);
    return { mean: present };
  }
  if (vocabulary.tokens[id] !== undefined) vocabulary.notes.zero(id);
  return ZERO;
}

function requestedRow(
  { requests, vocabularies, notes }: OutputVocabulary,
  sides: readonly Side[],
  id: number,
  report: (d: Omit<Diagnostic, "file">) => void,
): Row {
  const request = requests.get(id);
  const source = request?.source;
  if (request === undefined || source === undefined) return ZERO;
  if (source.kind === "zero") {
    if (request.force || sides.some(({ rowOf }) => (rowOf[id] as number) < 0)) notes.zero(id);
    return ZERO;
  }
  const side = sides.findIndex(({ model }) => model === source.model.text);
  const own = source.kind === "model" ? request.token : source.token;
  const row = own === undefined ? (source.kind === "token" ? (source.id ?? -1) : -1) : (vocabularies.get(source.model.text)?.ids.get(own) ?? -1);
  const held = sides[side]?.entry.shape[0] ?? 0;
  if (side >= 0 && row >= 0 && row < held) return { side, row };
  report({
    code: "token-missing",
    severity: "error",
    message: side < 0 ? `${source.model.text} is not merged here, so no row can come from it` : `${source.model.text} has no row for this token`,
    range: request.range,
    found: own === undefined ? `row ${row} of ${held}` : JSON.stringify(own),
  });
  return ZERO;
}

/** Rows as runs over the sources that are used, the model's own tensor first. */
function encode(side: Side, sides: readonly Side[], rowAt: (id: number) => Row, rows: number): RowMap | undefined {
  const used = [side];
  const sourceOf = (of: Side): number => {
    const known = used.findIndex(({ entry }) => entry === of.entry);
    return known >= 0 ? known : used.push(of) - 1;
  };
  const runs: [number, number, number][] = [];
  const means: [number, number][][] = [];
  for (let id = 0; id < rows; id++) {
    const row = rowAt(id);
    const mean = "mean" in row;
    if (mean) means.push(row.mean.map((one): [number, number] => [sourceOf(one), one.rowOf[id] as number]));
    const [source, first] = mean ? [ROW_MEAN, means.length - 1] : [row.side < 0 ? row.side : sourceOf(sides[row.side] as Side), row.row];
    const last = runs.at(-1);
    if (last?.[0] === source && (source === ROW_ZERO || source === ROW_PADDING || last[1] + last[2] === first)) last[2]++;
    else runs.push([source, first, 1]);
  }
  const [run] = runs;
  if (runs.length === 1 && run?.[0] === 0 && run[1] === 0) return undefined;
  return { sources: used.map(({ entry }) => sourceRef(entry)), runs, means };
}

function sourceRef({ name, file, offset, byteLength, dtype, shape, lora }: TensorEntry): RowMap["sources"][number] {
  if (!isFloat(dtype)) throw new TypeError(`tensor ${name} is not floating point`);
  return { name, file, offset, byteLength, dtype, shape, ...(lora === undefined ? {} : { lora }) };
}
