// Notebooks in the real editor: a sample opened, run, changed, saved, interrupted, and brought back with its outputs.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { seriousViolations } from "./axe.ts";
import { type Server, startServer } from "./server.ts";
import {
  choose,
  command,
  confirm,
  exportAll,
  launchBrowser,
  missingColours,
  openFile,
  openWorkbench,
  outputQuestion,
  quickInput,
  saved,
  setTheme,
  WAIT_MS,
  webview,
} from "./workbench.ts";

const SHOTS = join(import.meta.dirname, "screenshots");
const objective = (task: string) => `  - { name: ${task}, metric: loss, data: ../data/${task}.validation.jsonl, limit: 4 }\n`;
/** A search that takes seconds. */
const FRONT = `# Front\n\n\`\`\`yaml pareto front\nbase: ../base\nmodels: [../sort, ../shift]\nrange: [0, 1]\nobjectives:\n${objective("sort")}${objective("shift")}samples: 8\nfront: 2\n\`\`\`\n`;
const COMPARE = "# Two\n\n```yaml compare\nbase: ../base\nmodels: [../sort, ../shift]\n```\n";
const LONG = `# Long\n\n\`\`\`yaml train long\nmodel: ../base\ndata: { train: ../data/sort.validation.jsonl }\nmethod: full\nsteps: 100000\nbatch_size: 4\n\`\`\`\n`;

/** The first value of the metric in what the command prints. */
const exactMatch = (json: string): number => Number(/"exact_match[^"]*": ([\d.e-]+)/.exec(json)?.[1]);

