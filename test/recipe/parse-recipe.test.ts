import assert from "node:assert/strict";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import type { Recipe } from "../../merge-core/recipe/recipe.ts";

const parse = (text: string) => parseRecipe(text, "r.yml");

/** Code, severity and place of every diagnostic, lines and columns as users count them. */
const problems = (text: string) =>
  parse(text).diagnostics.map(({ code, severity, range }) => `${severity} ${code} ${(range?.line ?? -1) + 1}:${(range?.column ?? -1) + 1}`);

function recipeOf(text: string): Recipe {
  const { recipe, diagnostics } = parse(text);
  assert.ok(recipe, diagnostics.map(formatDiagnostic).join("\n"));
  return recipe;
}

const LINEAR = `merge_method: linear
models:
  - model: a
    parameters: {weight: 0.6}
  - model: b
    parameters: {weight: 0.4}
`;
const TIES = `merge_method: ties
base_model: base
models:
  - model: a
  - model: b
parameters: {weight: 1, density: 0.5}
`;

/** One mistake each: what it is, the recipe, and the one problem that must be reported. */
const BAD: readonly (readonly [what: string, text: string, problem: string])[] = [
  ["unknown key", `${LINEAR}dtyp: float32\n`, "error unknown-key 7:1"],
  ["key of a model", LINEAR.replace("parameters: {weight: 0.6}", "weight: 0.6"), "error unknown-key 4:5"],
  ["unknown method", LINEAR.replace("linear", "liner"), "error unknown-method 1:15"],
  ["method in capitals", LINEAR.replace("linear", "Linear"), "error unknown-method 1:15"],
  ["no method", LINEAR.replace("merge_method: linear\n", ""), "error missing-key 1:1"],
  ["method that is a list", LINEAR.replace("linear", "[linear]"), "error wrong-type 1:15"],
  ["unknown parameter", LINEAR.replace("weight: 0.6", "wieght: 0.6"), "error unknown-parameter 4:18"],
  ["unknown dtype", `${LINEAR}dtype: bfloat15\n`, "error unknown-dtype 7:8"],
  ["unknown tensor_names", `${LINEAR}tensor_names: unoin\n`, "error tensor-names-unknown 7:15"],
  ["integer dtype", `${LINEAR}out_dtype: int64\n`, "error unknown-dtype 7:12"],
  ["density below 0", TIES.replace("density: 0.5", "density: -0.1"), "error parameter-range 6:34"],
  ["density above 1", TIES.replace("density: 0.5", "density: 1.5"), "error parameter-range 6:34"],
  ["density in a gradient", TIES.replace("density: 0.5", "density: [1, 0.5, -0.5]"), "error parameter-range 6:43"],
  ["weight NaN", LINEAR.replace("0.4", ".nan"), "error parameter-not-finite 6:26"],
  ["weight NaN in quotes", LINEAR.replace("0.4", '"NaN"'), "error parameter-not-finite 6:26"],
  ["weight infinite", LINEAR.replace("0.4", "-.inf"), "error parameter-not-finite 6:26"],
  ["weight that is text", LINEAR.replace("0.4", "much"), "error parameter-type 6:26"],
  ["weight that is empty", LINEAR.replace("{weight: 0.4}", "{weight: }"), "error parameter-type 6:18"],
  ["flag of 2", `${LINEAR}parameters: {normalize: 2}\n`, "error parameter-range 7:25"],
  ["empty gradient", LINEAR.replace("0.4", "[]"), "error empty-list 6:26"],
  ["condition without value", LINEAR.replace("0.4", "[{filter: mlp}]"), "error missing-key 6:27"],
  ["condition with a slip", LINEAR.replace("0.4", "[{filtre: mlp, value: 1}]"), "error unknown-key 6:28"],
  ["YAML syntax", "merge_method: [linear\nmodels:\n", "error yaml-syntax 2:1"],
  ["YAML that is no text", `merge_method: @${"x".repeat(1000)}\n`, "error yaml-syntax 1:15"],
  ["YAML tab", "merge_method: linear\nmodels:\n\t- model: a\n", "error yaml-syntax 3:1"],
  ["key twice", `${LINEAR}merge_method: ties\n`, "error duplicate-key 7:1"],
  ["two documents", `${LINEAR}---\n${LINEAR}`, "error multiple-documents 7:1"],
  ["not a map", "- a\n- b\n", "error wrong-type 1:1"],
  ["empty file", "", "error wrong-type 1:1"],
  ["no inputs", "merge_method: linear\n", "error one-of-inputs 1:1"],
  ["models and slices", `${LINEAR}slices: []\n`, "error one-of-inputs 7:1"],
  ["no models", "merge_method: linear\nmodels: []\n", "error empty-list 2:9"],
  ["models that is a map", "merge_method: linear\nmodels: {a: b}\n", "error wrong-type 2:9"],
  ["entry without model", "merge_method: linear\nmodels:\n  - parameters: {weight: 1}\n", "error missing-key 3:5"],
  ["two pluses", LINEAR.replace("model: a", "model: a+b+c"), "error model-reference 3:12"],
  ["two ats", LINEAR.replace("model: a", "model: a@b@c"), "error model-reference 3:12"],
  ["no base", TIES.replace("base_model: base\n", ""), "error missing-base 1:15"],
  ["only the base", "merge_method: ties\nbase_model: a\nmodels:\n  - model: a\nparameters: {weight: 1}\n", "error model-count 3:1"],
  ["slerp of three", "merge_method: slerp\nbase_model: c\nmodels: [{model: a}, {model: b}]\nparameters: {t: 0.5}\n", "error model-count 3:1"],
  ["passthrough of two", "merge_method: passthrough\nmodels: [{model: a}, {model: b}]\n", "error model-count 2:1"],
  ["missing weight", LINEAR.replace("    parameters: {weight: 0.4}\n", ""), "error missing-parameter 5:12"],
  ["missing t", "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n", "error missing-parameter 1:15"],
  ["no layer_range", "merge_method: passthrough\nslices:\n  - sources: [{model: a}]\n", "error missing-key 3:15"],
  ["reversed layer_range", "merge_method: passthrough\nslices:\n  - sources: [{model: a, layer_range: [4, 2]}]\n", "error layer-range 3:39"],
  ["empty layer_range", "merge_method: passthrough\nslices:\n  - sources: [{model: a, layer_range: [2, 2]}]\n", "error layer-range 3:39"],
  ["negative layer_range", "merge_method: passthrough\nslices:\n  - sources: [{model: a, layer_range: [-1, 2]}]\n", "error layer-range 3:39"],
  ["fractional layer_range", "merge_method: passthrough\nslices:\n  - sources: [{model: a, layer_range: [0, 1.5]}]\n", "error layer-range 3:39"],
  [
    "uneven slices",
    "merge_method: linear\nparameters: {weight: 1}\nslices:\n  - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 3]}]\n",
    "error layer-range 4:56",
  ],
  ["slice without sources", "merge_method: passthrough\nslices:\n  - parameters: {scale: 1}\n", "error missing-key 3:5"],
  ["both tokenizer forms", `${LINEAR}tokenizer_source: base\ntokenizer: {source: base}\n`, "error tokenizer-conflict 7:1"],
  ["odd padding", `${LINEAR}tokenizer: {pad_to_multiple_of: 0}\n`, "error wrong-type 7:33"],
  ["alias of nothing", LINEAR.replace("0.4", "*w"), "error yaml-syntax 6:26"],
  ["deep nesting", `a: ${"[".repeat(200)}`, "error yaml-syntax 1:103"],
];

