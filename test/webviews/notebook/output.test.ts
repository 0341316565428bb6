// Outputs of cells and the Markdown around them, as elements.
import assert from "node:assert/strict";
import { Window } from "happy-dom";
import { type CellOutput, type EvalOutput, markdownTable, outputTable } from "../../../merge-core/notebook/cell-output.ts";
import { markdown } from "../../../webviews/notebook/markdown.ts";
import { outputElement, scoreHeatmap } from "../../../webviews/notebook/output.ts";
import { randomFront } from "../../helpers/fronts.ts";

const SCORES: EvalOutput = {
  kind: "eval",
  metrics: [
    { name: "exact_match", direction: "max", share: true },
    { name: "loss", direction: "min", share: false },
  ],
  models: [
    { name: "../a", values: [0.25, 1.5] },
    { name: "b|c", values: [Number.NaN, 0.125] },
  ],
};

describe("notebook outputs", () => {
  const window = new Window();
  const names = ["window", "document", "ResizeObserver", "MutationObserver", "getComputedStyle", "ShadowRoot"] as const;
  const outside = Object.fromEntries(names.map((name) => [name, (globalThis as Record<string, unknown>)[name]]));
  before(() => Object.assign(globalThis, Object.fromEntries(names.map((name) => [name, (window as unknown as Record<string, unknown>)[name]]))));
  after(() => Object.assign(globalThis, outside));
  const html = (source: string) =>
    markdown(source)
      .map((block) => block.outerHTML)
      .join("\n");

  it("draw shares on one scale, and tell other measures as numbers", () => {
    const map = scoreHeatmap(SCORES, [0]);
    assert.deepEqual([map.columns, map.rows.map(({ values }) => values)], [["exact_match"], [[0.25], [Number.NaN]]]);
    const text = outputElement(SCORES).textContent ?? "";
    assert.match(text, /1\.5/);
  });

  it("tell a metric that all columns have once", () => {
    const metrics = ["exact_match sort", "exact_match add"].map((name) => ({ name, direction: "max" as const, share: true }));
    const map = scoreHeatmap({ ...SCORES, metrics }, [0, 1]);
    assert.deepEqual([map.label, map.columns], ["exact_match, in percent", ["sort", "add"]]);
  });

  it("survive being written as JSON, with what is missing as nothing", () => {
    const read = JSON.parse(JSON.stringify(SCORES)) as EvalOutput;
    assert.deepEqual(outputTable(read).rows, [
      ["../a", "0.25", "1.5"],
      ["b|c", "", "0.125"],
    ]);
    assert.ok(outputElement(read).textContent);
  });

  it("are tables in Markdown for editors that draw none", () => {
    assert.equal(markdownTable(outputTable(SCORES)), "| model | exact_match | loss |\n| --- | --- | --- |\n| ../a | 0.25 | 1.5 |\n| b\\|c |  | 0.125 |");
  });

  it("tell a problem with its place, as text and never as HTML", () => {
    const range = { line: 4, column: 2, endLine: 4, endColumn: 3, offset: 0, end: 1 };
    const problem: CellOutput = {
      kind: "problem",
      diagnostics: [{ code: "x", severity: "error", message: "<b>no</b>", file: "n.merge.md", range, found: "1", remedy: "mend it" }],
    };
    const shown = outputElement(problem);
    assert.match(shown.textContent ?? "", /n\.merge\.md:5:3: <b>no<\/b>; found 1; mend it/);
  });

  it("show training by its curves", () => {
    const records = [1, 2].map((step) => ({ step, loss: 2 / step, lr: 1e-3, gradNorm: 1, tokensPerSecond: 100 }));
    const shown = outputElement({ kind: "train", out: "n.out/a", steps: 2, parameters: 1000, trainLoss: 1, seconds: 3, records });
    assert.equal(shown.querySelectorAll("figure").length, 4, "there is no validation loss");
  });

  it("of searches offer what the editor can do, and nothing where there is none", () => {
    const output: CellOutput = { kind: "pareto", out: "n.out/front/pareto.json", front: randomFront(12, 2) };
    const asked: unknown[] = [];
    const tools = {
      recipeAt: async () => "recipe",
      writeMerge: async (coefficients: readonly number[]) => {
        asked.push(coefficients);
        return "made";
      },
      evaluate: async () => undefined,
    };
    const toolsOf = (front: string) => {
      asked.push(front);
      return tools;
    };
    const host = { tools: toolsOf, choice: () => ({ chosen: "sample-1" }), keep: () => undefined, compared: () => ({}) };
    const buttons = (shown: HTMLElement) => [...shown.querySelectorAll("button")].filter(({ textContent }) => textContent === "Write This Merge");
    assert.equal(buttons(outputElement(output)).length, 0);
    buttons(outputElement(output, host)).at(-1)?.click();
    assert.deepEqual(asked, ["n.out/front/pareto.json", output.front.points.find(({ id }) => id === "sample-1")?.coefficients]);
  });

  it("stand between Markdown that becomes elements, with its markup as text where it is not known", () => {
    assert.equal(
      html("# A *b*\n\nOne `c<d` and\n**two**.\n\n- x\n- y\n  z\n"),
      "<h1>A <em>b</em></h1>\n<p>One <code>c&lt;d</code> and <strong>two</strong>.</p>\n<ul><li>x</li><li>y z</li></ul>",
    );
    assert.equal(html("````\n```yaml merge\n```\n````\n"), "<pre>```yaml merge\n```</pre>");
    assert.equal(html("<script>x</script> snake_case_name 2*3*4"), "<p>&lt;script&gt;x&lt;/script&gt; snake_case_name 2*3*4</p>");
    assert.equal(html("[w](https://a.b) [j](javascript:x)"), '<p><a href="https://a.b">w</a> j</p>');
    assert.match(html("| a | b |\n|---|---|\n| 1 | 2 |"), /<td>1<\/td><td>2<\/td>/);
    assert.equal(html("> said\n> so"), "<blockquote><p>said so</p></blockquote>");
  });
});
