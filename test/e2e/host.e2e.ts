// The tests in test/e2e/host, run by the extension host of a real editor.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeWorkspace } from "./fixtures.ts";
import { type Server, startServer } from "./server.ts";
import { launchBrowser, runHostTests } from "./workbench.ts";

const LIMIT_MS = 150_000;

interface Report {
  readonly stats: { readonly passes: number };
  readonly tests: readonly { readonly fullTitle: string; readonly err: { readonly message?: string } }[];
}

describe("the extension host", function () {
  this.timeout(LIMIT_MS + 60_000);
  let browser: Browser;
  let server: Server;
  const reportFile = join(temporaryFolder(), "report.json");

  before(async () => {
    browser = await launchBrowser();
    server = await startServer({ development: true, env: { MOCHA_REPORT: reportFile } });
    writeWorkspace(server.workspace);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  it("passes its own tests", async () => {
    const code = await runHostTests(browser, server.url({ extension: process.cwd(), tests: join(import.meta.dirname, "host.cjs") }), LIMIT_MS);
    assert.notEqual(code, "timeout", server.log().slice(-3000));
    const report = JSON.parse(readFileSync(reportFile, "utf8")) as Report;
    assert.deepEqual(
      report.tests.filter(({ err }) => err.message !== undefined).map(({ fullTitle, err }) => `${fullTitle}: ${err.message}`),
      [],
    );
    assert.equal(code, 0);
    assert.ok(report.stats.passes >= 11, `${report.stats.passes} tests ran`);
  });
});
