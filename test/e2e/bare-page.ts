// A page of the extension in a browser alone: the theme's colours around it, a host that answers what the test says.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { type Theme, themeCss } from "./themes.ts";
import { launchBrowser } from "./workbench.ts";

export interface BarePage {
  readonly page: Page;
  /** Requests that the page made. */
  requests(): Promise<readonly { readonly method: string; readonly params: unknown }[]>;
  push(state: unknown): Promise<void>;
  close(): Promise<void>;
}

interface Seam {
  sent: { kind: string; id?: number; method?: string; params?: unknown }[];
  saved: unknown;
}

/** Opens a page that a command writes, which carries its data, as a browser with these preferences shows it. */
export async function openReport(browser: Browser, name: string, data: unknown, { theme, width }: { theme: Theme; width: number }): Promise<Page> {
  const contrast = theme === "high-contrast";
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    colorScheme: theme === "light" ? "light" : "dark",
    forcedColors: contrast ? "active" : "none",
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  await page.setContent(
    `<!doctype html><html lang="en"><head><title>${name}</title></head><body><script type="application/json" id="results"></script></body></html>`,
  );
  await page.locator("#results").evaluate((element, json) => {
    element.textContent = json;
  }, JSON.stringify(data));
  await page.addScriptTag({ content: readFileSync(join(import.meta.dirname, `${name}.js`), "utf8") });
  await page.waitForTimeout(100);
  return page;
}

/** Opens the page `name` of this build with a state, at a width, with the same policy that the editor's pages have. */
export async function openBarePage(
  browser: Browser,
  name: string,
  state: unknown,
  options: { theme: Theme; width: number; height?: number; saved?: unknown },
): Promise<BarePage> {
  const context = await browser.newContext({ viewport: { width: options.width, height: options.height ?? 900 }, reducedMotion: "reduce" });
  const page = await context.newPage();
  const failures: string[] = [];
  page.on("pageerror", (error) => failures.push(String(error)));
  page.on("console", (message) => message.type() === "error" && failures.push(message.text()));
  await page.setContent(
    `<!doctype html><html lang="en"><head><title>${name}</title><style>${themeCss(options.theme)}</style></head><body class="vscode-${options.theme}"><main id="app"></main></body></html>`,
  );
  await page.evaluate((saved) => {
    const seam: Seam = { sent: [], saved };
    const api = {
      postMessage: (message: Seam["sent"][number]) => {
        seam.sent.push(message);
        if (message.kind === "request") setTimeout(() => window.postMessage({ kind: "result", id: message.id, value: undefined }));
      },
      getState: () => seam.saved,
      setState: (value: unknown) => {
        seam.saved = value;
      },
    };
    Object.assign(window, { seam, acquireVsCodeApi: () => api });
  }, options.saved);
  await page.addScriptTag({ content: readFileSync(join(import.meta.dirname, `${name}.js`), "utf8") });
  const push = (next: unknown) =>
    page.evaluate((value) => {
      window.dispatchEvent(new MessageEvent("message", { data: { kind: "state", state: value } }));
    }, next);
  await push(state);
  await page.waitForTimeout(100);
  return {
    page,
    push,
    requests: () =>
      page.evaluate(() => {
        const { sent } = (window as unknown as { seam: Seam }).seam;
        return sent.filter(({ kind }) => kind === "request").map(({ method = "", params }) => ({ method, params }));
      }),
    async close() {
      await context.close();
      if (failures.length > 0) throw new Error(`the page failed: ${failures.join("; ")}`);
    },
  };
}

/** Gives the tests of a suite pages in one browser; the page of a test closes with it. */
export function usePages() {
  let browser: Browser | undefined;
  let open: BarePage | undefined;
  const close = async () => {
    const page = open;
    open = undefined;
    await page?.close();
  };
  before(async () => {
    browser = await launchBrowser();
  });
  afterEach(close);
  after(() => browser?.close());
  const launched = () => {
    if (browser === undefined) throw new Error("no browser before the tests begin");
    return browser;
  };
  return {
    browser: launched,
    close,
    requests: async () => (await open?.requests()) ?? [],
    push: (state: unknown) => open?.push(state),
    async show(name: string, state: unknown, options: { theme?: Theme; width?: number; saved?: unknown } = {}): Promise<Page> {
      open = await openBarePage(launched(), name, state, { theme: "dark", width: 1100, ...options });
      return open.page;
    },
  };
}
