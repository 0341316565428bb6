// Notebooks as text: cells found where they are, and every file given back byte for byte.
import assert from "node:assert/strict";
import { type EditorCell, editorCells, guessKind, textOfCells } from "../../merge-core/notebook/editor-cells.ts";
import { cellsOf, inNotebook, notebookText, parseNotebook } from "../../merge-core/notebook/notebook.ts";
import { referencesIn, resolveReferences } from "../../merge-core/notebook/references.ts";

const SAMPLE = "# Title\n\n```yaml merge soup\nmerge_method: linear\n```\n\nText\n\n~~~ yaml eval\nmodel: $soup\n~~~\n```yaml\nnot: a cell\n```\n";

/** A small generator of its own, so that the same files are made each time. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const LINES = [
  "",
  "text",
  "```yaml merge",
  "```yaml merge a",
  "```yaml compare  b ",
  "````yaml eval",
  "~~~yaml pareto",
  "```",
  "````",
  "~~~",
  "```yaml",
  "   ```yaml train",
  "    ```",
  "merge_method: x",
  "  - model: $a",
  "# é",
  "\uFEFFx",
  "``` yaml merge ` x",
  "\t",
  "---",
];

function randomText(seed: number): string {
  const next = random(seed);
  const end = next() < 0.4 ? "\r\n" : "\n";
  const count = Math.floor(next() * 14);
  const lines = Array.from({ length: count }, () => LINES[Math.floor(next() * LINES.length)] ?? "");
  return lines.join(end) + (next() < 0.7 ? end : "");
}

describe("notebook text", () => {
  it("finds cells with kind, name and place", () => {
    const cells = cellsOf(parseNotebook(SAMPLE, "n.merge.md"));
    assert.deepEqual(
      cells.map(({ kind, name, body, line, offset }) => [kind, name, body, line, SAMPLE.slice(offset, offset + 5)]),
      [
        ["merge", "soup", "merge_method: linear\n", 3, "merge"],
        ["eval", "eval-1", "model: $soup\n", 9, "model"],
      ],
    );
  });

  it("takes what stands in another fence for text", () => {
    const { blocks } = parseNotebook("````\n```yaml merge\n```\n````\n", "n");
    assert.deepEqual(
      blocks.map(({ kind }) => kind),
      ["markdown"],
    );
    const [cell] = cellsOf(parseNotebook("````yaml merge\n```\nx\n````\n", "n"));
    assert.equal(cell?.body, "```\nx\n");
  });

  it("tells of a cell without an end, and of names that are none or are taken", () => {
    const { diagnostics, blocks } = parseNotebook("```yaml merge a\n```\n```yaml merge a\n```\n```yaml eval ../x\n```\n```yaml merge\nm: 1", "n.merge.md");
    assert.deepEqual(
      diagnostics.map(({ code, range }) => [code, range?.line]),
      [
        ["notebook-cell-name", 2],
        ["notebook-cell-name", 4],
        ["notebook-unclosed-cell", 6],
      ],
    );
    assert.equal(blocks.length, 4);
  });

  it("writes any file back byte for byte, through blocks and through an editor's cells", () => {
    for (let seed = 0; seed < 3000; seed++) {
      const text = randomText(seed);
      assert.equal(notebookText(parseNotebook(text, "n")), text, `blocks, seed ${seed}`);
      assert.equal(textOfCells(editorCells(text)), text, `cells, seed ${seed}`);
    }
  });

  it("changes only the cell that was edited", () => {
    const text = SAMPLE.replaceAll("\n", "\r\n");
    const cells = editorCells(text).map((cell): EditorCell => (cell.kind === "merge" ? { ...cell, value: "merge_method: ties\nx: 1" } : cell));
    assert.equal(textOfCells(cells), text.replace("merge_method: linear", "merge_method: ties\r\nx: 1"));
  });

  it("keeps new, moved and removed cells apart, with a fence that their text does not close", () => {
    const cells = editorCells("A\n\n```yaml merge\nx: 1\n```\n\nB");
    const added: EditorCell[] = [{ kind: "eval", name: "e", value: "a: |\n```\n" }, ...cells.toReversed()];
    const text = textOfCells(added);
    assert.equal(text, "````yaml eval e\na: |\n```\n\n````\n\nB\n\n```yaml merge\nx: 1\n```\n\nA\n\n");
    assert.deepEqual(
      editorCells(text).map(({ kind, value }) => [kind, value]),
      [
        ["eval", "a: |\n```\n"],
        ["markdown", "B"],
        ["merge", "x: 1"],
        ["markdown", "A"],
      ],
    );
  });

  it("writes another kind or name of a cell into its opening line", () => {
    const [cell] = editorCells("```yaml merge a\nx: 1\n```\n");
    assert.ok(cell);
    assert.equal(textOfCells([{ ...cell, kind: "train", name: "b" }]), "```yaml train b\nx: 1\n```\n");
  });

  it("guesses the kind of a new cell by its keys", () => {
    const texts = [
      "merge_method: ties",
      "base: a\nmodels: [b]",
      "model: a\ndata: x.jsonl\nmetrics: [loss]",
      "base: a\nobjectives: []",
      "model: a\nmethod: lora\ndata: {}",
    ];
    assert.deepEqual(texts.map(guessKind), ["merge", "compare", "eval", "pareto", "train"]);
  });

  it("moves a cell's problems to their places in the file", () => {
    const [cell] = cellsOf(parseNotebook(SAMPLE, "n.merge.md"));
    assert.ok(cell);
    const range = { line: 0, column: 14, endLine: 0, endColumn: 20, offset: 14, end: 20 };
    const moved = inNotebook({ code: "x", severity: "error", message: "m", file: "n.merge.md", range }, cell, "n.merge.md");
    assert.equal(SAMPLE.slice(moved.range?.offset, moved.range?.end), "linear");
    assert.equal(SAMPLE.split("\n")[moved.range?.line ?? 0], "merge_method: linear");
    const placeless = inNotebook({ code: "x", severity: "error", message: "m" }, cell, "n.merge.md");
    assert.equal(placeless.range?.line, 2);
    assert.equal(inNotebook({ code: "x", severity: "error", message: "m", file: "other.jsonl" }, cell, "n.merge.md").file, "other.jsonl");
  });
});

describe("references to cells", () => {
  it("are values that begin with $ and a name", () => {
    const text = 'a: $soup\nlist: ["$soup/x", $other+lora, "a $b"]\n$key: 1\n';
    assert.deepEqual(
      referencesIn(text).map(({ name, range }) => [name, text.slice(range.offset, range.end)]),
      [
        ["soup", "$soup"],
        ["soup", '"$soup/x"'],
        ["other", "$other+lora"],
      ],
    );
  });

  it("become paths, and everything else stays", () => {
    const text = "a: $soup # why\nb: [ $soup/x,  1 ]\nc: $none\n";
    const { text: resolved, diagnostics } = resolveReferences(text, (name) =>
      name === "soup" ? 'C:\\o "ut"' : { code: "none", severity: "error", message: `no ${name}` },
    );
    assert.equal(resolved, 'a: "C:\\\\o \\"ut\\"" # why\nb: [ "C:\\\\o \\"ut\\"/x",  1 ]\nc: $none\n');
    assert.deepEqual(
      diagnostics.map(({ code, range }) => [code, range?.line]),
      [["none", 2]],
    );
  });
});
