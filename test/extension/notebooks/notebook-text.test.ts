// What a new notebook begins with: cells that the reader of notebooks and those of their kinds take.
import assert from "node:assert/strict";
import { mergeFor, newNotebookText } from "../../../extension/notebooks/notebook-text.ts";
import { readCompareCell } from "../../../merge-core/cli/notebook/compare-cell.ts";
import { cellsOf, parseNotebook } from "../../../merge-core/notebook/notebook.ts";
import { parseRecipeFile } from "../../../merge-core/recipe/stages.ts";

describe("a new notebook", () => {
  it("compares the models, and merges them into their average", () => {
    const notebook = parseNotebook(newNotebookText("notes", ["./a", "./b: c", "./d"]), "notes.merge.md");
    assert.deepEqual(notebook.diagnostics, []);
    const [compare, merge] = cellsOf(notebook);
    assert.deepEqual([compare?.kind, merge?.kind, merge?.name], ["compare", "merge", "merged"]);
    assert.equal(readCompareCell(compare?.body ?? "", "/notes.merge.md").models[1], "/b: c");
    const { stages, diagnostics } = parseRecipeFile(merge?.body ?? "", "/notes.merge.md");
    assert.deepEqual([stages?.length, diagnostics], [1, []]);
    assert.match(merge?.body ?? "", /weight: 0\.333/);
  });

  it("has a merge for what was compared, without what was merged already", () => {
    const recipeOf = (comparison: Parameters<typeof mergeFor>[0]) => {
      const { stages = [], diagnostics } = parseRecipeFile(mergeFor(comparison), "/notes.merge.md");
      assert.deepEqual(diagnostics, []);
      const { recipe } = stages[0] ?? {};
      return [recipe?.method.id, recipe?.modules[0]?.slices[0]?.sources.map(({ model }) => model.text)];
    };
    assert.deepEqual(recipeOf({ base: "./base", models: ["./a", "./b", "out/ab"], merges: [2] }), ["task_arithmetic", ["./a", "./b", "./base"]]);
    assert.deepEqual(recipeOf({ models: ["out/a", "out/b"], merges: [0, 1] }), ["linear", ["out/a", "out/b"]]);
  });

  it("says where models go while there are none", () => {
    const notebook = parseNotebook(newNotebookText("notes", []), "notes.merge.md");
    assert.deepEqual([notebook.diagnostics.length, cellsOf(notebook).map(({ kind }) => kind)], [0, ["compare"]]);
  });
});