describe("a recipe with one mistake", () => {
  for (const [what, text, problem] of BAD) it(`${what}: ${problem}`, () => assert.deepEqual(problems(text), [problem]));

  it("is no recipe", () => {
    for (const [what, text] of BAD) assert.equal(parse(text).recipe, undefined, what);
  });

  it("suggests the word that was meant, as an edit", () => {
    const text = LINEAR.replace("linear", "liner");
    const [diagnostic] = parse(text).diagnostics;
    assert.equal(diagnostic?.remedy, "did you mean linear?");
    const { range, text: word = "" } = diagnostic?.fix ?? {};
    assert.equal(text.slice(0, range?.offset) + word + text.slice(range?.end), LINEAR);
  });

  it("prints file, place, found, expected and remedy on one line", () => {
    const [diagnostic] = parse(TIES.replace("density: 0.5", "desnity: 0.5")).diagnostics;
    assert.ok(diagnostic);
    assert.equal(
      formatDiagnostic(diagnostic),
      "error[unknown-parameter] r.yml:6:25: ties has no parameter of this name; found desnity, expected weight, density, lambda, normalize, rescale, int8_mask, whole_vector, count_election; did you mean density?",
    );
  });

  it("tells where a misplaced weight belongs", () => {
    assert.equal(parse(LINEAR.replace("parameters: {weight: 0.6}", "weight: 0.6")).diagnostics[0]?.remedy, "write weight under parameters:");
  });
});

