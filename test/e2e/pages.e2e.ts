// Every page in a browser alone, in three themes and two widths, with the usual and with what is hard to draw: nothing sticks
// out, axe finds nothing serious, memory stays in bounds. Pictures are left beside this file.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { seriousViolations } from "./axe.ts";
import { usePages } from "./bare-page.ts";
import { COMPARISONS, FRONTS, INSPECTORS, RUNS } from "./page-fixtures.ts";
import type { Theme } from "./themes.ts";

const SHOTS = join(import.meta.dirname, "screenshots", "pages");
const PAGES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = { comparison: COMPARISONS, pareto: FRONTS, runs: RUNS, inspector: INSPECTORS };
const VIEWS: readonly { theme: Theme; width: number }[] = (["light", "dark", "high-contrast"] as const).flatMap((theme) =>
  [1100, 320].map((width) => ({ theme, width })),
);

describe("pages", function () {
  this.timeout(120_000);
  const pages = usePages();

  for (const [name, fixtures] of Object.entries(PAGES))
    for (const [fixture, state] of Object.entries(fixtures)) {
      const views = fixture === "usual" ? VIEWS : VIEWS.filter(({ theme, width }) => (theme === "light") === (width === 1100));
      for (const { theme, width } of views)
        it(`${name} with ${fixture} in ${theme} at ${width} pixels`, async () => {
          const page = await pages.show(name, state, { theme, width });
          await page.screenshot({ path: join(SHOTS, `${name}-${fixture.replaceAll(/\W+/g, "-")}-${theme}-${width}.png`), fullPage: true });
          assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, "the page does not scroll sideways");
          assert.doesNotMatch(await page.locator("body").innerText(), /\bNaN\b|undefined|\[object/);
          assert.equal(await page.locator("svg [d*=NaN], svg [x*=NaN], svg [transform*=NaN]").count(), 0);
          assert.deepEqual(await seriousViolations(page), []);
        });
    }

  it("are judged by an axe that sees", async () => {
    const page = await pages.show("runs", RUNS.nothing);
    await page.evaluate(() => document.body.append(document.createElement("select")));
    assert.match((await seriousViolations(page)).join(), /select-name/);
  });

  for (const [name, fixtures] of Object.entries(PAGES))
    it(`${name}: takes less than 150 MB with whatever fixture`, async () => {
      const session = await pages.browser().newBrowserCDPSession();
      for (const [fixture, state] of Object.entries(fixtures)) {
        const page = await pages.show(name, state, { theme: "light" });
        const heap = await page.context().newCDPSession(page);
        await heap.send("HeapProfiler.collectGarbage");
        const { usedSize, totalSize } = await heap.send("Runtime.getHeapUsage");
        const { processInfo } = await session.send("SystemInfo.getProcessInfo");
        const own = Math.max(...processInfo.filter(({ type }) => type === "renderer").map(({ id }) => privateBytes(id)));
        console.log(`      ${fixture}: heap ${(usedSize / 1e6).toFixed(1)} of ${(totalSize / 1e6).toFixed(1)} MB, process ${(own / 1e6).toFixed(0)} MB`);
        assert.ok(own < 150e6, `${fixture} takes ${own} bytes`);
        await pages.close();
      }
    });

  it("runs: marks a step in all charts, hides a run, smooths", async () => {
    const page = await pages.show("runs", RUNS.usual);
    await page.getByRole("group", { name: /^Loss/ }).focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowRight");
    await page.getByText(/^Step 2\. math-lora: loss/).waitFor();
    assert.equal(await page.locator(".mark-line").count(), 4, "validation begins later");
    await page.getByRole("checkbox", { name: "code-lora" }).uncheck();
    assert.equal(await page.getByRole("group", { name: /^Loss/ }).locator(".curve-group").count(), 1);
    await page.locator("#smoothing").fill("0");
    assert.equal(await page.locator(".raw").count(), 0);
    await page.getByRole("button", { name: "Cancel" }).first().click();
    assert.deepEqual((await pages.requests()).at(-1), { method: "cancel", params: "1" });
  });
});

/** Memory that a process shares with no other. */
function privateBytes(pid: number): number {
  const lines = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8").matchAll(/^Private_\w+:\s+(\d+) kB/gm);
  return [...lines].reduce((sum, [, kibibytes]) => sum + 1024 * Number(kibibytes), 0);
}
