import assert from "node:assert/strict";
import { type Diagnostic, formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { parseRecipeFile } from "../../merge-core/recipe/stages.ts";

const problems = (text: string): readonly Diagnostic[] => parseRecipeFile(text, "r.yml").diagnostics;

/** The text with the fix of its first problem applied. */
function mended(text: string): string {
  const { fix } = problems(text)[0] ?? {};
  assert.ok(fix, "the first problem has a fix");
  return text.slice(0, fix.range.offset) + fix.text + text.slice(fix.range.end);
}

const TIES = `merge_method: ties # a comment
base_model: ./base
models:
  - model: ./a
    parameters:
      weight: 0.5
  - model: ./b
    parameters:
      weight: 0.5
dtype: float32
`;

describe("fixes of recipes", () => {
  it("add the base, which only the user can name", () => {
    const broken = TIES.replace("base_model: ./base\n", "");
    assert.equal(mended(broken), TIES);
    assert.deepEqual(problems(broken)[0]?.fix, {
      title: "Add base_model",
      range: { line: 1, column: 0, endLine: 1, endColumn: 0, offset: 31, end: 31 },
      text: "base_model: ./base\n",
      model: "./base",
    });
  });

  it("take the first model for a base that must be one of the models", () => {
    const text = "merge_method: slerp\nmodels:\n  - model: ./a\n  - model: ./b\nparameters:\n  t: 0.5\n";
    assert.equal(mended(text), text.replace("slerp\n", "slerp\nbase_model: ./a\n"));
    assert.equal(problems(text)[0]?.fix?.model, undefined);
  });

  it("add a parameter to a model without parameters, several lines at once", () => {
    const broken = TIES.replace("  - model: ./b\n    parameters:\n      weight: 0.5\n", "  - model: ./b\n");
    assert.equal(mended(broken), TIES);
  });

  it("add a parameter under the parameters a model has, as far in as they are", () => {
    const broken = TIES.replace("  - model: ./a\n    parameters:\n      weight: 0.5\n", "  - model: ./a\n    parameters:\n          density: 0.5\n");
    assert.equal(mended(broken), broken.replace("    parameters:\n          density", "    parameters:\n          weight: 0.5\n          density"));
  });

  it("do not take the parameters of the next model for those of one", () => {
    const broken = TIES.replace("    parameters:\n      weight: 0.5\n  - model: ./b", "  - model: ./b");
    assert.equal(mended(broken), TIES);
  });

  it("add a parameter of all models to the recipe, which may lack its last line end", () => {
    const text = "merge_method: slerp\nbase_model: ./a\nmodels:\n  - model: ./a\n  - model: ./b";
    assert.equal(mended(text), `${text}\nparameters:\n  t: 1`);
    const known = `${text}\nparameters: # mine\n    # more\n`;
    assert.equal(mended(known), `${text}\nparameters: # mine\n  t: 1\n    # more\n`);
  });

  it("are left out where the text is laid out in another way", () => {
    assert.equal(problems("{merge_method: ties, models: [{model: a, parameters: {weight: 1}}]}")[0]?.fix, undefined);
    assert.equal(problems("merge_method: ties\nbase_model: b\nmodels: [{model: a}]\n")[0]?.fix, undefined);
    assert.equal(problems("merge_method: linear\nmodels:\n  - model: a\n    parameters: {}\n")[0]?.fix, undefined);
  });

  it("switch normalisation where weights need it, or cannot have it", () => {
    const linear = (a: number, b: number, more = "") =>
      `merge_method: linear\nmodels:\n  - model: a\n    parameters:\n      weight: ${a}\n  - model: b\n    parameters:\n      weight: ${b}\n${more}`;
    const scaled = linear(1, 0.4, "parameters:\n  normalize: false\n");
    assert.deepEqual(
      problems(scaled).map(({ code, severity, found }) => [code, severity, found]),
      [["weights-not-normalized", "warning", "weights 1, 0.4, which sum to 1.4"]],
    );
    assert.equal(mended(scaled), scaled.replace("false", "true"));
    assert.deepEqual(problems(linear(0.6, 0.4, "parameters: {normalize: false}\n")), []);
    assert.deepEqual(problems(linear(1, 0.4)), []);
    const zero = linear(1, -1);
    assert.equal(problems(zero)[0]?.code, "weights-sum-to-zero");
    assert.equal(mended(zero), `${zero}parameters:\n  normalize: false\n`);
  });

  it("stay within their own recipe of a file of several", () => {
    const broken = TIES.replace("base_model: ./base\n", "");
    const first = "name: one\nmerge_method: linear\nmodels:\n  - model: ./a\n    parameters:\n      weight: 1\n---\n";
    assert.equal(mended(first + broken), first + TIES);
  });

  it("are shown by the command line as the lines to add", () => {
    const [problem] = problems(TIES.replace("base_model: ./base\n", ""));
    assert.ok(problem);
    assert.match(formatDiagnostic(problem), /add base_model to the recipe\n {2}fix: insert before line 2\n {4}base_model: \.\/base$/);
  });
});
