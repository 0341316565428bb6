// What a user does in the workbench, by keyboard and palette, with a bound on every wait.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type Browser, chromium, type Frame, type Locator, type Page } from "playwright-core";

export const WAIT_MS = 30_000;
/** Begins a line of a host test that is meant for the reader. */
const FIGURE = "figure: ";

export function launchBrowser(): Promise<Browser> {
  const args = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
  ];
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", timeout: WAIT_MS, args });
}

export async function openWorkbench(browser: Browser, url: string): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  await page.goto(url, { timeout: WAIT_MS });
  await page
    .locator(".monaco-workbench .statusbar-item")
    .first()
    .waitFor({ timeout: 2 * WAIT_MS });
  return page;
}

export const quickInput = (page: Page) => page.locator(".quick-input-widget input.input");

/** Runs a command from the palette. The palette's list is a snapshot, and commands of extensions come later than the workbench: hence the retries. */
export async function command(page: Page, title: string): Promise<void> {
  const row = page.locator(".quick-input-list .monaco-list-row", { hasText: title }).first();
  for (const end = Date.now() + WAIT_MS; Date.now() < end; ) {
    await page.keyboard.press("F1");
    try {
      // Short waits: a view that takes the focus closes the palette, and then only opening it again helps.
      await quickInput(page).fill(`>${title}`, { timeout: 1500 });
      await row.waitFor({ timeout: 1500 });
      await row.click({ timeout: 1500 });
      return;
    } catch {
      await page.keyboard.press("Escape");
    }
  }
  throw new Error(`no such command: ${title}`);
}

/** Opens a file of the workspace by its path. The list shows files of the same name in other folders, so that what was opened is told by the window's title. */
export async function openFile(page: Page, name: string): Promise<void> {
  const row = page.locator(".quick-input-list .monaco-list-row", { hasText: basename(name) }).filter({ hasText: dirname(name) === "." ? "" : dirname(name) });
  for (const end = Date.now() + WAIT_MS; Date.now() < end; ) {
    await page.keyboard.press("Control+P");
    try {
      await quickInput(page).fill(name, { timeout: 1500 });
      await row.first().click({ timeout: 3000 });
      // A command that follows is about the file in the editor, which may take a while to show it.
      await page.waitForFunction((path) => document.title.endsWith(path), name, { timeout: 10_000 });
      return;
    } catch {
      await page.keyboard.press("Escape");
    }
  }
  throw new Error(`no such file: ${name}; ${await shownWords(page)}; the window is called ${await page.title()}`);
}

/** Brings a tab to the front. By its name, since its middle may meet the button for closing when tabs grow narrow as others come. */
export async function showTab(page: Page, name: string | RegExp): Promise<void> {
  await page
    .locator(".tab", { hasText: name })
    .first()
    .locator(".label-name")
    .click({ timeout: 2 * WAIT_MS });
}

/** What the workbench asks and says at the moment, for the message of a test that waited in vain. */
async function shownWords(page: Page): Promise<string> {
  const words = await page.locator(".quick-input-widget, .notification-toast, .monaco-dialog-box, .tab.active").allInnerTexts();
  return `the workbench shows ${JSON.stringify(words)}`;
}

/** The question for the folder that a run writes to. */
export const outputQuestion = (page: Page) => page.locator(".quick-input-title", { hasText: "Output folder" });

/** Takes what is proposed or typed; presses again where the first press came before the box listened. @param question what is seen only while the box is open */
export async function confirm(page: Page, question: Locator): Promise<void> {
  for (const end = Date.now() + WAIT_MS; Date.now() < end; ) {
    await page.keyboard.press("Enter");
    try {
      await question.waitFor({ state: "hidden", timeout: 5000 });
      return;
    } catch {}
  }
  throw new Error(`the question was not answered by Enter; ${await shownWords(page)}`);
}

/** Answers a quick pick of which several rows are taken. @param before what happens when they are marked and not taken yet */
export async function choose(page: Page, placeholder: string, names: readonly string[], before: () => Promise<unknown> = async () => {}): Promise<void> {
  const question = page.getByPlaceholder(placeholder);
  await question.waitFor({ timeout: WAIT_MS });
  for (const name of names) await page.locator(".quick-input-list .monaco-list-row", { hasText: name }).first().click();
  await page.locator(".quick-input-count", { hasText: `${names.length} Selected` }).waitFor();
  await before();
  await confirm(page, question);
}

