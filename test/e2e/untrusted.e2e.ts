// A folder that nobody vouches for: files are looked at, nothing is run.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { writeWorkspace } from "./fixtures.ts";
import { type Server, startServer } from "./server.ts";
import { launchBrowser, openFile, openWorkbench, quickInput, webview } from "./workbench.ts";

const SHOTS = join(import.meta.dirname, "screenshots");

describe("a folder that is not trusted", function () {
  this.timeout(120_000);
  let browser: Browser;
  let server: Server;
  let page: Page;

  before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    browser = await launchBrowser();
    const settings = {
      "security.workspace.trust.enabled": true,
      "security.workspace.trust.startupPrompt": "never",
      "security.workspace.trust.banner": "never",
    };
    server = await startServer({ vsix: process.env.VSIX ?? "weightsmith.vsix", trust: true, settings });
    writeWorkspace(server.workspace);
    page = await openWorkbench(browser, server.url());
  });
  afterEach(async function () {
    if (this.currentTest?.isFailed()) await page.screenshot({ path: join(SHOTS, `failed-untrusted-${this.currentTest.title.slice(0, 30)}.png`) });
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  it("has its checkpoints shown", async () => {
    await openFile(page, "models/base/model.safetensors");
    const frame = await webview(page, '[data-testid="inspector"] .list-row');
    assert.match((await frame.locator(".totals").textContent()) ?? "", /21 tensors/);
  });

  it("has its recipes checked", async () => {
    await openFile(page, "planted.merge.yml");
    await page.locator(".squiggly-error").first().waitFor();
  });

  it("is told of in the view of runs, and offers no command that runs something", async () => {
    await page.locator('.activitybar [aria-label="Weightsmith"]').first().click();
    await page.getByText("Nothing is run in a folder that is not trusted").first().waitFor();
    await page.keyboard.press("F1");
    await quickInput(page).fill(">Weightsmith: ");
    const rows = page.locator(".quick-input-list .monaco-list-row");
    await rows.filter({ hasText: "Plan Merge" }).first().waitFor();
    for (const title of ["Run Merge", "Train Adapter", "Merge Adapters", "Extract Adapter", "Unlearn", "Evaluate Model"])
      assert.equal(await rows.filter({ hasText: `Weightsmith: ${title}` }).count(), 0, title);
    await page.screenshot({ path: join(SHOTS, "untrusted.png") });
  });
});
