// Every page in a browser alone, in three themes and two widths, with the usual and with what is hard to draw: nothing sticks
// out, axe finds nothing serious, keys and brushes work. Pictures are left beside this file.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { seriousViolations } from "./axe.ts";
import { type BarePage, openBarePage } from "./bare-page.ts";
import { COMPARISONS, FRONTS, INSPECTORS, RUNS } from "./page-fixtures.ts";
import { type Theme, themeCss } from "./themes.ts";
import { launchBrowser } from "./workbench.ts";

const SHOTS = join(import.meta.dirname, "screenshots", "pages");
const PAGES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = { comparison: COMPARISONS, pareto: FRONTS, runs: RUNS, inspector: INSPECTORS };
const VIEWS: readonly { theme: Theme; width: number }[] = (["light", "dark", "high-contrast"] as const).flatMap((theme) =>
  [1100, 320].map((width) => ({ theme, width })),
);

describe("pages", function () {
  this.timeout(120_000);
  let browser: Browser;
  let open: BarePage | undefined;
  const show = async (name: string, state: unknown, options: { theme?: Theme; width?: number; saved?: unknown } = {}) => {
    open = await openBarePage(browser, name, state, { theme: "dark", width: 1100, ...options });
    return open.page;
  };

  before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    browser = await launchBrowser();
  });
  afterEach(async () => {
    const page = open;
    open = undefined;
    await page?.close();
  });
  after(() => browser?.close());

  for (const [name, fixtures] of Object.entries(PAGES))
    for (const [fixture, state] of Object.entries(fixtures)) {
      const views = fixture === "usual" ? VIEWS : VIEWS.filter(({ theme, width }) => (theme === "light") === (width === 1100));
      for (const { theme, width } of views)
        it(`${name} with ${fixture} in ${theme} at ${width} pixels`, async () => {
          const page = await show(name, state, { theme, width });
          await page.screenshot({ path: join(SHOTS, `${name}-${fixture.replaceAll(/\W+/g, "-")}-${theme}-${width}.png`), fullPage: true });
          assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, "the page does not scroll sideways");
          assert.doesNotMatch(await page.locator("body").innerText(), /\bNaN\b|undefined|\[object/);
          assert.equal(await page.locator("svg [d*=NaN], svg [x*=NaN], svg [transform*=NaN]").count(), 0);
          assert.deepEqual(await seriousViolations(page), []);
        });
    }

  for (const theme of ["light", "dark", "high-contrast"] as const)
    it(`have numbers in cells of every colour that can be read, in ${theme}`, async () => {
      const page = await show("comparison", COMPARISONS.usual, { theme });
      const least = await page.evaluate(leastContrast);
      assert.ok(least.cells > 50 && least.contrast >= 4.5, JSON.stringify(least));
    });

  it("are judged by an axe that sees", async () => {
    const page = await show("runs", RUNS.nothing);
    await page.evaluate(() => document.body.append(document.createElement("select")));
    assert.match((await seriousViolations(page)).join(), /select-name/);
  });

  it("similarity: a chosen matrix shows the spectra there are, and asks for those there are not", async () => {
    const page = await show("comparison", COMPARISONS.usual);
    const tensor = (layer: number) => page.getByRole("button", { name: `model.layers.${layer}.attention.weight`, exact: true });
    await tensor(0).click();
    await page.getByRole("heading", { name: "Subspaces of the changes" }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Measure Singular Values" }).count(), 0);
    await tensor(1).click();
    await page.getByRole("button", { name: "Measure Singular Values" }).click();
    const requests = (await open?.requests()) ?? [];
    assert.deepEqual(
      requests.map(({ method, params }) => [method, params]),
      [["spectra", "model.layers.1.attention.weight"]],
    );
  });

  it("similarity: a pair chosen in the matrix, a cell by keyboard, its tensors, and a change of the recipe", async () => {
    const page = await show("comparison", COMPARISONS.usual);
    await page.locator(".heatmap").first().locator('.cell[data-row="0"][data-column="1"]').click();
    assert.match(await page.locator("#subject").inputValue(), /^pair-/);
    await page.locator("#measure").selectOption("cosine");
    const map = page.getByRole("group", { name: /Layers by roles/ });
    await map.focus();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Enter");
    assert.equal(await map.locator(".cell.selected").count(), 1);
    await page.getByRole("button", { name: "model.layers.1.mlp.weight" }).click();
    assert.match(await page.locator("nav").innerText(), /all tensors.*layer 1.*mlp.*model\.layers\.1\.mlp\.weight/s);
    await page.getByRole("button", { name: "Exclude From Merge" }).click();
    await page.getByLabel("Merge method").selectOption("ties");
    await page.getByRole("button", { name: "Use Method" }).click();
    const patterns = ["re:^model\\.layers\\.1\\.mlp\\.weight$"];
    assert.deepEqual(
      (await open?.requests())?.map(({ params }) => params),
      [{ patterns }, { patterns, method: "ties" }],
    );
    await page.getByRole("button", { name: "model.layers.0.attention.weight" }).waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Clear Choice" }).click();
    await page.getByRole("button", { name: "model.layers.0.attention.weight" }).click();
    await page.getByRole("heading", { name: "Singular values" }).waitFor();
  });

  it("similarity: what is chosen in any picture is marked in the others", async () => {
    const page = await show("comparison", COMPARISONS.usual);
    const group = (name: RegExp) => page.getByRole("group", { name });
    const subject = () => page.locator("#subject").inputValue();
    await group(/Models joined by likeness/)
      .locator(".leaf")
      .nth(1)
      .click();
    const name = await group(/Models joined by likeness/)
      .locator(".leaf.selected text")
      .textContent();
    assert.match(await subject(), /^model-/);
    assert.match(
      (await group(/Map of the models/)
        .locator(".point.selected title")
        .textContent()) ?? "",
      new RegExp(`^${name}`),
    );
    // Points of this fixture lie on each other: one that a mouse reaches.
    const points = group(/Map of the models/).locator(".point.expert:not(.selected)");
    await points.first().scrollIntoViewIfNeeded();
    const reached = await points.evaluateAll((all) =>
      all.findIndex((point) => {
        const { x, y, width, height } = (point.querySelector(".mark") ?? point).getBoundingClientRect();
        return point.contains(document.elementFromPoint(x + width / 2, y + height / 2));
      }),
    );
    assert.ok(reached >= 0, "a mouse reaches no point");
    const title = await points.nth(reached).locator("title").textContent();
    const before = await subject();
    await points.nth(reached).click();
    assert.notEqual(await subject(), before);
    const leaf = await group(/Models joined by likeness/)
      .locator(".leaf.selected text")
      .textContent();
    assert.ok(leaf && title?.startsWith(leaf), `${leaf} is chosen, not ${title}`);
    await group(/^Cosine of the changes/)
      .locator('.cell[data-row="0"][data-column="1"]')
      .click();
    assert.match(await subject(), /^pair-/);
    assert.equal(
      await group(/Models joined by likeness/)
        .locator(".leaf.selected")
        .count(),
      2,
    );
    await group(/Conflict by role/).focus();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    assert.equal(
      await group(/Conflict by role/)
        .locator(".bar-row.selected")
        .count(),
      1,
    );
    assert.equal(
      await group(/Layers by roles/)
        .locator(".cell.selected")
        .count(),
      12,
      "the role in every layer",
    );
    assert.equal(await page.locator(".tensors tbody tr").count(), 12);
    assert.equal(
      await page.locator("nav b").innerText(),
      await group(/Conflict by role/)
        .locator(".bar-row.selected text")
        .first()
        .textContent(),
    );
    await group(/^Alignment of the layers/)
      .locator('.cell[data-row="2"][data-column="2"]')
      .click();
    assert.equal(await subject(), "pair-1-2");
    assert.equal(await page.locator("nav b").innerText(), "layer 1");
    assert.equal(
      await group(/^Alignment of the layers/)
        .locator(".cell.selected")
        .count(),
      1,
    );
    assert.match(
      (await group(/Signed agreement/)
        .locator("svg")
        .getAttribute("aria-label")) ?? "",
      /^Signed agreement in layer 1,/,
    );
    await page.getByRole("button", { name: "Clear Choice" }).click();
    await page.getByRole("button", { name: "model.layers.0.attention.weight", exact: true }).click();
    await group(/Singular values/)
      .locator(".curve-group")
      .nth(3)
      .locator(".curve")
      .click({ force: true });
    assert.equal(await subject(), "model-3");
    assert.equal(
      await group(/Singular values/)
        .locator(".curve-group.selected")
        .count(),
      1,
    );
  });

  it("similarity: cells of a large map are painted, and reached and chosen as others are", async () => {
    const page = await show("comparison", COMPARISONS["5,200 cells"], { theme: "light" });
    const map = page.getByRole("group", { name: /Layers by roles/ });
    const figure = page.locator("figure", { has: map });
    const readout = () => figure.locator(".readout").innerText();
    const shownAt = async (row: number, column: number) => (await figure.locator("tbody tr").nth(row).locator("td").allInnerTexts())[column + 1];
    await figure.locator("summary").click();
    assert.equal(await map.locator(".cell").count(), 1, "one element stands for all");
    await map.focus();
    await page.keyboard.press("ArrowDown");
    for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowRight");
    assert.equal(await readout(), `layer 1, role_4_proj: ${await shownAt(1, 3)}`);
    await page.keyboard.press("Enter");
    assert.equal(await map.locator(".cell.selected").count(), 1);
    assert.match(await page.locator(".tensors").innerText(), /model\.layers\.1\.role_4_proj\.weight/);
    // The stand-in lies where the cell is: what is there is painted in the cell's colour, and a mouse finds it.
    await page.keyboard.press("ArrowLeft");
    const box = await map.locator(".cell.cursor rect").boundingBox();
    assert.ok(box);
    await page.mouse.move(box.x + box.width / 2 + 40, box.y + box.height / 2);
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2, { steps: 2 });
    assert.equal(await readout(), `layer 1, role_3_proj: ${await shownAt(1, 2)}`);
    assert.equal(await map.locator(".under title").textContent(), await readout());
    await page.mouse.down();
    await page.mouse.up();
    assert.match(await page.locator(".tensors").innerText(), /model\.layers\.1\.role_3_proj\.weight/);
    const painted = await map.locator("canvas").evaluate((canvas: HTMLCanvasElement) => {
      const { data = [] } = canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height) ?? {};
      const colours = new Set<string>();
      for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) colours.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
      return colours.size;
    });
    assert.ok(painted > 20, `${painted} colours`);
    await figure.getByRole("button", { name: "Save SVG" }).click();
    await page.waitForFunction("seam.sent.some(({ method }) => method === 'save')");
    const svg = (await page.evaluate("new TextDecoder().decode(seam.sent.find(({ method }) => method === 'save').params.bytes)")) as string;
    assert.ok(svg.split("<title").length > 5200, "the export has every cell");
    assert.doesNotMatch(svg, /var\(|color-mix|oklab/);
  });

  it("similarity: comes back as it was left", async () => {
    const saved = { choice: { subject: "pair-0-2", measure: "ratio", cells: [{ layer: "model.layers.2", role: "mlp" }], tensor: "model.layers.2.mlp.weight" } };
    const page = await show("comparison", COMPARISONS.usual, { saved });
    assert.deepEqual([await page.locator("#subject").inputValue(), await page.locator("#measure").inputValue()], ["pair-0-2", "ratio"]);
    assert.equal(await page.locator('[aria-pressed="true"]').innerText(), "model.layers.2.mlp.weight");
  });

  it("exports what it shows, as SVG, PNG, CSV and JSON", async () => {
    const page = await show("comparison", COMPARISONS.usual);
    const figure = page.locator("figure", { has: page.getByRole("group", { name: /Layers by roles/ }) });
    await figure.locator("summary").click();
    for (const kind of ["SVG", "PNG", "CSV", "JSON"]) await figure.getByRole("button", { name: `Save ${kind}` }).click();
    await page.waitForFunction("seam.sent.filter(({ method }) => method === 'save').length === 4");
    const files = (await page.evaluate(
      "Object.fromEntries(seam.sent.filter(({ method }) => method === 'save').map(({ params }) => [params.name, [...params.bytes.slice(0, 4)].join() + '|' + new TextDecoder().decode(params.bytes)]))",
    )) as Record<string, string>;
    assert.match(files["layers.svg"] ?? "", /<svg[^>]* xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    assert.doesNotMatch(files["layers.svg"] ?? "", /var\(|color-mix|oklab/);
    assert.match(files["layers.png"] ?? "", /^137,80,78,71/);
    const csv = (files["layers.csv"] ?? "").split("|")[1]?.split("\r\n") ?? [];
    assert.equal(csv[0], ",attention,mlp,norm,layer");
    const shown = await figure.locator("tbody tr").first().locator("td").allInnerTexts();
    assert.equal(csv[1], shown.join());
    const json = JSON.parse((files["layers.json"] ?? "").slice((files["layers.json"] ?? "").indexOf("|") + 1)) as { rows: { values: number[] }[] };
    assert.equal(json.rows[0]?.values[3], COMPARISONS.usual.comparison.layers[0]?.conflict);
  });

  it("trade-offs: a point by keyboard, its recipe and its merge; a filter by number; another preference", async () => {
    const page = await show("pareto", FRONTS.usual);
    await page.getByRole("group", { name: /Points/ }).focus();
    await page.keyboard.press("End");
    await page.waitForFunction("seam.sent.some(({ method }) => method === 'recipeAt')");
    await page.getByLabel("Chosen point").getByRole("button", { name: "Write This Merge" }).click();
    const requests = (await open?.requests()) ?? [];
    assert.deepEqual(
      requests.map(({ method }) => method),
      ["recipeAt", "writeMerge"],
    );
    assert.deepEqual(requests[0]?.params, requests[1]?.params);
    await page.getByLabel("Least first").fill("0.8");
    await page.keyboard.press("Enter");
    await page.getByText(/^\d+ of 85 points\.$/).waitFor();
    const before = await page.getByText(/^Predicted best/).innerText();
    await page.locator("#preference-1").fill("100");
    assert.notEqual(await page.getByText(/^Predicted best/).innerText(), before);
    await page.getByRole("button", { name: "Evaluate This Point" }).first().click();
    assert.equal((await open?.requests())?.at(-1)?.method, "evaluate");
    await page.locator("#axis-x").selectOption("third");
    await page.getByRole("button", { name: "Invert, across" }).click();
    assert.equal(await page.getByRole("button", { name: "Invert, across" }).getAttribute("aria-pressed"), "true");
    await page.locator(".scatter .axis-titles", { hasText: "third (lower is better)" }).waitFor();
  });

  it("trade-offs: shows what a search that goes on has added, and keeps the choice", async () => {
    const page = await show("pareto", FRONTS.usual, { saved: { chosen: "sample-1" } });
    const { file } = FRONTS.usual as { file: { points: readonly unknown[] } };
    await open?.push({ ...FRONTS.usual, file: { ...file, points: file.points.slice(0, -10) } });
    await page.getByText(/^75 points/).waitFor();
    assert.match(await page.getByLabel("Chosen point").innerText(), /sample-1/);
  });

  it("trade-offs: axes change places by mouse and by keys, and stay there", async () => {
    const page = await show("pareto", FRONTS.usual);
    const axes = page.getByRole("group", { name: /^Axes\./ });
    const names = () => axes.locator(".axis-name").allTextContents();
    const given = await names();
    assert.deepEqual(given, ["first", "second", "third", "weight 1", "weight 2"]);
    await axes.focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Shift+ArrowRight");
    await page.getByText("first, axis 2 of 5").waitFor();
    assert.deepEqual(await names(), ["second", "first", "third", "weight 1", "weight 2"]);
    assert.equal(await axes.locator(".upright.cursor .axis-name").textContent(), "first");
    const from = await axes.locator(".axis-name", { hasText: "third" }).boundingBox();
    const to = await axes.locator(".axis-name", { hasText: "second" }).boundingBox();
    assert.ok(from && to);
    await page.mouse.move(from.x + from.width / 2, from.y + from.height / 2);
    await page.mouse.down();
    await page.mouse.move(from.x - 40, from.y + 5, { steps: 3 });
    await page.mouse.move(to.x - 2, to.y + 5, { steps: 3 });
    await page.mouse.up();
    assert.deepEqual(await names(), ["third", "second", "first", "weight 1", "weight 2"]);
    assert.equal(await page.locator(".parallel .brush").count(), 0, "a name that is dragged filters nothing");
    const saved = await page.evaluate("seam.saved");
    await open?.close();
    const again = await show("pareto", FRONTS.usual, { saved });
    assert.deepEqual(
      await again
        .getByRole("group", { name: /^Axes\./ })
        .locator(".axis-name")
        .allTextContents(),
      ["third", "second", "first", "weight 1", "weight 2"],
    );
    await again.getByRole("group", { name: /^Axes\./ }).scrollIntoViewIfNeeded();
    const at = await again
      .getByRole("group", { name: /^Axes\./ })
      .locator(".axis-name")
      .first()
      .boundingBox();
    assert.ok(at);
    await again.mouse.move(at.x + 50, at.y + 60);
    await again.mouse.down();
    await again.mouse.move(at.x + 52, at.y + 140, { steps: 3 });
    await again.mouse.up();
    assert.notEqual(await again.getByLabel("Least third").inputValue(), "", "a drag along an axis filters by it, wherever it stands");
  });

  it("trade-offs: baselines are seen in themes whose orange lets the ground through", async () => {
    const page = await show("pareto", FRONTS.usual);
    const fill = await page
      .locator(".scatter .dot.baseline")
      .first()
      .evaluate((mark) => getComputedStyle(mark).fill);
    assert.match(fill, /^(rgb\(|color\(srgb [\d. ]+\))/, fill);
  });

  it("trade-offs: paints its points in the colours of another theme as soon as the editor has it", async () => {
    const page = await show("pareto", FRONTS["10,000 points"], { theme: "light" });
    const darkest = () =>
      page
        .locator(".scatter ~ canvas, .layers canvas")
        .first()
        .evaluate((canvas: HTMLCanvasElement) => {
          const { data = [] } = canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height) ?? {};
          let sum = 0;
          let count = 0;
          for (let i = 0; i < data.length; i += 4) if ((data[i + 3] ?? 0) > 250) [sum, count] = [sum + (data[i] ?? 0), count + 1];
          return sum / count;
        });
    const light = await darkest();
    await page.evaluate((css) => {
      document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
      document.body.className = "vscode-dark";
    }, themeCss("dark"));
    await page.waitForTimeout(200);
    assert.ok((await darkest()) - light > 20, "lighter dots on a dark ground");
  });

  it("draws a comparison of three of the sample models within a second", async () => {
    const models = ["sort", "reverse", "shift"].map((name) => `media/zoo/${name}`);
    const args = [join(import.meta.dirname, "weightsmith.js"), "compare", "--base", "media/zoo/base", ...models, "--json", "--quiet"];
    const comparison: unknown = JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" }));
    const page = await show("comparison", COMPARISONS["no models"]);
    const ms = await page.evaluate(firstPicture, { ...COMPARISONS.usual, comparison });
    console.log(`      ${ms.toFixed(0)} ms to the first picture`);
    assert.ok(ms < 1000, `${ms} ms`);
  });

  for (const [name, fixtures] of Object.entries(PAGES))
    it(`${name}: takes less than 150 MB with whatever fixture`, async () => {
      const session = await browser.newBrowserCDPSession();
      for (const [fixture, state] of Object.entries(fixtures)) {
        const page = await show(name, state, { theme: "light" });
        const heap = await page.context().newCDPSession(page);
        await heap.send("HeapProfiler.collectGarbage");
        const { usedSize, totalSize } = await heap.send("Runtime.getHeapUsage");
        const { processInfo } = await session.send("SystemInfo.getProcessInfo");
        const own = Math.max(...processInfo.filter(({ type }) => type === "renderer").map(({ id }) => privateBytes(id)));
        console.log(`      ${fixture}: heap ${(usedSize / 1e6).toFixed(1)} of ${(totalSize / 1e6).toFixed(1)} MB, process ${(own / 1e6).toFixed(0)} MB`);
        assert.ok(own < 150e6, `${fixture} takes ${own} bytes`);
        await open?.close();
        open = undefined;
      }
    });

  it("brushes 10,000 points within a frame", async () => {
    const page = await show("pareto", FRONTS["10,000 points"]);
    const { work, between, heapMiB, text } = await page.evaluate(brush);
    console.log(`      ${work.toFixed(1)} ms of ours a frame, frames every ${between.toFixed(1)} ms while brushing (medians), ${heapMiB.toFixed(0)} MiB`);
    // 60 frames a second leave 16.7 ms for each. What a busy machine adds between them is not ours to bound.
    assert.ok(work < 16.7, `${work} ms a frame`);
    assert.ok(heapMiB < 150);
    assert.match(text, /^[\d,]+ of 10,005 points\.$/);
  });

  it("runs: marks a step in all charts, hides a run, smooths", async () => {
    const page = await show("runs", RUNS.usual);
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
    assert.deepEqual((await open?.requests())?.at(-1), { method: "cancel", params: "1" });
  });
});