/** Runs a command on a file and waits until it asks for the output folder. Asks again where the extension did not know yet which file is open. */
export async function commandForOutput(page: Page, file: string, title: string): Promise<void> {
  const question = outputQuestion(page);
  for (const end = Date.now() + 2 * WAIT_MS; Date.now() < end; ) {
    await openFile(page, file);
    await command(page, title);
    try {
      await question.waitFor({ timeout: WAIT_MS / 2 });
      return;
    } catch {
      console.log(`      ${title} did not ask for its output: ${await shownWords(page)}`);
      await page.keyboard.press("Escape");
    }
  }
  throw new Error(`${title} does not ask for its output`);
}

/** Opens the fixes of the problem that the cursor is at. Asks again where the editor had not been told of any yet. */
export async function openFixes(page: Page, text: string): Promise<void> {
  const fixes = page.locator(".action-widget", { hasText: text });
  for (const end = Date.now() + WAIT_MS; ; ) {
    await page.keyboard.press("Control+.");
    try {
      await fixes.waitFor({ timeout: WAIT_MS / 6 });
      return;
    } catch (error) {
      if (Date.now() > end) throw error;
    }
  }
}

/** Answers the quick pick or input box that is open: types, then takes the first row or confirms. */
export async function answer(page: Page, placeholder: string | RegExp, text: string): Promise<void> {
  const box = page.getByPlaceholder(placeholder);
  await box.waitFor({ timeout: WAIT_MS });
  await box.fill(text);
  const row = page.locator(".quick-input-list .monaco-list-row", { hasText: text }).first();
  await row.waitFor({ timeout: WAIT_MS });
  await confirm(page, box);
}

/** Chooses a file in the dialog for opening, which writes a folder when it has read it, perhaps over what was written before. */
export async function chooseFile(page: Page, file: string): Promise<void> {
  const listed = page.locator(".quick-input-list .monaco-list-row", { hasText: basename(file) }).first();
  const ok = page.locator(".quick-input-widget").getByRole("button", { name: "OK" });
  await page.locator(".quick-input-widget input.input:focus").waitFor({ timeout: WAIT_MS });
  let pressed = false;
  for (const end = Date.now() + WAIT_MS; Date.now() < end; ) {
    if (pressed && (await ok.isHidden())) return;
    try {
      if ((await quickInput(page).inputValue({ timeout: 1500 })) !== file) await quickInput(page).fill(file, { timeout: 1500 });
      await listed.waitFor({ timeout: 1500 });
      await ok.click({ timeout: 1500 });
      pressed = true;
      await ok.waitFor({ state: "hidden", timeout: 3000 });
    } catch {}
  }
  throw new Error(`the dialog for opening did not take ${file}; ${await shownWords(page)}`);
}

/** As a user does, so that the editor keeps its state before it goes. */
export async function reloadWindow(page: Page): Promise<void> {
  const loaded = page.waitForEvent("load", { timeout: 2 * WAIT_MS });
  await command(page, "Developer: Reload Window");
  await loaded;
  await page
    .locator(".monaco-workbench .statusbar-item")
    .first()
    .waitFor({ timeout: 2 * WAIT_MS });
}

/** Confirms the place that a dialog for saving proposes, and gives the file's bytes. */
export async function acceptSave(page: Page, file: string): Promise<Buffer> {
  await page.locator(".quick-input-widget input.input:focus").waitFor({ timeout: WAIT_MS });
  for (const end = Date.now() + WAIT_MS; !(await quickInput(page).inputValue()).endsWith(basename(file)); await new Promise((r) => setTimeout(r, 50)))
    assert.ok(Date.now() < end, `the dialog proposes ${await quickInput(page).inputValue()}`);
  await confirm(page, quickInput(page));
  for (const end = Date.now() + WAIT_MS; Date.now() < end && !(existsSync(file) && statSync(file).size > 0); ) await new Promise((r) => setTimeout(r, 50));
  return readFileSync(file);
}

