// Runs that outlive their window, are cancelled, die and go on.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { writeSlowMerge } from "./fixtures.ts";
import { type Server, startServer } from "./server.ts";
import { answer, command, commandForOutput, confirm, launchBrowser, openFile, openWorkbench, outputQuestion, quickInput } from "./workbench.ts";

const SHOTS = join(import.meta.dirname, "screenshots");

describe("a long run", function () {
  this.timeout(180_000);
  let browser: Browser;
  let server: Server;
  let page: Page;
  const row = (text: RegExp) => page.locator(".pane-body .monaco-list-row", { hasText: text }).first();
  const shot = (name: string) => page.screenshot({ path: join(SHOTS, `${name}.png`) });

  /** The process of the only job, as soon as there is one other than `former`. */
  async function pid(former = 0): Promise<number> {
    for (const limit = Date.now() + 30_000; Date.now() < limit; await new Promise((r) => setTimeout(r, 5))) {
      const file = (readdirSync(server.data, { recursive: true }) as string[]).find((name) => name.endsWith("job.json"));
      const found = file === undefined ? former : (JSON.parse(readFileSync(join(server.data, file), "utf8") || "{}") as { pid?: number }).pid;
      if (found !== undefined && found !== former) return found;
    }
    assert.fail("no job was started");
  }

  /** Stops the process where it is, so that the test and not the disk says how long the run takes. */
  async function freeze(former = 0): Promise<number> {
    const found = await pid(former);
    process.kill(found, "SIGSTOP");
    return found;
  }

  before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    browser = await launchBrowser();
    server = await startServer({
      vsix: process.env.VSIX ?? "weightsmith.vsix",
      settings: { "weightsmith.threads": 1, "weightsmith.memory": "512MiB", "weightsmith.device": "auto" },
    });
    writeSlowMerge(server.workspace);
    page = await openWorkbench(browser, server.url());
  });
  afterEach(async function () {
    if (this.currentTest?.isFailed()) await shot(`failed ${this.currentTest.title}`.replaceAll(/[^\w]+/g, "-").slice(0, 80));
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  let process1 = 0;

  it("is found again after a reload of the window", async () => {
    await commandForOutput(page, "slow.merge.yml", "Weightsmith: Run Merge");
    await confirm(page, outputQuestion(page));
    process1 = await freeze();
    await page.locator(".statusbar-item", { hasText: "merge slow" }).waitFor();
    await command(page, "Developer: Reload Window");
    await page.locator(".statusbar-item", { hasText: "merge slow" }).waitFor({ state: "detached" });
    // The editor may not have kept yet that the recipe was open, whose language wakes the extension.
    await page.locator(".statusbar-item").first().waitFor({ timeout: 60_000 });
    await openFile(page, "slow.merge.yml");
    await page.locator(".statusbar-item", { hasText: "merge slow" }).waitFor({ timeout: 60_000 });
    await row(/merge slow\s*(starting|merge \d+ %)/).waitFor();
    await shot("run-after-reload");
  });

  it("is seen from another window of its folder", async () => {
    const other = await openWorkbench(browser, server.url());
    await openFile(other, "slow.merge.yml");
    await other.locator(".statusbar-item", { hasText: "merge slow" }).waitFor({ timeout: 60_000 });
    await other.context().close();
  });

  it("takes its settings along", () => {
    const words = readFileSync(`/proc/${process1}/cmdline`, "utf8").split("\0");
    const value = (option: string) => words[words.indexOf(option) + 1];
    assert.deepEqual([value("--memory"), value("--threads"), value("--device")], ["512MiB", "1", "auto"]);
  });

  it("is cancelled, and leaves no output under its name", async () => {
    await command(page, "Weightsmith: Cancel Run");
    process.kill(process1, "SIGCONT");
    await row(/merge slow\s*cancelled/).waitFor({ timeout: 30_000 });
    assert.equal(existsSync(join(server.workspace, "slow-merged")), false);
  });

  it("says that it died when it is killed, and offers to resume", async () => {
    await command(page, "Weightsmith: Resume Run");
    process.kill(await freeze(process1), "SIGKILL");
    await row(/merge slow\s*died/).waitFor({ timeout: 30_000 });
    const toast = page.locator(".notification-toast", { hasText: "job-died" });
    await toast.waitFor();
    assert.match((await toast.textContent()) ?? "", /killed \(SIGKILL\).*resume it/);
    await shot("run-died");
    await toast.getByRole("button", { name: "Resume" }).click();
    await row(/merge slow\s*done/).waitFor({ timeout: 120_000 });
    assert.ok(existsSync(join(server.workspace, "slow-merged", "model.safetensors")));
  });

  it("is removed from the list without its output", async () => {
    await command(page, "Weightsmith: Remove Run from List");
    await row(/merge slow/).waitFor({ state: "detached" });
    assert.ok(existsSync(join(server.workspace, "slow-merged", "model.safetensors")));
  });

  it("lets the next one wait, starts it by itself, and shows its errors as problems of its recipe", async () => {
    const start = async (recipe: string, out: string) => {
      await commandForOutput(page, recipe, "Weightsmith: Run Merge");
      await quickInput(page).fill(out);
      await confirm(page, outputQuestion(page));
    };
    await start("slow.merge.yml", "slow-again");
    const first = await freeze();
    const recipe = readFileSync(join(server.workspace, "slow.merge.yml"), "utf8").replace("expert-b", "expert-x");
    writeFileSync(join(server.workspace, "second.merge.yml"), recipe);
    await start("second.merge.yml", "second");
    await row(/merge second\s*queued/).waitFor();
    await shot("run-queued");
    await command(page, "View: Close All Editors");
    process.kill(first, "SIGKILL");
    await row(/merge second\s*failed/).waitFor({ timeout: 60_000 });
    await command(page, "Problems: Focus on Problems View");
    await page.locator(".markers-panel .monaco-list-row", { hasText: "second.merge.yml" }).waitFor();
    await page.locator(".markers-panel .monaco-list-row", { hasText: "model-missing" }).waitFor();
    await shot("run-problems");
    await command(page, "Weightsmith: Remove Run from List");
    await answer(page, "Run", "merge second");
    await page.locator(".markers-panel .monaco-list-row", { hasText: "second.merge.yml" }).waitFor({ state: "detached" });
  });
});
