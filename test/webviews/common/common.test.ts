// What all pages share.
import assert from "node:assert/strict";
import { target } from "../../../webviews/common/cursor.ts";
import { toCsv, toJson } from "../../../webviews/common/export.ts";

describe("export", () => {
  it("quotes what separates fields, and keeps formulas text", () => {
    const csv = toCsv({
      header: ["a", "b"],
      rows: [
        ['x "y", z', "1.5"],
        ["=SUM(A1)", "-0.5"],
        ["@cmd", "two\nlines"],
        ["-x", "–"],
      ],
    });
    assert.equal(csv, 'a,b\r\n"x ""y"", z",1.5\r\n\'=SUM(A1),-0.5\r\n\'@cmd,"two\nlines"\r\n\'-x,–\r\n');
  });

  it("writes NaN as null", () => {
    assert.deepEqual(JSON.parse(toJson({ values: [Number.NaN, 1] })), { values: [null, 1] });
  });
});

describe("cursor", () => {
  // Two rows of three, the middle of the second missing.
  const marks = [
    [0, 0],
    [0, 1],
    [0, 2],
    [1, 0],
    [1, 2],
  ].map(([row = 0, column = 0]) => ({ mark: `${row}${column}`, place: [row, column] as const }));
  const go = (from: readonly [number, number] | undefined, key: string) => target(marks, from, key)?.mark;

  it("moves along rows and columns, over gaps, and stays at the ends", () => {
    assert.equal(go([0, 0], "ArrowRight"), "01");
    assert.equal(go([1, 0], "ArrowRight"), "12");
    assert.equal(go([0, 2], "ArrowDown"), "12");
    assert.equal(go([0, 2], "ArrowRight"), "02");
    assert.equal(go([1, 2], "ArrowUp"), "02");
  });

  it("goes to the first and the last, and begins at the first", () => {
    assert.deepEqual([go([1, 2], "Home"), go([0, 0], "End"), go(undefined, "ArrowDown")], ["00", "12", "00"]);
    assert.equal(target([], undefined, "ArrowDown"), undefined);
  });
});
