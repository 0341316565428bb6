import assert from "node:assert/strict";
import { fits, fitsPattern, patternProblem } from "../../merge-core/recipe/tensor-pattern.ts";

const NAME = "model.layers.12.mlp.up_proj.weight";
const fitting = (patterns: readonly string[]) => patterns.filter((pattern) => fitsPattern(pattern, NAME));

describe("patterns for tensor names", () => {
  it("are parts of names if they are plain text, letters that mean something elsewhere included", () => {
    assert.deepEqual(fitting(["mlp", ".mlp.", "MLP", "m.p", "*", "mlp*", "layers.1", ""]), ["mlp", ".mlp.", "*", "layers.1", ""]);
  });

  it("fit whole names after glob:", () => {
    const yes = [
      "glob:*",
      "glob:*.mlp.*",
      "glob:model.layers.1[0-3].*",
      "glob:*.{up,gate}_proj.weight",
      "glob:model.layers.??.mlp.up_proj.weight",
      "glob:*[!s]",
    ];
    const no = ["glob:mlp", "glob:*.mlp", "glob:model.layers.?.*", "glob:*.{down,gate}_proj.weight", "glob:*.[!m]lp.*", "glob:model+*", "glob:*.weigh."];
    assert.deepEqual(fitting([...yes, ...no]), yes);
  });

  it("fit any part of names after re:", () => {
    const yes = ["re:mlp", "re:^model\\.layers\\.(1[0-5]|2\\d)\\.", "re:(up|gate)_proj", "re:weight$"];
    const no = ["re:^mlp", "re:layers\\.(\\d)\\.", "re:Mlp"];
    assert.deepEqual(fitting([...yes, ...no]), yes);
  });

  it("may exclude", () => {
    assert.equal(fits({ filter: "mlp", exclude: ["glob:*.13.*"] }, NAME), true);
    assert.equal(fits({ filter: "mlp", exclude: ["down", "re:\\.12\\."] }, NAME), false);
    assert.equal(fits({ filter: undefined, exclude: ["mlp"] }, NAME), false);
  });

  it("are refused where they are no expressions, or could take forever", () => {
    for (const good of ["mlp(", "[", "glob:a[0-9]", "glob:a]b", "re:(a|b)c", "re:a+b*", "re:[+*]+", "re:\\(a+\\)+"])
      assert.equal(patternProblem(good), undefined, good);
    for (const bad of [
      "re:(",
      "re:[",
      "re:(a+)+",
      "re:(a|b)*c",
      "re:((a*)b)+",
      "re:(a)\\1",
      "re:a*b*c*d*",
      "glob:*a*b*c*d*e*",
      "glob:{a,b",
      "glob:[z-a]",
      `re:${"a".repeat(500)}`,
    ])
      assert.ok(patternProblem(bad), bad);
  });

  it("end soon for any accepted expression", () => {
    const name = "a".repeat(80);
    for (const pattern of ["re:a*a*a*$b", "re:.*.*.*x", "glob:*a*a*a*a*b", "glob:**?**?**b"]) {
      assert.equal(patternProblem(pattern), undefined);
      const started = performance.now();
      assert.equal(fitsPattern(pattern, name), false);
      assert.ok(performance.now() - started < 2000, pattern);
    }
  });
});
