// Notebooks in the real editor: a sample opened, run, changed, saved, interrupted, and brought back with its outputs.
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { type Server, startServer } from "./server.ts";
import { command, launchBrowser, openFile, openWorkbench, quickInput, saved, webview } from "./workbench.ts";

const SHOTS = join(import.meta.dirname, "screenshots");
const LONG = `# Long\n\n\`\`\`yaml train long\nmodel: ../base\ndata: { train: ../data/sort.validation.jsonl }\nmethod: full\nsteps: 100000\nbatch_size: 4\n\`\`\`\n`;

describe("notebooks", function () {
  this.timeout(120_000);
  let browser: Browser;
  let server: Server;
  let page: Page;
  const shot = (name: string) => page.screenshot({ path: join(SHOTS, `notebook-${name}.png`) });
  const place = (name: string) => join(server.workspace, "zoo", "notebooks", name);
  const cell = (text: string) => page.locator(".code-cell-row", { hasText: text }).first();
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
    await page.locator(".cell-statusbar-container", { hasText: "eval experts" }).first().waitFor();
    await webview(page, "h1:has-text('A first merge')");
    await shot("open");
  });

  it("runs a cell, and draws its scores", async () => {
    await press("models: [../base", "execute");
    const frame = await webview(page, '[data-testid="eval"] .heatmap');
    const scores = await frame.locator('[data-testid="eval"] .cell text').allTextContents();
    assert.ok(scores.length === 6 && Number(scores[2]) > 90 && Number(scores[3]) < 50, scores.join());
    await shot("scores");
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
    await page.keyboard.press("Control+Z");
    await command(page, "File: Revert File");
  });

  it("keeps the outputs beside the file when asked to, and shows them again after a reload", async () => {
    await press("models: [../base", "execute");
    await cell("models: [../base").locator(".cell-statusbar-container .codicon-notebook-state-success").first().waitFor();
    await command(page, "Weightsmith: Save Notebook Outputs");
    const file = place("first-merge.merge.outputs.json");
    for (let i = 0; i < 100 && !existsSync(file); i++) await page.waitForTimeout(100);
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

  it("gives a cell another name", async () => {
    await openFile(page, "first-merge.merge.md");
    await cell("models: [../base").locator(".view-lines").first().click();
    await command(page, "Weightsmith: Set Kind of Cell");
    await page.locator(".quick-input-title", { hasText: "Kind and name of the cell" }).waitFor();
    await quickInput(page).fill("eval scores");
    await page.keyboard.press("Enter");
    await page.locator(".cell-statusbar-container", { hasText: "eval scores" }).first().waitFor();
    await shot("named");
  });
});