describe("notebooks", function () {
  this.timeout(120_000);
  let browser: Browser;
  let server: Server;
  let page: Page;
  const shot = (name: string) => page.screenshot({ path: join(SHOTS, `notebook-${name}.png`) });
  const place = (name: string) => join(server.workspace, "zoo", "notebooks", name);
  const cell = (text: string) => page.locator(".code-cell-row", { hasText: text }).first();
  /** Deletes the last line of the cell that the cursor is in. */
  const takeLineBack = async () => {
    const before = readFileSync(place("first-merge.merge.md"), "utf8");
    for (const key of ["Control+End", "Shift+Home", "Delete", "Backspace", "Control+S"]) await page.keyboard.press(key);
    await saved(place("first-merge.merge.md"), before);
    await page.locator(".squiggly-warning, .squiggly-error").first().waitFor({ state: "detached" });
  };
  /** A file's text, once the editor has saved what it is to hold. */
  const whenIn = async (name: string, what: RegExp) => {
    const text = () => readFileSync(place(name), "utf8");
    for (const end = Date.now() + WAIT_MS; Date.now() < end && !what.test(text()); ) await page.waitForTimeout(100);
    assert.match(text(), what);
    return text();
  };
  /** By its button, which lies beside the cell. */
  const press = async (text: string, icon: string) => {
    await cell(text).hover();
    await cell(text).locator(`.run-button-container .codicon-notebook-${icon}`).click();
  };

  before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    browser = await launchBrowser();
    server = await startServer({ vsix: process.env.VSIX ?? "weightsmith.vsix" });
    cpSync("media/zoo", join(server.workspace, "zoo"), { recursive: true });
    writeFileSync(place("long.merge.md"), LONG);
    writeFileSync(place("front.merge.md"), FRONT);
    writeFileSync(place("compare-only.merge.md"), COMPARE);
    page = await openWorkbench(browser, server.url());
    // Notebooks hold only what is in view.
    await page.setViewportSize({ width: 1280, height: 2600 });
  });
  afterEach(async function () {
    if (this.currentTest?.isFailed()) await shot(`failed ${this.currentTest.title}`.replaceAll(/[^\w]+/g, "-").slice(0, 80));
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  it("opens a sample as text and cells that say what they do", async () => {
    await openFile(page, "first-merge.merge.md");
    // What wakes the extension.
    await page.locator(".cell-statusbar-container", { hasText: "eval experts" }).first().waitFor({ timeout: 60_000 });
    await webview(page, "h1:has-text('A first merge')");
    await shot("open");
  });

  it("runs a cell, and draws its scores", async () => {
    await press("models: [../base", "execute");
    const frame = await webview(page, '[data-testid="eval"] .heatmap');
    const scores = await frame.locator('[data-testid="eval"] .cell text').allTextContents();
    assert.ok(scores.length === 6 && Number(scores[2]) > 90 && Number(scores[3]) < 50, scores.join());
    const data = join(server.workspace, "zoo", "data", "sort.test.jsonl");
    const args = ["dist/weightsmith.js", "eval", "media/zoo/sort", "--data", data, "--metric", "exact_match", "--limit", "60", "--json", "--quiet"];
    assert.equal(scores[2], (100 * exactMatch(execFileSync(process.execPath, args, { encoding: "utf8" }))).toFixed(1), "as on the command line");
    await shot("scores");
  });

  it("saves a picture and its numbers from an output", async () => {
    // The editor opens what it has saved.
    const back = async () => {
      await openFile(page, "first-merge.merge.md");
      return (await webview(page, '[data-testid="eval"] .heatmap')).locator('[data-testid="eval"] figure').first();
    };
    await exportAll(page, back, place("."), "scores");
    assert.match(readFileSync(place("scores.csv"), "utf8"), /^model,exact_match sort\.test,exact_match reverse\.test\r\n\.\.\/base,/);
    await back();
  });

  it("runs all cells, each with what those before it made", async () => {
    await command(page, "Notebook: Run All");
    const frame = await webview(page, '[data-testid="merge"] table');
    await frame.locator('[data-testid="eval"]', { hasText: "first-merge.out/both" }).first().waitFor({ timeout: 60_000 });
    assert.ok(existsSync(place("first-merge.out/both/model.safetensors")));
    await shot("all");
  });

  it("saves a changed cell and nothing else of the file", async () => {
    const before = readFileSync(place("first-merge.merge.md"), "utf8");
    await cell("merge_method").locator(".view-lines").first().click();
    await page.keyboard.press("Control+End");
    await page.keyboard.type(" # checked");
    await page.keyboard.press("Control+S");
    await saved(place("first-merge.merge.md"), before.replace("dtype: bfloat16", "dtype: bfloat16 # checked"));
  });

  it("underlines what is wrong in a recipe", async () => {
    await page.keyboard.type("\nmerge_methodd: x");
    await cell("merge_method").locator(".squiggly-warning, .squiggly-error").first().waitFor();
    await shot("mistake");
    await takeLineBack();
  });

  it("completes and explains what is written in a cell", async () => {
    await page.keyboard.type("\ntokenizer_s");
    await page.locator(".suggest-widget .monaco-list-row", { hasText: "tokenizer_source" }).first().waitFor();
    await page.keyboard.press("Enter");
    // After a key come its values; models are named as seen from the notebook.
    await page.locator(".suggest-widget .monaco-list-row", { hasText: "../base" }).first().waitFor();
    await shot("completion");
    await page.keyboard.press("Escape");
    await takeLineBack();
    await cell("merge_method").getByText("task_arithmetic").first().hover();
    await page
      .locator(".monaco-hover", { hasText: /Task arithmetic/i })
      .first()
      .waitFor();
    await shot("hover");
    await page.mouse.move(5, 5);
  });

  it("keeps the outputs beside the file when asked to, and shows them again after a reload", async () => {
    await press("models: [../base", "execute");
    await cell("models: [../base").locator(".cell-statusbar-container .codicon-notebook-state-success").first().waitFor();
    await command(page, "Weightsmith: Save Notebook Outputs");
    const file = place("first-merge.merge.outputs.json");
    // While the editor writes, the file is there but empty.
    const written = () => existsSync(file) && readFileSync(file, "utf8").endsWith("}\n");
    for (let i = 0; i < 100 && !written(); i++) await page.waitForTimeout(100);
    assert.match(readFileSync(file, "utf8"), /"format": "weightsmith-notebook-outputs"/);
    await page.reload();
    await page.locator(".cell-statusbar-container", { hasText: "eval experts" }).first().waitFor({ timeout: 60_000 });
    await webview(page, '[data-testid="eval"] .heatmap');
    await shot("restored");
  });

  it("interrupts a cell, and leaves nothing under its name", async () => {
    await openFile(page, "long.merge.md");
    await press("steps: 100000", "execute");
    await webview(page, ":text-matches('train 0 %, \\\\d+ of 100000 steps')");
    await shot("running");
    await press("steps: 100000", "stop");
    await page.locator(".pane-body, .notebookOverlay").first().waitFor();
    await cell("steps: 100000").locator(".run-button-container .codicon-notebook-execute").waitFor({ timeout: 10_000 });
    assert.deepEqual(
      readdirSync(place("long.out")).filter((name) => name === "long"),
      [],
    );
    await shot("interrupted");
  });

  it("shows why models conflict, down to a cell of the map", async () => {
    await openFile(page, "why-conflict.merge.md");
    await press("../shift", "execute");
    const frame = await webview(page, '[data-testid="comparison"] .heatmap');
    await frame.locator('[data-testid="comparison"] .heatmap').nth(1).locator(".cell").nth(3).click();
    await shot("conflict");
  });

  it("writes what is chosen in a comparison into a merge of the notebook", async () => {
    const frame = await webview(page, '[data-testid="comparison"] .cell.selected');
    await frame.getByRole("button", { name: "Exclude From Merge" }).first().click();
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "sum" }).first().waitFor();
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "ties" }).first().click();
    await frame.getByText("Written into cell ties.").waitFor();
    await command(page, "File: Save");
    const text = await whenIn("why-conflict.merge.md", /merge_method: passthrough/);
    const [, ties = ""] = /```yaml merge ties\n(.*?)```/s.exec(text) ?? [];
    assert.match(ties, /^merge_method: ties\n.*\noverrides:\n {2}- filter: 're:.*'\n {4}merge_method: passthrough\n {4}models: \[\.\.\/base\]\n/s);
    assert.doesNotMatch(text.replace(ties, ""), /overrides/);
    await shot("changed");
  });

  it("offers a new merge where there is none, and measures subspaces of what is compared", async () => {
    await openFile(page, "compare-only.merge.md");
    await press("[../sort, ../shift]", "execute");
    const found = await webview(page, 'p:has-text("2 models against ../base:")');
    const shown = found.locator('[data-testid="comparison"]').last();
    await shown
      .getByRole("group", { name: /Layers by roles/ })
      .locator(".cell")
      .first()
      .click();
    await shown.getByRole("button", { name: "Measure Subspaces" }).click();
    await shown.getByRole("button", { name: "Measure Subspaces" }).waitFor({ state: "detached", timeout: 60_000 });
    await shown.locator("#measure").selectOption("subspace");
    const map = shown.getByRole("group", { name: /Layers by roles/ });
    assert.equal(await map.locator(".cell.selected").count(), 1, "what was chosen stays");
    const values = await map.locator(".cell text").allTextContents();
    assert.ok(
      values.some((value) => /^[01]\.\d\d$/.test(value)),
      values.join(),
    );
    await shown.getByLabel("Merge method").selectOption("ties");
    await shown.getByRole("button", { name: "Use Method" }).click();
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "New merge cell" }).first().click();
    await shown.getByText("Written into a new cell.").waitFor();
    await command(page, "File: Save");
    const text = await whenIn("compare-only.merge.md", /```yaml merge\n/);
    assert.match(text, /base_model: \.\.\/base\nmodels:\n {2}- model: \.\.\/sort\n.*overrides:\n {2}- filter: .*\n {4}merge_method: ties\n```\n$/s);
    await shot("subspaces");
  });

  it("writes a merge of a search's output and measures a point of it", async () => {
    await openFile(page, "front.merge.md");
    await press("objectives:", "execute");
    const frame = await webview(page, '[data-testid="pareto"] .scatter');
    const shown = frame.locator('[data-testid="pareto"]').last();
    await shown.getByRole("group", { name: /^Points/ }).focus();
    await page.keyboard.press("End");
    await shown.locator("pre", { hasText: "task_arithmetic" }).waitFor();
    await shot("trade-off");
    await shown.getByLabel("Chosen point").getByRole("button", { name: "Write This Merge" }).click();
    await outputQuestion(page).waitFor();
    assert.match(await quickInput(page).inputValue(), /front-merge$/);
    await confirm(page, outputQuestion(page));
    await page
      .locator(".pane-body .monaco-list-row", { hasText: /merge front-merge\s*done/ })
      .first()
      .waitFor({ timeout: 60_000 });
    assert.match(readFileSync(place("front-merge.merge.yml"), "utf8"), /task_arithmetic/);
    assert.ok(existsSync(place("front-merge/model.safetensors")));
    const count = async () => Number(/^All (\d+) points/.exec(await shown.getByText(/^All \d+ points\.$/).innerText())?.[1]);
    const before = await count();
    const chosen = await shown.getByLabel("Chosen point").locator("h3").innerText();
    await shown.getByRole("button", { name: "Evaluate This Point" }).first().click();
    await shown.getByText(`All ${before + 1} points.`).waitFor({ timeout: 60_000 });
    assert.equal(await shown.getByLabel("Chosen point").locator("h3").innerText(), chosen, "what was chosen stays");
    await shot("trade-off-measured");
  });

  for (const theme of ["light", "high-contrast", "high-contrast-light", "dark"] as const)
    it(`is free of what keeps someone out, in ${theme}`, async () => {
      await setTheme(page, server.workspace, theme);
      for (const [file, part] of [
        ["front.merge.md", '[data-testid="pareto"] .scatter'],
        ["why-conflict.merge.md", '[data-testid="comparison"] .heatmap'],
        ["first-merge.merge.md", '[data-testid="eval"] .heatmap'],
      ] as const) {
        await openFile(page, file);
        const frame = await webview(page, part);
        await frame.locator(`body.vscode-${theme}`).waitFor({ state: "attached" });
        await page.waitForTimeout(300);
        await shot(`${theme}-${file.replace(".merge.md", "")}`);
        assert.deepEqual(await missingColours(frame), []);
        assert.deepEqual(await seriousViolations(frame, ".weightsmith-output"), [], file);
      }
    });

  it("is begun from the palette, with the models that are chosen", async () => {
    await command(page, "Weightsmith: New Notebook");
    await choose(page, "The models that the notebook is about", ["zoo/sort", "zoo/reverse"]);
    const name = page.locator(".quick-input-title", { hasText: "2 of 2" });
    await name.waitFor();
    await quickInput(page).fill("mine");
    await confirm(page, name);
    await page.locator(".tab", { hasText: "mine.merge.md" }).waitFor();
    await page.locator(".cell-statusbar-container", { hasText: "merge merged" }).first().waitFor();
    await press("zoo/reverse", "execute");
    await webview(page, 'p:has-text("2 models:")');
    await shot("new");
  });

  it("gives a cell another name", async () => {
    await openFile(page, "first-merge.merge.md");
    await cell("models: [../base").locator(".view-lines").first().click();
    await command(page, "Weightsmith: Set Kind of Cell");
    const question = page.locator(".quick-input-title", { hasText: "Kind and name of the cell" });
    await question.waitFor();
    await quickInput(page).fill("eval scores");
    await confirm(page, question);
    await page.locator(".cell-statusbar-container", { hasText: "eval scores" }).first().waitFor();
    await shot("named");
  });
});