describe("a recipe with several mistakes", () => {
  it("has them all reported, in the order of the text", () => {
    const text = "merge_method: liner\nmodels:\n  - model: a+b+c\n    parameters: {weight: x}\ndtype: half\n";
    assert.deepEqual(problems(text), ["error unknown-method 1:15", "error model-reference 3:12", "error parameter-type 4:26", "error unknown-dtype 5:8"]);
  });
});

describe("what mergekit passes over in silence", () => {
  it("is a warning where it has no effect", () => {
    const text = `name: x\n${LINEAR}parameters: {int8_mask: true, embed_slerp: true}\n`;
    assert.deepEqual(problems(text), ["warning ignored-key 1:1", "warning ignored-parameter 8:14", "warning ignored-parameter 8:31"]);
    assert.ok(parse(text).recipe);
  });

  it("is a warning where it resembles nothing known, and a condition by such a key applies to all tensors", () => {
    const text = `description: mine\n${LINEAR.replace("0.4", "[{pattern: mlp, value: 1}]").replace("weight: 0.6", "weight: 0.6, vigour: 3")}`;
    assert.deepEqual(problems(text), ["warning unknown-key 1:1", "warning unknown-parameter 5:31", "warning ignored-key 7:28"]);
    assert.deepEqual(recipeOf(text).modules[0]?.slices[0]?.sources[1]?.parameters.get("weight")?.conditions, [{ filter: undefined, values: [1] }]);
  });

  it("covers parameters of all models written at one model", () => {
    const text = LINEAR.replace("{weight: 0.6}", "{weight: 0.6, normalize: false}");
    assert.deepEqual(problems(text), ["warning ignored-parameter 4:31"]);
    assert.equal(recipeOf(text).modules[0]?.slices[0]?.sources[0]?.parameters.has("normalize"), false);
  });

  it("covers a model listed twice, which takes part twice", () => {
    const text = LINEAR.replace("model: b", "model: a");
    assert.deepEqual(problems(text), ["warning duplicate-model 5:12"]);
    assert.equal(recipeOf(text).modules[0]?.slices[0]?.sources.length, 2);
  });
});