/** Memory that a process shares with no other. */
function privateBytes(pid: number): number {
  const lines = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8").matchAll(/^Private_\w+:\s+(\d+) kB/gm);
  return [...lines].reduce((sum, [, kibibytes]) => sum + 1024 * Number(kibibytes), 0);
}

/** Runs in the page: the least contrast of a cell's number on its colour (WCAG 2). Axe does not look into pictures. */
function leastContrast() {
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const luminance = (colour: string) => {
    if (context === null) return Number.NaN;
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r = 0, g = 0, b = 0] = [...context.getImageData(0, 0, 1, 1).data].map((byte) => {
      const share = byte / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrasts = [...document.querySelectorAll(".heatmap .cell:not(.missing)")].map((cell) => {
    const [dark = 0, light = 0] = ["rect", "text"].map((name) => luminance(getComputedStyle(cell.querySelector(name) as Element).fill)).sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  });
  return { cells: contrasts.length, contrast: Math.min(...contrasts) };
}

/** Runs in the page: hands it its numbers, and times until what they draw is on the screen. */
async function firstPicture(state: unknown): Promise<number> {
  const started = performance.now();
  window.dispatchEvent(new MessageEvent("message", { data: { kind: "state", state } }));
  const frame = () => new Promise((resume) => requestAnimationFrame(resume));
  do await frame();
  while (document.querySelector(".heatmap .cell") === null);
  await frame();
  return performance.now() - started;
}

/** Runs in the page: drags over the scatter and times each frame's work. */
async function brush() {
  const svg = document.querySelector(".scatter") as SVGSVGElement;
  const box = svg.getBoundingClientRect();
  const send = (type: string, x: number, y: number, target: EventTarget = window) =>
    target.dispatchEvent(new PointerEvent(type, { bubbles: true, clientX: box.left + x, clientY: box.top + y, button: 0, buttons: 1 }));
  const frame = window.requestAnimationFrame.bind(window);
  const work: number[] = [];
  window.requestAnimationFrame = (act) =>
    frame((time) => {
      const started = performance.now();
      act(time);
      work.push(performance.now() - started);
    });
  const between: number[] = [];
  send("pointerdown", 100, 60, svg);
  let last = performance.now();
  for (let i = 1; i <= 60; i++) {
    send("pointermove", 100 + 5 * i, 60 + 3 * i);
    await new Promise((resume) => frame(resume));
    between.push(performance.now() - last);
    last = performance.now();
  }
  send("pointerup", 400, 240);
  const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
  const { memory } = performance as Performance & { memory?: { usedJSHeapSize: number } };
  const text = [...document.querySelectorAll("[role=status]")].map((element) => element.textContent ?? "").find((said) => said.includes("points.")) ?? "";
  return { work: median(work), between: median(between), heapMiB: (memory?.usedJSHeapSize ?? 0) / 2 ** 20, text };
}
