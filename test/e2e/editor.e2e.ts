// The packaged extension as a user meets it: by palette, keyboard and what is on the screen.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { MANY_TENSORS, RECIPE, writeLargeModel, writeWorkspace } from "./fixtures.ts";
import { type Server, startServer } from "./server.ts";
import {
  answer,
  choose,
  command,
  commandForOutput,
  confirm,
  launchBrowser,
  openFile,
  openFixes,
  openWorkbench,
  outputQuestion,
  quickInput,
  saved,
  webview,
} from "./workbench.ts";

const VSIX = process.env.VSIX ?? "weightsmith.vsix";
const SHOTS = join(import.meta.dirname, "screenshots");

describe("the packaged extension", function () {
  this.timeout(120_000);
  let browser: Browser;
  let server: Server;
  let page: Page;
  const shot = (name: string) => page.screenshot({ path: join(SHOTS, `${name}.png`) });
  const row = (text: string | RegExp) => page.locator(".pane-body .monaco-list-row", { hasText: text }).first();

  before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    browser = await launchBrowser();
    server = await startServer({ vsix: VSIX });
    writeWorkspace(server.workspace);
    page = await openWorkbench(browser, server.url());
  });
  afterEach(async function () {
    if (this.currentTest?.isFailed()) await shot(`failed ${this.currentTest.title}`.replaceAll(/[^\w]+/g, "-").slice(0, 80));
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  it("shows a checkpoint from its headers: totals, roles, tensors; filters and groups by keyboard", async () => {
    await openFile(page, "models/base/model.safetensors");
    const frame = await webview(page, '[data-testid="inspector"] .list-row');
    assert.match((await frame.locator(".totals").textContent()) ?? "", /1\.66 k parameters.*6\.47 KiB.*F32.*21 tensors.*2 layers/);
    assert.match((await frame.locator("svg.treemap").getAttribute("aria-label")) ?? "", /attention 46\.4 %/);
    await shot("checkpoint");
    await frame.getByLabel("Filter tensors").fill("mlp layer:1");
    await frame.locator('[data-testid="tensor-count"]', { hasText: "3 of 21 tensors" }).waitFor();
    await frame.getByLabel("Filter tensors").fill("");
    await frame.getByLabel("Group tensors by").selectOption("layer");
    await frame.locator(".group-row", { hasText: "layer 0" }).waitFor();
    await frame.locator('[role="grid"]').focus();
    await page.keyboard.press("Enter");
    await frame.locator('.group-row[aria-expanded="false"]', { hasText: "outside layers" }).waitFor();
    await shot("checkpoint-grouped");
  });

  it("measures a tensor when it is chosen, in a process of its own", async () => {
    const frame = await webview(page, '[data-testid="inspector"] .list-row');
    await frame.locator('[role="grid"]').focus();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    const detail = frame.locator('[data-testid="tensor-detail"]');
    await detail.locator("svg.histogram rect").first().waitFor();
    assert.match((await detail.textContent()) ?? "", /q_proj.*128 elements.*mean/);
    await shot("tensor");
    await detail.getByRole("button", { name: "Close" }).focus();
    await page.keyboard.press("Escape");
    await detail.waitFor({ state: "hidden" });
  });

  it("keeps the table's state while its tab is hidden", async () => {
    await openFile(page, "good.merge.yml");
    await openFile(page, "models/base/model.safetensors");
    const frame = await webview(page, '[data-testid="inspector"] .group-row');
    assert.equal(await frame.getByLabel("Group tensors by").inputValue(), "layer");
  });

  it("opens a sharded model as one through its index", async () => {
    await openFile(page, "sharded/model.safetensors.index.json");
    const frame = await webview(page, 'h1:text-is("sharded/model.safetensors.index.json")');
    assert.match((await frame.locator(".totals").textContent()) ?? "", /21 tensors.*2 files/);
  });

  it("opens a sharded model of 70 GB from its headers", async () => {
    writeLargeModel(join(server.workspace, "giant"));
    const start = performance.now();
    await openFile(page, "giant/model.safetensors.index.json");
    const opening = performance.now();
    const frame = await webview(page, 'h1:text-is("giant/model.safetensors.index.json")');
    const ms = performance.now() - opening;
    assert.match((await frame.locator(".totals").textContent()) ?? "", /65\.2 GiB.*560 tensors.*14 files/);
    console.log(`      shown ${ms.toFixed(0)} ms after the file was chosen, which took ${(opening - start).toFixed(0)} ms`);
    // A second on a machine at rest; what is ruled out is reading 70 GB.
    assert.ok(ms < 10_000, `${ms.toFixed(0)} ms`);
    await shot("giant");
  });

  it("says what is wrong with a damaged file, and where", async () => {
    await openFile(page, "cut.safetensors");
    const frame = await webview(page, '[data-testid="inspector-problem"]');
    const text = (await frame.locator('[data-testid="inspector-problem"]').textContent()) ?? "";
    assert.match(text, /tensor a lies beyond the end of the file/);
    assert.match(text, /safetensors-truncated/);
    await shot("damaged");
  });

  it(`scrolls ${MANY_TENSORS} tensors, and shows names as text`, async () => {
    await openFile(page, "many.safetensors");
    const start = performance.now();
    const frame = await webview(page, `[data-testid="tensor-count"]:text-is("${MANY_TENSORS} tensors")`);
    console.log(`      shown ${(performance.now() - start).toFixed(0)} ms after the file was chosen`);
    assert.ok(performance.now() - start < 15_000, "opens in a few seconds on a machine at rest");
    assert.equal(await frame.locator(".list-row .cell-name").first().textContent(), "<img src=x onerror=alert(1)>");
    assert.equal(await frame.locator("img").count(), 0);
    assert.ok((await frame.locator(".list-row").count()) < 100, "only rows in sight are in the document");
    const { between, work } = await frame.evaluate(scrollThrough);
    console.log(`      frames every ${median(between).toFixed(1)} ms while scrolling, ${median(work).toFixed(1)} ms of them ours (medians)`);
    // 60 frames a second leave 16.7 ms for each. What a busy machine adds between them is not ours to bound.
    assert.ok(median(work) < 8, `${median(work).toFixed(1)} ms to draw a frame`);
    await frame.locator('[role="grid"]').focus();
    await page.keyboard.press("End");
    await frame.locator(".list-row", { hasText: "model.layers.999.mlp.experts.99.weight" }).waitFor();
    await shot("many-tensors");
  });

  it("lists models, with their facts when opened up", async () => {
    await page.locator('.activitybar [aria-label="Weightsmith"]').first().click();
    await row("expert-a").locator(".monaco-tl-twistie").click();
    await row(/Parameters\s*1\.66 k/).waitFor({ timeout: 20_000 });
    await shot("models");
  });

  it("makes a new recipe by four questions", async () => {
    await command(page, "Weightsmith: New Merge Recipe");
    await answer(page, "How to combine the models", "task_arithmetic");
    await answer(page, "The model that the others were fine-tuned from", "base");
    await choose(page, "The models to merge", ["expert-a", "expert-b"], () => shot("new-recipe"));
    const name = page.locator(".quick-input-title", { hasText: "4 of 4" });
    await name.waitFor();
    await quickInput(page).fill("story");
    await confirm(page, name);
    await page.locator(".tab", { hasText: "story.merge.yml" }).waitFor();
    await page.locator(".view-lines", { hasText: "task_arithmetic" }).waitFor();
    await page.locator(".tab", { hasText: "Comparison of story" }).waitFor({ timeout: 60_000 });
    await shot("recipe-with-comparison");
    await command(page, "View: Close All Editors");
    await page.locator(".tab", { hasText: "Comparison of story" }).waitFor({ state: "detached" });
  });

  it("locates a model that a recipe names and that is not there", async () => {
    await openFile(page, "missing.merge.yml");
    await page.locator(".squiggly-error").first().waitFor();
    await command(page, "Go to Next Problem in Files");
    await page.keyboard.press("Escape");
    await openFixes(page, "Locate this model");
    await page.keyboard.press("Enter");
    await answer(page, "The model that the recipe means", "models/expert-a");
    await page.locator(".squiggly-error").first().waitFor({ state: "detached" });
    await page.keyboard.press("Control+S");
    await saved(join(server.workspace, "missing.merge.yml"), RECIPE);
  });

  it("adds the base that a recipe lacks, picked among the models", async () => {
    writeFileSync(join(server.workspace, "short.merge.yml"), RECIPE.replace("base_model: ./models/base\n", ""));
    await openFile(page, "short.merge.yml");
    await page.locator(".squiggly-error").first().waitFor();
    await command(page, "Go to Next Problem in Files");
    await page.keyboard.press("Escape");
    await openFixes(page, "Add base_model...");
    await shot("add-base");
    await page.keyboard.press("Enter");
    await answer(page, "The model that the recipe means", "models/base");
    await page.locator(".squiggly-error").first().waitFor({ state: "detached" });
    await page.keyboard.press("Control+S");
    await saved(join(server.workspace, "short.merge.yml"), RECIPE);
  });

  it("underlines a planted error and mends it by quick fix", async () => {
    await openFile(page, "planted.merge.yml");
    await page.locator(".squiggly-error").first().waitFor();
    await command(page, "Go to Next Problem in Files");
    await page.keyboard.press("Escape");
    await openFixes(page, "Change to ties");
    await shot("quick-fix");
    await page.keyboard.press("Enter");
    await page.locator(".squiggly-error").first().waitFor({ state: "detached" });
    await page.keyboard.press("Control+S");
  });

  it("plans a recipe from the lens above it", async () => {
    await openFile(page, "good.merge.yml");
    await page.locator(".codelens-decoration a", { hasText: "Plan" }).click();
    await page.locator(".tab", { hasText: "good.plan.txt" }).waitFor();
    await page.locator(".view-lines", { hasText: "ties" }).waitFor();
    await shot("plan");
  });

  it("runs a recipe, shows it among the runs, and opens its output", async () => {
    await commandForOutput(page, "good.merge.yml", "Weightsmith: Run Merge");
    assert.equal(await quickInput(page).inputValue(), "good-merged");
    await confirm(page, outputQuestion(page));
    await row(/merge good\s*done/).waitFor({ timeout: 60_000 });
    assert.ok(existsSync(join(server.workspace, "good-merged", "model.safetensors")));
    await shot("run-done");
    await page.locator(".notification-toast", { hasText: "Done: merge good" }).getByRole("button", { name: "Open Output" }).click();
    const frame = await webview(page, 'h1:text-is("good-merged/model.safetensors")');
    assert.match((await frame.locator(".totals").textContent()) ?? "", /21 tensors/);
    await shot("output");
  });

  it("asks before it replaces an output", async () => {
    await commandForOutput(page, "good.merge.yml", "Weightsmith: Run Merge");
    await confirm(page, outputQuestion(page));
    await page.locator(".monaco-dialog-box", { hasText: "good-merged is there already" }).waitFor();
    await shot("replace");
    await page.locator(".monaco-dialog-box").getByRole("button", { name: "Cancel" }).click();
  });

  it("compares the models of a recipe from the lens above it", async () => {
    await openFile(page, "good.merge.yml");
    await page.locator(".codelens-decoration a", { hasText: "Compare" }).click();
    await page.locator(".tab", { hasText: "Comparison of good" }).waitFor({ timeout: 60_000 });
    const frame = await webview(page, "h1:has-text('ompar')");
    await frame.locator("svg").first().waitFor();
    await frame.locator("summary", { hasText: "Pairs" }).click();
    await frame.locator("td", { hasText: "expert-a, expert-b" }).first().waitFor();
    await shot("comparison");
  });

  it("compares chosen models with the base they come from", async () => {
    await command(page, "Weightsmith: Compare Models");
    await choose(page, "The models to compare", ["models/base", "models/expert-a"]);
    await answer(page, "The base that the others were trained from", "base");
    await page.locator(".tab", { hasText: "Comparison of base, expert-a" }).waitFor({ timeout: 60_000 });
  });

  it("verifies a merged model against its manifest", async () => {
    await command(page, "Weightsmith: Verify Merged Model");
    await answer(page, "A folder that Weightsmith wrote", "good-merged");
    await page.locator(".tab", { hasText: "good-merged.verified.txt" }).waitFor({ timeout: 60_000 });
    await shot("verified");
  });

  it("evaluates a model on data of the workspace, and says why when it cannot", async () => {
    await command(page, "Weightsmith: Evaluate Model");
    await answer(page, "The model to measure", "expert-a");
    await page.getByPlaceholder("Data to measure it on (JSONL)").waitFor();
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "data.jsonl" }).first().click();
    await confirm(page, page.getByPlaceholder("Data to measure it on (JSONL)"));
    await page.getByPlaceholder(/^Metrics/).waitFor();
    await confirm(page, page.getByPlaceholder(/^Metrics/));
    // These models have no tokenizer.
    await row(/eval expert-a\s*failed: .*tokenizer/i).waitFor({ timeout: 60_000 });
    await shot("evaluation");
  });

  it("shows the engines of this machine", async () => {
    await command(page, "Weightsmith: Show Engines");
    await page.locator(".tab", { hasText: "engines.txt" }).waitFor({ timeout: 60_000 });
    await page.locator(".view-lines", { hasText: "GFLOP" }).waitFor();
    await shot("engines");
  });
});

const median = (values: number[]): number => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.POSITIVE_INFINITY;

/** In the page: scrolls from top to end, a step a frame; the times between frames, and what drawing and layout took in each. */
async function scrollThrough(): Promise<{ between: number[]; work: number[] }> {
  const list = document.querySelector<HTMLElement>(".list");
  const [between, work]: number[][] = [[], []];
  if (list === null || between === undefined || work === undefined) throw new Error("no list");
  const request = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (draw) =>
    request((now) => {
      const start = performance.now();
      draw(now);
      void list.offsetHeight;
      work.push(performance.now() - start);
    });
  const step = (list.scrollHeight - list.clientHeight) / 180;
  let last = await new Promise<number>((resume) => request(resume));
  for (let i = 1; i <= 180; i++) {
    list.scrollTop = i * step;
    const now = await new Promise<number>((resume) => request(resume));
    between.push(now - last);
    last = now;
  }
  window.requestAnimationFrame = request;
  return { between, work };
}
