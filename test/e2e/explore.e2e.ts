// The pages in the real editor: opened by command and by file, brushed, written back into a recipe, kept over a reload.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Frame, Page } from "playwright-core";
import type { Comparison } from "../../merge-core/analysis/comparison.ts";
import { randomFront } from "../helpers/fronts.ts";
import { writeWorkspace } from "./fixtures.ts";
import { type Server, startServer } from "./server.ts";
import {
  answer,
  choose,
  chooseFile,
  command,
  confirm,
  exportAll,
  launchBrowser,
  openFile,
  openWorkbench,
  outputQuestion,
  reloadWindow,
  showTab,
  webview,
} from "./workbench.ts";

const SHOTS = join(import.meta.dirname, "screenshots");
const CONFIG = `base: ./models/base
models: [./models/expert-a, ./models/expert-b]
objectives:
  - { name: first, metric: loss, data: data.jsonl }
  - { name: second, metric: parameters }
  - { name: third, metric: bytes }
`;

describe("pages in the editor", function () {
  this.timeout(120_000);
  let browser: Browser;
  let server: Server;
  let page: Page;
  const shot = (name: string) => page.screenshot({ path: join(SHOTS, `explore-${name}.png`) });
  const row = (text: RegExp) => page.locator(".pane-body .monaco-list-row", { hasText: text }).first();

  before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    browser = await launchBrowser();
    server = await startServer({ vsix: process.env.VSIX ?? "weightsmith.vsix" });
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

  const similarity = (): Promise<Frame> => webview(page, '[data-testid="comparison"] .heatmap');

  it("compares models, with the numbers that the command line gives", async () => {
    await openFile(page, "good.merge.yml");
    await command(page, "Weightsmith: Compare Models");
    await choose(page, "The models to compare", ["models/base", "models/expert-a", "models/expert-b"]);
    await answer(page, "The base that the others were trained from", "models/base");
    const frame = await similarity();
    const model = (name: string) => join(server.workspace, "models", name);
    const args = ["dist/weightsmith.js", "compare", "--base", model("base"), model("expert-a"), model("expert-b"), "--json", "--quiet"];
    const comparison = JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" })) as Comparison;
    const layer = comparison.layers[1];
    const map = frame.getByRole("group", { name: /Layers by roles/ });
    const shown = await map.locator('.cell[data-row="1"] text').allTextContents();
    const expected = [...new Set(comparison.layers.flatMap(({ roles }) => roles.map(({ name }) => name)))].map(
      (name) => layer?.roles.find((role) => role.name === name)?.conflict,
    );
    assert.deepEqual(
      shown,
      [...expected, layer?.conflict].map((value) => (typeof value === "number" ? (100 * value).toFixed(1) : "–")),
    );
    assert.match(await frame.locator("header").innerText(), new RegExp(`${comparison.total.elements.toLocaleString("en")} elements`));
    await shot("similarity");
  });

  it("measures the spectra of a chosen matrix, with the numbers that the command line gives", async () => {
    const frame = await similarity();
    const name = "model.layers.0.mlp.up_proj.weight";
    await frame.getByRole("button", { name, exact: true }).click();
    await frame.getByRole("button", { name: "Measure Singular Values" }).click();
    const ranks = frame.locator("table", { hasText: "change of expert-a" }).last();
    await ranks.waitFor({ timeout: 30_000 });
    const model = (folder: string) => join(server.workspace, "models", folder);
    const models = ["--base", model("base"), model("expert-a"), model("expert-b")];
    const args = ["dist/weightsmith.js", "compare", ...models, "--spectra", "--tensors", name, "--json", "--quiet"];
    const { spectra = [] } = JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" })) as Comparison;
    const [found] = spectra;
    const figure = (value: number | null | undefined) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : "–");
    const row = await ranks.locator("tbody tr").first().locator("td").allTextContents();
    const [change] = found?.models ?? [];
    assert.deepEqual(row.slice(-5, -1), [change?.singularValues[0], change?.effectiveRank, change?.stableRank, change?.spanningRank].map(figure));
    const pair = await frame.locator("table", { hasText: "first in second" }).last().locator("tbody tr").first().locator("td").allTextContents();
    assert.equal(pair.at(-6), figure(found?.pairs?.[0]?.subspace));
    await shot("spectra");
  });

  it("measures subspaces when asked to, and maps them with the numbers that the command line gives", async () => {
    const frame = await similarity();
    await frame.getByRole("button", { name: "Measure Subspaces" }).click();
    await frame.getByRole("button", { name: "Measure Subspaces" }).waitFor({ state: "detached", timeout: 60_000 });
    await frame.locator("#measure").selectOption("subspace");
    const model = (folder: string) => join(server.workspace, "models", folder);
    const args = ["dist/weightsmith.js", "compare", "--base", model("base"), model("expert-a"), model("expert-b"), "--spectra", "--json", "--quiet"];
    const { layers } = JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" })) as Comparison;
    const roles = [...new Set(layers.flatMap((layer) => layer.roles.map(({ name }) => name)))];
    const groups = [...roles.map((name) => layers[0]?.roles.find((role) => role.name === name)), layers[0]];
    const shown = await frame
      .getByRole("group", { name: /Layers by roles/ })
      .locator('.cell[data-row="0"] text')
      .allTextContents();
    assert.deepEqual(
      shown,
      groups.map((group) => group?.pairs[0]?.changes?.subspace).map((value) => (typeof value === "number" ? value.toFixed(2) : "–")),
    );
    assert.ok(shown.some((text) => text !== "–"));
    await shot("subspaces");
  });

  it("saves a picture and its numbers", async () => {
    const frame = await similarity();
    await exportAll(page, async () => frame.locator("figure", { has: frame.getByRole("group", { name: /Layers by roles/ }) }), server.workspace, "layers");
  });

  it("writes what is chosen into the open recipe, as an edit", async () => {
    const frame = await similarity();
    const map = frame.getByRole("group", { name: /Layers by roles/ });
    await map.locator('.cell[data-row="1"]').last().click();
    await frame.getByRole("button", { name: "Exclude From Merge" }).click();
    await frame.getByText(/^Written into .*good\.merge\.yml\.$/).waitFor();
    await page.locator(".view-lines", { hasText: "passthrough" }).waitFor();
    await shot("recipe");
    const file = join(server.workspace, "good.merge.yml");
    for (const end = Date.now() + 20_000; Date.now() < end && !readFileSync(file, "utf8").includes("overrides"); ) await page.waitForTimeout(250);
    const recipe = readFileSync(file, "utf8");
    assert.match(recipe, /overrides:\n {2}- filter: 're:\^model\\\.layers\\\.1\\\.'\n {4}merge_method: passthrough\n {4}models: \[\.\/models\/base\]/);
    const plan = execFileSync(process.execPath, ["dist/weightsmith.js", "plan", join(server.workspace, "good.merge.yml"), "--json"], { encoding: "utf8" });
    const { jobs } = JSON.parse(plan) as { jobs: { name: string; kind: string; inputs?: { model: string }[] }[] };
    for (const job of jobs.filter(({ name }) => name.startsWith("model.layers.1."))) assert.ok(job.kind === "copy" || job.inputs?.length === 1, job.name);
  });

  it("keeps its choice while it is hidden, and comes back after a reload of the window", async () => {
    await (await similarity()).locator("#measure").selectOption("cosine");
    await openFile(page, "planted.merge.yml");
    await showTab(page, "Comparison of");
    const frame = await similarity();
    assert.equal(await frame.locator("#measure").inputValue(), "cosine");
    assert.ok((await frame.locator(".cell.selected").count()) > 0);
    await reloadWindow(page);
    await showTab(page, "Comparison of");
    const again = await similarity();
    assert.match(await again.locator("header").innerText(), /2 models against/);
    assert.equal(await again.locator("#measure").inputValue(), "cosine");
    assert.ok((await again.locator(".cell.selected").count()) > 0);
  });

  it("opens the result of a search as a page, follows the file, and writes a merge", async () => {
    const folder = join(server.workspace, "front");
    mkdirSync(folder, { recursive: true });
    const config = join(server.workspace, "search.yml");
    writeFileSync(config, CONFIG);
    const write = (points: number) =>
      writeFileSync(join(folder, "pareto.json"), JSON.stringify({ ...randomFront(points, 3), config: { file: config, text: CONFIG } }));
    write(30);
    await command(page, "Weightsmith: Explore Pareto Front");
    const frame = await webview(page, '[data-testid="pareto"] .scatter');
    await frame.getByText(/^35 points/).waitFor();
    await frame.getByRole("group", { name: /Points/ }).focus();
    await page.keyboard.press("End");
    await frame.locator("pre", { hasText: "task_arithmetic" }).waitFor();
    await shot("trade-offs");
    write(40);
    await frame.getByText(/^45 points/).waitFor();
    await frame.getByLabel("Chosen point").getByRole("button", { name: "Write This Merge" }).click();
    await outputQuestion(page).waitFor();
    await confirm(page, outputQuestion(page));
    await row(/merge search-merge\s*done/).waitFor({ timeout: 60_000 });
    assert.match(readFileSync(join(server.workspace, "search-merge.merge.yml"), "utf8"), /task_arithmetic/);
  });

  it("filters by a brush, saves what is left, and comes back so after a reload of the window", async () => {
    const frame = await webview(page, '[data-testid="pareto"] .scatter');
    const scatter = frame.locator(".scatter");
    const count = frame.getByText(/^\d+ of 45 points\.$/);
    const brush = async () => {
      await scatter.scrollIntoViewIfNeeded();
      const { width, height } = (await scatter.boundingBox()) ?? { width: 0, height: 0 };
      // Over the chart itself, wherever the page has scrolled to by then.
      const moveTo = (x: number, y: number) => scatter.hover({ position: { x: x * width, y: y * height }, force: true });
      await moveTo(0.3, 0.2);
      await page.mouse.down();
      await moveTo(0.55, 0.5);
      await moveTo(0.8, 0.7);
      await page.mouse.up();
      return Number.parseInt(await count.innerText(), 10);
    };
    // Drawn again where the page moved or was drawn anew beneath it, so that it went over nothing.
    const isDrawn = () =>
      brush().then(
        (points) => points > 0,
        () => page.mouse.up().then(() => false),
      );
    for (let tries = 0; !(await isDrawn()) && tries < 5; tries++) await page.waitForTimeout(500);
    const left = await count.innerText();
    assert.notEqual(Number.parseInt(left, 10), 0, "the brush lies over points");
    await exportAll(page, async () => frame.locator("figure").first(), server.workspace, "trade-offs");
    const rows = readFileSync(join(server.workspace, "trade-offs.csv"), "utf8").trim().split("\r\n");
    assert.equal(rows.length - 1, Number.parseInt(left, 10));
    const front = JSON.parse(readFileSync(join(server.workspace, "trade-offs.json"), "utf8")) as { points: { id: string; values: (number | null)[] }[] };
    const first = front.points.find(({ id }) => id === rows[1]?.split(",")[0]);
    assert.equal(rows[1]?.split(",")[3], String(Number(first?.values[0]?.toPrecision(4))), "the numbers of the file");
    await frame.locator("#axis-x").selectOption("third");
    await frame.getByRole("group", { name: /^Axes\./ }).focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("Shift+End");
    const order = await frame.locator(".axis-name").allTextContents();
    assert.equal(order.at(-1), "first");
    const chosen = await frame.getByLabel("Chosen point").locator("h3").innerText();
    await reloadWindow(page);
    await showTab(page, "pareto.json");
    const again = await webview(page, '[data-testid="pareto"] .scatter');
    assert.equal(await again.getByText(/^\d+ of 45 points\.$/).innerText(), left);
    assert.equal(await again.locator("#axis-x").inputValue(), "third");
    assert.equal(await again.getByLabel("Chosen point").locator("h3").innerText(), chosen);
    assert.deepEqual(await again.locator(".axis-name").allTextContents(), order);
    await shot("trade-offs-restored");
  });

  it("says what is wrong with a file that is no result", async () => {
    mkdirSync(join(server.workspace, "bad"), { recursive: true });
    writeFileSync(join(server.workspace, "bad", "other.pareto.json"), "{}");
    await openFile(page, "other.pareto.json");
    const frame = await webview(page, '[data-testid="pareto-problem"]');
    assert.match(await frame.locator('[data-testid="pareto-problem"]').innerText(), /front-invalid/);
  });

  it("shows runs and training curves, and comes back after a reload of the window as it was left", async () => {
    const log = join(server.workspace, "logged");
    mkdirSync(log, { recursive: true });
    const line = (step: number) => JSON.stringify({ step, loss: 3 / step, lr: 1e-3, gradNorm: 1, tokensPerSecond: 900 });
    writeFileSync(join(log, "training-log.jsonl"), [1, 2, 3, 4].map(line).join("\n"));
    await command(page, "Weightsmith: Show Curves of Runs");
    const frame = await webview(page, '[data-testid="runs"]');
    await frame.getByRole("heading", { name: "merge search-merge" }).waitFor();
    await frame.getByRole("button", { name: "Add Logs..." }).click();
    await chooseFile(page, join(log, "training-log.jsonl"));
    const loss = frame.getByRole("group", { name: /^Loss/ });
    await loss.locator(".curve").waitFor();
    await exportAll(page, async () => frame.locator("figure", { has: loss }), server.workspace, "loss");
    assert.equal(readFileSync(join(server.workspace, "loss.csv"), "utf8"), "step,logged\r\n1,3\r\n2,1.5\r\n3,1\r\n4,0.75\r\n");
    await frame.locator("#smoothing").fill("0.25");
    await frame.getByRole("checkbox", { name: "logarithmic" }).check();
    await loss.focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowRight");
    const said = await frame.getByText(/^Step 2\. logged: loss 1\.5/).innerText();
    await shot("runs");
    await reloadWindow(page);
    await showTab(page, /^Runs/);
    const again = await webview(page, '[data-testid="runs"] .curve');
    assert.equal(await again.locator("#smoothing").inputValue(), "0.25");
    assert.ok(await again.getByRole("checkbox", { name: "logarithmic" }).isChecked());
    assert.equal(await again.getByText(/^Step 2\./).innerText(), said);
    await shot("runs-restored");
  });
});