describe("a good recipe", () => {
  it("has its whole models in one slice", () => {
    const { method, modules, dtype, outDtype } = recipeOf(`${LINEAR}dtype: torch.bfloat16\nout_dtype: float16\n`);
    assert.deepEqual([method.id, dtype, outDtype], ["linear", "BF16", "F16"]);
    assert.deepEqual(
      modules.flatMap((m) => m.slices.map((s) => s.sources.map(({ model, layers, isBase }) => [model.text, layers, isBase]))),
      [
        [
          ["a", undefined, false],
          ["b", undefined, false],
        ],
      ],
    );
  });

  it("gets an unlisted base as one more source where the method uses one", () => {
    assert.deepEqual(
      recipeOf(TIES).modules[0]?.slices[0]?.sources.map(({ model, isBase }) => [model.text, isBase]),
      [
        ["a", false],
        ["b", false],
        ["base", true],
      ],
    );
    assert.equal(recipeOf(`${LINEAR}base_model: c\n`).modules[0]?.slices[0]?.sources.length, 2);
  });

  it("gets an unlisted base in each slice, with the layers of the first source", () => {
    const text = "merge_method: slerp\nbase_model: b\nparameters: {t: 0.5}\nslices:\n  - sources: [{model: a, layer_range: [3, 5]}]\n";
    assert.deepEqual(
      recipeOf(text).modules[0]?.slices[0]?.sources.map(({ model, isBase, layers }) => [model.text, isBase, layers]),
      [
        ["a", false, [3, 5]],
        ["b", true, [3, 5]],
      ],
    );
  });

  it("may write numbers as quotes, truth values and powers", () => {
    const text = LINEAR.replace("0.6", '"0.5"').replace("0.4", "yes").concat("parameters: {normalize: 0}\n");
    const sources = recipeOf(text).modules[0]?.slices[0]?.sources;
    assert.deepEqual(
      sources?.map(({ parameters }) => parameters.get("weight")?.conditions[0]?.values),
      [[0.5], [1]],
    );
    assert.deepEqual(recipeOf(LINEAR.replace("0.4", "4e-1")).modules[0]?.slices[0]?.sources[1]?.parameters.get("weight")?.conditions[0]?.values, [0.4]);
  });

  it("may write flags in quotes", () => {
    for (const [word, value] of [
      ['"true"', 1],
      ['"False"', 0],
      ["'off'", 0],
      ['"1"', 1],
      ["yes", 1],
    ] as const)
      assert.deepEqual(recipeOf(`${LINEAR}parameters: {normalize: ${word}}\n`).parameters.get("normalize")?.conditions, [
        { filter: undefined, values: [value] },
      ]);
  });

  it("may leave keys of other layouts empty", () => {
    assert.deepEqual(problems(`${LINEAR}slices:\nmodules: ~\nbase_model: null\n`), []);
    assert.deepEqual(problems("merge_method: linear\nmodels:\nslices: ~\n"), ["error one-of-inputs 3:1"]);
  });

  it("may give one condition without a list", () => {
    const setting = recipeOf(
      LINEAR.replace("0.4", "{filter: mlp, value: [0, 1]}").concat("parameters: {weight: 1}\n"),
    ).modules[0]?.slices[0]?.sources[1]?.parameters.get("weight");
    assert.deepEqual(setting?.conditions, [{ filter: "mlp", values: [0, 1] }]);
  });

  it("may use anchors and merge keys", () => {
    const text =
      "merge_method: linear\nmodels:\n  - &first\n    model: a\n    parameters: &p {weight: 0.5}\n  - <<: *first\n    model: b\n  - {model: c, parameters: *p}\n";
    assert.deepEqual(
      recipeOf(text).modules[0]?.slices[0]?.sources.map(({ model, parameters }) => [model.text, parameters.get("weight")?.conditions[0]?.values[0]]),
      [
        ["a", 0.5],
        ["b", 0.5],
        ["c", 0.5],
      ],
    );
  });

  it("may write references as maps, where + and @ are ordinary", () => {
    const text = LINEAR.replace("model: a", "model: {model: {path: ./a+b@c, revision: v1}, lora: {path: d}}");
    const model = recipeOf(text).modules[0]?.slices[0]?.sources[0]?.model;
    assert.deepEqual([model?.path, model?.revision, model?.lora?.path, model?.text], ["./a+b@c", "v1", "d", "./a+b@c@v1+d"]);
  });

  it("may have modules", () => {
    const text =
      "merge_method: linear\nmodules:\n  text:\n    models: [{model: a}]\n    parameters: {weight: 2}\n  vision:\n    slices: [{sources: [{model: b, layer_range: [0, 2]}]}]\nparameters: {weight: 1}\n";
    assert.deepEqual(
      recipeOf(text).modules.map(({ name, slices, parameters }) => [name, slices.length, parameters.size]),
      [
        ["text", 1, 1],
        ["vision", 1, 0],
      ],
    );
  });
});

describe("hostile recipes", () => {
  it("end quickly and without a throw when aliases multiply", () => {
    const levels = Array.from({ length: 30 }, (_, i) => `x${i}: &a${i} [${i === 0 ? "1, 1" : `*a${i - 1}, *a${i - 1}`}]`);
    const sources = "&s [{model: a, layer_range: [0, 1]}]";
    const slices = Array.from({ length: 2000 }, () => "  - sources: *many").join("\n");
    const wide = `merge_method: linear\nparameters: {weight: 1}\nslices:\n  - sources: &many [${Array.from({ length: 2000 }, () => "{model: a, layer_range: [0, 1]}").join(", ")}]\n${slices}\n`;
    assert.ok(problems(`${levels.join("\n")}\nmerge_method: linear\nmodels: ${sources}\n`).includes("warning unknown-key 1:1"));
    assert.ok(problems(wide).some((p) => p.startsWith("error recipe-too-large")));
  });

  it("end in a diagnostic when nested too deeply for the stack", () => {
    for (const text of ["[".repeat(200_000), "- ".repeat(200_000), "{a: ".repeat(200_000)])
      assert.deepEqual(
        problems(text).map((p) => p.split(" ")[1]),
        ["yaml-syntax"],
      );
  });

  it("survive keys that objects have of their own", () => {
    assert.deepEqual(problems(`${LINEAR}__proto__: 1\nconstructor: 2\n`), ["warning unknown-key 7:1", "warning unknown-key 8:1"]);
    assert.deepEqual(problems(LINEAR.replace("weight: 0.6", "weight: 0.6, toString: 1")), ["warning unknown-parameter 4:31"]);
  });
});
