// Pages that commands write, in a browser alone: light, dark and in forced colours, wide and narrow, with the usual and with what is
// hard to draw. Pictures are left beside this file.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import type { AlignPage, HeadsPage } from "../../merge-core/cli/weights-page.ts";
import type { CellOutput } from "../../merge-core/notebook/cell-output.ts";
import type { NotebookReport } from "../../merge-core/notebook/report.ts";
import { sampleResults } from "../helpers/demo-results.ts";
import { seriousViolations } from "./axe.ts";
import { openReport } from "./bare-page.ts";
import { COMPARISONS, FRONTS, RUNS } from "./page-fixtures.ts";
import { launchBrowser } from "./workbench.ts";

const SHOTS = join(import.meta.dirname, "screenshots", "reports");
const LONG = "very-long-name-".repeat(13);

const notebook = (outputs: readonly CellOutput[]): NotebookReport => ({
  weightsmith: "0.0.0",
  name: "notes.merge.md",
  blocks: [
    { kind: "markdown", source: "# Notes\n\nSome *text*, a [link](https://example.org) and a table.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n" },
    ...outputs.map((output, i) => ({ kind: "merge" as const, name: `cell-${i}`, body: "merge_method: ties\n", output })),
    { kind: "merge", name: "waiting", body: "merge_method: linear\n" },
  ],
});

const frontOf = (name: keyof typeof FRONTS): CellOutput => {
  const state = FRONTS[name];
  if (state.kind !== "front") throw new Error(`${name} is no front`);
  return { kind: "pareto", out: "notes.out/front/pareto.json", front: state.file };
};
const scores = (names: readonly string[], value: number): CellOutput => ({
  kind: "eval",
  metrics: ["exact_match", "loss"].map((name) => ({ name, direction: "max", share: name === "exact_match" })),
  models: names.map((name) => ({ name, values: [value, value] })),
});
const trained = (name: keyof typeof RUNS): CellOutput => ({
  ...{ kind: "train", out: "notes.out/lora", steps: 300, parameters: 4096, trainLoss: 0.5, seconds: 12 },
  records: RUNS[name].trainings[0]?.records ?? [],
});
const compared = (name: keyof typeof COMPARISONS): CellOutput => ({ kind: "compare", comparison: COMPARISONS[name].comparison });

const align: AlignPage = {
  ...{ kind: "align", weightsmith: "0.0.0", a: "./a", b: "./b", out: "./aligned", sweeps: 3, distance: { before: 2.5, after: 1.2 } },
  groups: Array.from({ length: 12 }, (_, i) => ({ group: `model.layers.${i}.mlp`, size: 64, moved: 5 * i, before: 1, after: 1 + i })),
  singular: { total: [{ gamma: 0.3, before: 0.1, after: 0.6 }], tensors: [] },
  line: {
    before: { losses: Array.from({ length: 11 }, (_, i) => 1 + 4 * Math.sin((Math.PI * i) / 10)), barrier: 4 },
    after: { losses: Array.from({ length: 11 }, (_, i) => 1 + 0.2 * Math.sin((Math.PI * i) / 10)), barrier: 0.2 },
  },
};
function heads(layers: number, units: number): HeadsPage {
  const cosine = (layer: number, unit: number) => 0.5 + 0.4 * Math.sin(layer * 1.3 + unit);
  const best = Array.from({ length: layers }, (_, layer) =>
    layer === 0 ? [] : Array.from({ length: units }, (__, unit) => ({ layer, unit, from: { layer: layer - 1, unit: 0 }, cosine: cosine(layer, unit) })),
  );
  const means = Array.from({ length: layers }, (_, layer) => Array.from({ length: layer }, (__, other) => cosine(layer, other)));
  const pairs = best.flat().filter((pair) => pair.cosine > 0.8);
  return { kind: "heads", weightsmith: "0.0.0", model: "./model", parameters: { before: 1e6, after: 9e5 }, pairs, similarity: { best, layers: means } };
}

const PAGES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  report: { usual: sampleResults() },
  weights: {
    aligned: align,
    "aligned, nothing measured": { ...align, groups: [], line: undefined, singular: undefined, a: LONG, b: LONG },
    heads: heads(12, 8),
    "60 layers": heads(60, 32),
    "one layer": heads(1, 4),
  },
  comparison: { usual: COMPARISONS.usual.comparison },
  pareto: { usual: FRONTS.usual.kind === "front" ? FRONTS.usual.file : undefined },
  notebook: {
    usual: notebook([
      { kind: "merge", out: "notes.out/both", tensors: 20, bytes: 1e6, seconds: 2, warnings: [{ code: "x", severity: "warning", message: "mind this" }] },
      compared("usual"),
      scores(["a", "b"], 0.5),
      frontOf("usual"),
      trained("usual"),
      { kind: "problem", diagnostics: [{ code: "x", severity: "error", message: "no such model", file: "notes.merge.md", remedy: "name another" }] },
    ]),
    empty: notebook([compared("no models"), scores([], 0), frontOf("no points")]),
    "one of each": notebook([compared("one model"), scores(["a"], 0.5), frontOf("one point"), trained("one step")]),
    "missing numbers": notebook([compared("missing numbers"), scores(["a", "b"], Number.NaN), frontOf("missing numbers"), trained("missing numbers")]),
    many: notebook([compared("40 models"), compared("200 layers"), frontOf("10,000 points")]),
    "long names": notebook([compared("long names"), scores([`1${LONG}`, `2${LONG}`], 0.5), frontOf("long names")]),
  },
};

describe("written pages", function () {
  this.timeout(120_000);
  let browser: Browser;
  before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    browser = await launchBrowser();
  });
  after(() => browser?.close());

  for (const [name, fixtures] of Object.entries(PAGES))
    for (const [fixture, data] of Object.entries(fixtures))
      for (const theme of ["light", "dark", "high-contrast"] as const)
        for (const width of fixture === "usual" ? [1100, 320] : [theme === "light" ? 1100 : 320])
          it(`${name} with ${fixture} in ${theme} at ${width} pixels`, async () => {
            const page = await openReport(browser, name, data, { theme, width });
            const failures: string[] = [];
            page.on("pageerror", (error) => failures.push(String(error)));
            await page.screenshot({ path: join(SHOTS, `${name}-${fixture.replaceAll(/\W+/g, "-")}-${theme}-${width}.png`), fullPage: true });
            assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, "the page does not scroll sideways");
            assert.doesNotMatch(await page.locator("body").innerText(), /\bNaN\b|undefined|\[object/);
            assert.equal(await page.locator("svg [d*=NaN], svg [x*=NaN], svg [transform*=NaN]").count(), 0);
            assert.deepEqual(await seriousViolations(page), []);
            assert.deepEqual(failures, []);
            await page.context().close();
          });
});
