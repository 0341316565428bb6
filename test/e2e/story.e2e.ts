// The first hour of a user, on the sample models: walkthrough, recipe, a mistake and its fix, plan, run, what came out.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { type Server, startServer } from "./server.ts";
import {
  answer,
  choose,
  command,
  commandForOutput,
  confirm,
  launchBrowser,
  openFixes,
  openWorkbench,
  outputQuestion,
  quickInput,
  webview,
} from "./workbench.ts";

const SHOTS = join(import.meta.dirname, "screenshots");

describe("the first hour", function () {
  this.timeout(120_000);
  let browser: Browser;
  let server: Server;
  let page: Page;
  const row = (text: RegExp) => page.locator(".pane-body .monaco-list-row", { hasText: text }).first();
  const shot = (name: string) => page.screenshot({ path: join(SHOTS, `story-${name}.png`) });

  before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    browser = await launchBrowser();
    server = await startServer({ vsix: process.env.VSIX ?? "weightsmith.vsix" });
    page = await openWorkbench(browser, server.url());
  });
  afterEach(async function () {
    if (this.currentTest?.isFailed()) await shot(`failed ${this.currentTest.title}`.replaceAll(/[^\w]+/g, "-").slice(0, 80));
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  it("starts with the walkthrough, which brings the sample models", async () => {
    await command(page, "Welcome: Open Walkthrough");
    await answer(page, /walkthrough/i, "Merge your first models");
    await page.locator(".getting-started-step", { hasText: "Inspect a checkpoint" }).first().waitFor();
    await shot("walkthrough");
    await page.locator(".getting-started-step").getByText("Open Sample Zoo", { exact: true }).first().click();
    await outputQuestion(page).waitFor();
    await confirm(page, outputQuestion(page));
    await page.locator(".tab", { hasText: "ties.yml" }).waitFor();
    await row(/base\s*zoo\/base/).waitFor();
    await page.locator(".codelens-decoration a", { hasText: "Plan" }).waitFor();
    await shot("zoo");
  });

  it("looks into an adapter", async () => {
    await command(page, "Weightsmith: Inspect Checkpoint");
    await answer(page, "Model", "adapters/sort");
    const frame = await webview(page, 'h1:text-is("sort/adapter_model.safetensors")');
    await frame.locator("summary", { hasText: "Adapter" }).click();
    assert.match((await frame.locator("details", { hasText: "Adapter" }).first().textContent()) ?? "", /peft_typeLORA/);
    await shot("adapter");
  });

  it("writes a recipe", async () => {
    await command(page, "Weightsmith: New Merge Recipe");
    await answer(page, "How to combine the models", "task_arithmetic");
    await answer(page, "The model that the others were fine-tuned from", "zoo/base");
    await choose(page, "The models to merge", ["zoo/sort", "zoo/reverse"]);
    const name = page.locator(".quick-input-title", { hasText: "4 of 4" });
    await name.waitFor();
    await quickInput(page).fill("mine");
    await confirm(page, name);
    await page.locator(".tab", { hasText: "mine.merge.yml" }).waitFor();
    await page.locator(".view-lines", { hasText: "task_arithmetic" }).waitFor();
    await page.locator(".tab", { hasText: "Comparison of mine" }).waitFor({ timeout: 60_000 });
    await (await webview(page, "h1:has-text('ompar')")).locator("svg, canvas").first().waitFor();
    await shot("recipe");
    await command(page, "View: Close Editors in Other Groups");
    await page.locator(".tab", { hasText: "Comparison of mine" }).waitFor({ state: "detached" });
  });

  it("makes a mistake and mends it", async () => {
    await command(page, "Go to Line/Column");
    // Behind base_model. Keys go to the editor only once it says that the cursor is there.
    await quickInput(page).fill(":3:11");
    await page.keyboard.press("Enter");
    await page.locator(".statusbar-item", { hasText: "Ln 3, Col 11" }).waitFor();
    await quickInput(page).waitFor({ state: "hidden" });
    await page.keyboard.press("Backspace");
    await page.locator(".squiggly-error").first().waitFor();
    await command(page, "Go to Next Problem in Files");
    await page.keyboard.press("Escape");
    await openFixes(page, "Change to base_model");
    await shot("mistake");
    await page.keyboard.press("Enter");
    await page.locator(".squiggly-error").first().waitFor({ state: "detached" });
    await page.keyboard.press("Control+S");
  });

  it("plans and runs it, and opens what it made", async () => {
    await command(page, "Weightsmith: Plan Merge");
    await page.locator(".tab", { hasText: "mine.plan.txt" }).waitFor();
    await commandForOutput(page, "mine.merge.yml", "Weightsmith: Run Merge");
    await confirm(page, outputQuestion(page));
    await row(/merge mine\s*done/).waitFor({ timeout: 60_000 });
    await command(page, "Weightsmith: Open Output of Run");
    const frame = await webview(page, 'h1:text-is("mine-merged/model.safetensors")');
    assert.match((await frame.locator(".totals").textContent()) ?? "", /BF16.*3 layers/);
    await shot("output");
  });

  it("compares the output with an expert", async () => {
    await command(page, "Weightsmith: Compare Models");
    await choose(page, "The models to compare", ["mine-merged", "zoo/base", "zoo/sort"]);
    await answer(page, "The base that the others were trained from", "zoo/base");
    await page.locator(".tab", { hasText: "Comparison of mine-merged, base, sort" }).waitFor({ timeout: 60_000 });
    const frame = await webview(page, "h1:has-text('ompar')");
    await frame.locator("svg").first().waitFor();
    await shot("comparison");
  });

  it("measures the output on the test data of one task", async () => {
    await command(page, "Weightsmith: Evaluate Model");
    await answer(page, "The model to measure", "mine-merged");
    await page.getByPlaceholder("Data to measure it on (JSONL)").waitFor();
    await quickInput(page).fill("sort");
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "test" }).first().click();
    await confirm(page, page.getByPlaceholder("Data to measure it on (JSONL)"));
    await page.getByPlaceholder(/^Metrics/).waitFor();
    await page.locator(".quick-input-list .monaco-list-row", { hasText: "exact_match" }).first().click();
    await shot("metrics");
    await confirm(page, page.getByPlaceholder(/^Metrics/));
    await row(/eval mine-merged\s*done/).waitFor({ timeout: 90_000 });
    await page.locator(".notification-toast", { hasText: "Done: eval mine-merged" }).getByRole("button", { name: "Open Output" }).click();
    await page.locator(".tab", { hasText: "eval mine-merged.txt" }).waitFor();
    await page.locator(".view-lines", { hasText: "exact_match" }).waitFor();
    await shot("evaluation");
  });

  it("trains an adapter as a YAML file says", async () => {
    const data = "{ train: zoo/data/sort.validation.jsonl, validation: zoo/data/sort.validation.jsonl }";
    const config = `model: zoo/base\ndata: ${data}\nmethod: lora\nlora: { r: 4, alpha: 8, target_modules: [q_proj] }\noptimizer: { lr: 1e-3 }\nsteps: 2\nbatch_size: 4\n`;
    writeFileSync(join(server.workspace, "tiny.yml"), config);
    await commandForOutput(page, "tiny.yml", "Weightsmith: Train Adapter");
    assert.equal(await quickInput(page).inputValue(), "tiny-trained");
    await confirm(page, outputQuestion(page));
    await row(/train tiny\s*done/).waitFor({ timeout: 90_000 });
    assert.ok(existsSync(join(server.workspace, "tiny-trained", "adapter_config.json")));
    await shot("training");
  });

  it("merges adapters into one that holds both", async () => {
    await command(page, "Weightsmith: Merge Adapters");
    await page.getByPlaceholder("The adapters to merge").waitFor();
    // Models that are no adapters are not among them.
    assert.equal(await page.locator(".quick-input-list .monaco-list-row", { hasText: "mine-merged" }).count(), 0);
    await choose(page, "The adapters to merge", ["adapters/sort", "adapters/add"]);
    await answer(page, "How to combine the adapters", "exact");
    await page.getByText(/^Weights of (sort, add|add, sort)/).waitFor();
    assert.equal(await quickInput(page).inputValue(), "1,1");
    await quickInput(page).fill("0.5");
    await page.getByText("2 numbers with commas between them").waitFor();
    await quickInput(page).fill("0.5,-1");
    await shot("adapter-weights");
    await confirm(page, page.getByText(/^Weights of (sort, add|add, sort)/));
    await outputQuestion(page).waitFor();
    await quickInput(page).fill("both");
    await confirm(page, outputQuestion(page));
    await row(/adapter merge both\s*done/).waitFor({ timeout: 60_000 });
    await page.locator(".notification-toast", { hasText: "Done: adapter merge both" }).getByRole("button", { name: "Open Output" }).click();
    const frame = await webview(page, 'h1:text-is("both/adapter_model.safetensors")');
    await frame.locator(".totals").waitFor();
    await shot("merged-adapters");
  });

  it("extracts an adapter from an expert", async () => {
    await command(page, "Weightsmith: Extract Adapter");
    await answer(page, "The fine-tuned model", "zoo/sort");
    await answer(page, "The base that it was fine-tuned from", "zoo/base");
    await page.getByText(/^Rank of the adapter/).waitFor();
    await quickInput(page).fill("8");
    await confirm(page, page.getByText(/^Rank of the adapter/));
    await outputQuestion(page).waitFor();
    assert.equal(await quickInput(page).inputValue(), "sort-rank-8");
    await confirm(page, outputQuestion(page));
    await row(/adapter extract sort\s*done/).waitFor({ timeout: 60_000 });
    const config = JSON.parse(readFileSync(join(server.workspace, "zoo", "sort-rank-8", "adapter_config.json"), "utf8")) as { r: number };
    assert.equal(config.r, 8);
    await shot("extracted");
  });

  it("makes a model forget one task and keep another", async () => {
    await command(page, "Weightsmith: Unlearn");
    await answer(page, "The model that is to forget", "zoo/sort");
    await answer(page, "How to forget", "ssd");
    for (const [question, task] of [
      ["Data to forget (JSONL)", "sort.validation"],
      ["Data to keep (JSONL)", "shift.validation"],
    ] as const) {
      await page.getByPlaceholder(question).waitFor();
      await quickInput(page).fill(task);
      await page.locator(".quick-input-list .monaco-list-row", { hasText: task }).first().click();
      await confirm(page, page.getByPlaceholder(question));
    }
    await outputQuestion(page).waitFor();
    await page.locator(".tab", { hasText: "sort.unlearn.yml" }).waitFor();
    assert.equal(await quickInput(page).inputValue(), "sort-unlearned");
    await confirm(page, outputQuestion(page));
    await row(/unlearn sort\s*done/).waitFor({ timeout: 90_000 });
    await page.locator(".notification-toast", { hasText: "Done: unlearn sort" }).getByRole("button", { name: "Open Output" }).click();
    await webview(page, 'h1:text-is("model/model.safetensors")');
    const report = JSON.parse(readFileSync(join(server.workspace, "sort-unlearned", "unlearn.json"), "utf8")) as Record<string, unknown>;
    assert.ok(report.before !== undefined && report.after !== undefined, Object.keys(report).join());
    await shot("unlearned");
  });

  it("runs one of these again with other options", async () => {
    await command(page, "Weightsmith: Run Again with Changes");
    await answer(page, "Run", "adapter extract sort");
    await outputQuestion(page).waitFor();
    assert.equal(await quickInput(page).inputValue(), "sort-rank-8-2");
    await quickInput(page).fill("sort-rank-4");
    await confirm(page, outputQuestion(page));
    const options = page.locator(".quick-input-title", { hasText: "Run again: adapter extract sort" });
    await options.waitFor();
    await quickInput(page).fill((await quickInput(page).inputValue()).replace("--rank 8", "--rank 4"));
    await shot("again");
    await confirm(page, options);
    await page.locator(".notification-toast", { hasText: "Done: adapter extract sort" }).first().waitFor({ timeout: 60_000 });
    const config = join(server.workspace, "zoo", "sort-rank-4", "adapter_config.json");
    for (let i = 0; i < 100 && !existsSync(config); i++) await new Promise((r) => setTimeout(r, 100));
    assert.equal((JSON.parse(readFileSync(config, "utf8")) as { r: number }).r, 4);
  });

  it("shows the log of its runs, and the recipe of one", async () => {
    await command(page, "Weightsmith: Show Log");
    // This server is without the native logger that would put text there.
    await page.locator(".part.panel select option:checked", { hasText: "Weightsmith" }).first().waitFor({ state: "attached" });
    await command(page, "View: Close All Editors");
    await command(page, "Weightsmith: Open Recipe of Run");
    await answer(page, "Run", "merge mine");
    await page.locator(".tab", { hasText: "mine.merge.yml" }).waitFor();
    await shot("log");
  });

  it("pins a model, lists it once more when asked to look again, and unpins it", async () => {
    await row(/base\s*zoo\/base/).hover();
    await row(/base\s*zoo\/base/)
      .getByLabel("Pin Model")
      .click();
    await row(/Pinned\s*1/).waitFor();
    await command(page, "Weightsmith: Refresh Models");
    await row(/Pinned\s*1/).waitFor();
    await shot("pinned");
    // The row below the group, which lists the model under the same name as the workspace does.
    const group = Number(await row(/Pinned\s*1/).getAttribute("data-index"));
    const model = page.locator(`.pane-body .monaco-list-row[data-index="${group + 1}"]`, { hasText: "base" }).first();
    await model.hover();
    await model.getByLabel("Unpin Model").click();
    await row(/Pinned/).waitFor({ state: "detached" });
  });

  it("leaves a result that says how it was made", () => {
    const manifest = JSON.parse(readFileSync(join(server.workspace, "mine-merged", "weightsmith.json"), "utf8")) as Record<string, unknown>;
    assert.ok("planHash" in manifest, Object.keys(manifest).join());
  });

  it("brings the sample models from the palette too, to another folder", async () => {
    await command(page, "Weightsmith: Open Sample Zoo");
    await outputQuestion(page).waitFor();
    await page.keyboard.type("second-zoo");
    await confirm(page, outputQuestion(page));
    await row(/base\s*second-zoo\/base/).waitFor();
  });
});