/** Clicks the four exports of a figure in turn and checks what each file begins with. @param find the figure, which is asked for each time */
export async function exportAll(page: Page, find: () => Promise<Locator>, folder: string, name: string): Promise<void> {
  const starts: Readonly<Record<string, RegExp>> = { SVG: /^<svg [^>]*xmlns=/, PNG: /^\x89PNG\r\n/, CSV: /^[^\n]*,[^\n]*\r\n/, JSON: /^[[{]/ };
  for (const [kind, start] of Object.entries(starts)) {
    const figure = await find();
    const save = figure.getByRole("button", { name: `Save ${kind}` });
    if (!(await save.isVisible())) await figure.locator("summary", { hasText: "Table and export" }).click();
    await save.click();
    const text = (await acceptSave(page, join(folder, `${name}.${kind.toLowerCase()}`))).toString("latin1");
    assert.match(text, start);
    // Colours that any program knows, on a ground that is there.
    if (kind === "SVG") assert.match(text, /^<svg [^>]*><rect [^>]*fill="rgb\(/);
    if (kind === "SVG") assert.doesNotMatch(text, /var\(|color-mix|oklab/);
  }
}

/** Shows everything in another of the editor's themes, for this workspace. */
export async function setTheme(page: Page, workspace: string, theme: keyof typeof EDITOR_THEMES): Promise<void> {
  mkdirSync(join(workspace, ".vscode"), { recursive: true });
  writeFileSync(join(workspace, ".vscode", "settings.json"), JSON.stringify({ "workbench.colorTheme": EDITOR_THEMES[theme] }));
  await page.locator(`.monaco-workbench.${CLASSES[theme]}`).waitFor({ timeout: WAIT_MS });
}

const EDITOR_THEMES = {
  light: "Default Light Modern",
  dark: "Default Dark Modern",
  "high-contrast": "Default High Contrast",
  "high-contrast-light": "Default High Contrast Light",
} as const;
const CLASSES = { light: "vs", dark: "vs-dark", "high-contrast": "hc-black", "high-contrast-light": "hc-light" } as const;

/** Colours of charts that the page's theme does not give, or through which the ground is seen. */
export async function missingColours(frame: Frame): Promise<readonly string[]> {
  const series = [1, 2, 3, 4, 5].map((i) => `--series-${i}`);
  const names = ["low", "high", "negative", "on-low", "on-high", "line", "base", "expert", "merge", "grid"].map((name) => `--chart-${name}`);
  return frame.evaluate(
    (all) => {
      const inherited = "rgb(1, 2, 3)";
      const holder = document.body.appendChild(document.createElement("div"));
      const probe = holder.appendChild(document.createElement("span"));
      holder.style.color = inherited;
      const colourOf = (name: string) => {
        probe.style.color = `var(${name})`;
        return getComputedStyle(probe).color;
      };
      const missing = all.filter((name) => colourOf(name) === inherited || /rgba|\/ /.test(colourOf(name)));
      holder.remove();
      return missing;
    },
    [...names, ...series],
  );
}

/** Waits until a file holds this text: while the editor saves, it is empty for a moment. */
export async function saved(file: string, text: string): Promise<void> {
  for (const end = Date.now() + WAIT_MS; Date.now() < end && readFileSync(file, "utf8") !== text; ) await new Promise((r) => setTimeout(r, 50));
  assert.equal(readFileSync(file, "utf8"), text);
}

/** The document of a page of an extension: the frame that holds something matching the selector. */
export async function webview(page: Page, selector: string): Promise<Frame> {
  for (const end = Date.now() + WAIT_MS; Date.now() < end; await new Promise((r) => setTimeout(r, 100))) {
    for (const frame of page.frames()) {
      if (frame === page.mainFrame()) continue;
      // A frame that goes away while it is asked holds nothing.
      if (
        (await frame
          .locator(selector)
          .count()
          .catch(() => 0)) > 0
      )
        return frame;
    }
  }
  throw new Error(
    `no page with ${selector}; frames: ${page
      .frames()
      .map((f) => f.url())
      .join(", ")}`,
  );
}

/** Runs the tests that the URL names in the extension host; their exit code. */
export async function runHostTests(browser: Browser, url: string, limitMs: number): Promise<number | "timeout"> {
  const context = await browser.newContext();
  const page = await context.newPage();
  let timer: NodeJS.Timeout | undefined;
  const ended = new Promise<number | "timeout">((settle) => {
    timer = setTimeout(() => settle("timeout"), limitMs);
    void page.exposeFunction("codeAutomationExit", (code: number) => settle(code));
  });
  // The workbench says much of its own here; the tests mark what they measured.
  await page.exposeFunction("codeAutomationLog", (_type: string, args: unknown) => {
    const text = [args].flat().map(String).join(" ");
    if (text.includes(FIGURE)) console.log(`      ${text.slice(text.indexOf(FIGURE) + FIGURE.length)}`);
  });
  await page.goto(url);
  const code = await ended;
  clearTimeout(timer);
  await context.close();
  return code;
}
