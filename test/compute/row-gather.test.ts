import assert from "node:assert/strict";
import { gatherRows, ROW_MEAN, ROW_PADDING, ROW_ZERO, type RowGather } from "../../merge-core/compute/row-gather.ts";
import { narrowFromFloat32, widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";

const COLUMNS = 3;
const rowsOf = (from: number): Float32Array => Float32Array.from({ length: 5 * COLUMNS }, (_, i) => from + i);
const SOURCES: RowGather["sources"] = [
  { dtype: "F32", store: { bytes: narrowFromFloat32("F32", rowsOf(0)) } },
  { dtype: "BF16", store: { bytes: narrowFromFloat32("BF16", rowsOf(100)) } },
];
/** Two rows in a row, one alone, zeros, a mean of both sources, padding, back to the first row. */
const PICKS: readonly (readonly [number, number])[] = [
  [0, 2],
  [0, 3],
  [1, 4],
  [ROW_ZERO, 0],
  [ROW_ZERO, 0],
  [ROW_MEAN, 0],
  [ROW_PADDING, 0],
  [0, 0],
];
const gather: RowGather = {
  rowElements: COLUMNS,
  dtype: "F32",
  rows: Int32Array.from(PICKS.flat()),
  means: Int32Array.of(2, 0, 1, 1, 2),
  padding: Float32Array.of(7, 8, 9),
  sources: SOURCES,
};
const EXPECTED = [6, 7, 8, 9, 10, 11, 112, 113, 114, 0, 0, 0, 0, 0, 0, 54.5, 55.5, 56.5, 7, 8, 9, 0, 1, 2];

const fetch = (first: number, end: number): number[] => {
  const bytes = new Uint8Array((end - first) * 4);
  gatherRows(gather, bytes, first * 4);
  return [...widenToFloat32("F32", bytes)];
};

describe("gathered rows", () => {
  it("come from where they are picked, converted, averaged or filled in", () => {
    assert.deepEqual(fetch(0, EXPECTED.length), EXPECTED);
  });

  it("are the same in any pieces, whole rows or not", () => {
    for (let first = 0; first < EXPECTED.length; first++)
      for (let end = first + 1; end <= EXPECTED.length; end++) assert.deepEqual(fetch(first, end), EXPECTED.slice(first, end), `${first} to ${end}`);
  });

  it("stay in the sources' dtype where they share one", () => {
    const bytes = new Uint8Array(2 * COLUMNS * 2);
    gatherRows({ ...gather, dtype: "BF16", rows: Int32Array.of(1, 3, 1, 0), sources: SOURCES }, bytes, 0);
    assert.deepEqual([...widenToFloat32("BF16", bytes)], [109, 110, 111, 100, 101, 102]);
  });
});
