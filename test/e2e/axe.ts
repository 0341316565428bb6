// What axe finds in a page that keeps someone out.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Frame, Page } from "playwright-core";

const AXE = readFileSync(createRequire(join(process.cwd(), "package.json")).resolve("axe-core/axe.min.js"), "utf8");

interface Violation {
  readonly id: string;
  readonly impact: string | null;
  readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[];
}

/** @param within looks only into elements that match, their shadow roots included */
export async function seriousViolations(page: Page | Frame, within?: string): Promise<string[]> {
  // By the debugger, which a page's policy does not bind.
  await page.evaluate(AXE);
  const where = within === undefined ? "document" : `document.querySelectorAll(${JSON.stringify(within)})`;
  const violations = (await page.evaluate(`axe.run(${where}, { resultTypes: ['violations'] }).then((result) => result.violations)`)) as readonly Violation[];
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) => nodes.slice(0, 3).map(({ html, failureSummary }) => `${id}: ${html.slice(0, 200)} ${failureSummary ?? ""}`));
}
