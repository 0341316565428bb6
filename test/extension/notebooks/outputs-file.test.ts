// What is kept beside a notebook, and for which cells it is shown again.
import assert from "node:assert/strict";
import { outputsPath, readOutputs, writeOutputs } from "../../../extension/notebooks/outputs-file.ts";
import { isFaithful, runnable } from "../../../extension/notebooks/runnable.ts";
import type { CellOutput } from "../../../merge-core/notebook/cell-output.ts";
import { type EditorCell, editorCells } from "../../../merge-core/notebook/editor-cells.ts";

const OUTPUT: CellOutput = { kind: "eval", metrics: [{ name: "loss", direction: "min", share: false }], models: [{ name: "a", values: [0.5] }] };

describe("kept outputs", () => {
  it("lie beside the notebook", () => {
    assert.equal(outputsPath("/x/notes.merge.md"), "/x/notes.merge.outputs.json");
  });

  it("come back for a cell with the same text, whatever its line ends, and for no other", () => {
    const find = readOutputs(writeOutputs([{ text: "a: 1\nb: 2", output: OUTPUT }]));
    assert.deepEqual(find("a: 1\r\nb: 2"), OUTPUT);
    assert.equal(find("a: 1\nb: 3"), undefined);
  });

  it("are none in a file that is another's, or no JSON", () => {
    for (const text of ["", "{", "{}", "[]", "null", '{"format":"weightsmith-notebook-outputs","version":2,"cells":[{}]}'])
      assert.equal(readOutputs(text)("a"), undefined, text);
  });
});

describe("a cell to run", () => {
  const cells = editorCells("# T\n\n```yaml merge a\nx: 1\n```\n\ntext\n\n```yaml eval\ny: 2\n```\n");

  it("is counted among those that run", () => {
    assert.deepEqual(
      cells.flatMap((cell, i) => (cell.kind === "markdown" ? [] : runnable(cells, i).number)),
      [1, 2],
    );
  });

  it("is refused where text would be read as other cells", () => {
    const odd: EditorCell[] = [{ kind: "markdown", value: "```yaml merge\nx: 1\n```" }, ...cells];
    assert.equal(isFaithful(cells, runnable(cells, 1).text), true);
    assert.equal(isFaithful(odd, runnable(odd, 2).text), false);
  });
});
