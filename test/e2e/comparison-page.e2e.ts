// The similarity page in a browser alone: what is chosen in one picture is marked in the others, and the change of the recipe that follows.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { usePages } from "./bare-page.ts";
import { COMPARISONS } from "./page-fixtures.ts";

describe("similarity page", function () {
  this.timeout(120_000);
  const pages = usePages();

  for (const theme of ["light", "dark", "high-contrast"] as const)
    it(`have numbers in cells of every colour that can be read, in ${theme}`, async () => {
      const page = await pages.show("comparison", COMPARISONS.usual, { theme });
      const least = await page.evaluate(leastContrast);
      assert.ok(least.cells > 50 && least.contrast >= 4.5, JSON.stringify(least));
    });

  it("a chosen matrix shows the spectra there are, and asks for those there are not", async () => {
    const page = await pages.show("comparison", COMPARISONS.usual);
    const tensor = (layer: number) => page.getByRole("button", { name: `model.layers.${layer}.attention.weight`, exact: true });
    await tensor(0).click();
    await page.getByRole("heading", { name: "Subspaces of the changes" }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Measure Singular Values" }).count(), 0);
    await tensor(1).click();
    await page.getByRole("button", { name: "Measure Singular Values" }).click();
    const requests = await pages.requests();
    assert.deepEqual(
      requests.map(({ method, params }) => [method, params]),
      [["spectra", "model.layers.1.attention.weight"]],
    );
  });

  it("a pair chosen in the matrix, a cell by keyboard, its tensors, and a change of the recipe", async () => {
    const page = await pages.show("comparison", COMPARISONS.usual);
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
      (await pages.requests()).map(({ params }) => params),
      [{ patterns }, { patterns, method: "ties" }],
    );
    await page.getByRole("button", { name: "model.layers.0.attention.weight" }).waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Clear Choice" }).click();
    await page.getByRole("button", { name: "model.layers.0.attention.weight" }).click();
    await page.getByRole("heading", { name: "Singular values" }).waitFor();
  });

  it("what is chosen in any picture is marked in the others", async () => {
    const page = await pages.show("comparison", COMPARISONS.usual);
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

  it("cells of a large map are painted, and reached and chosen as others are", async () => {
    const page = await pages.show("comparison", COMPARISONS["5,200 cells"], { theme: "light" });
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

  it("comes back as it was left", async () => {
    const saved = { choice: { subject: "pair-0-2", measure: "ratio", cells: [{ layer: "model.layers.2", role: "mlp" }], tensor: "model.layers.2.mlp.weight" } };
    const page = await pages.show("comparison", COMPARISONS.usual, { saved });
    assert.deepEqual([await page.locator("#subject").inputValue(), await page.locator("#measure").inputValue()], ["pair-0-2", "ratio"]);
    assert.equal(await page.locator('[aria-pressed="true"]').innerText(), "model.layers.2.mlp.weight");
  });

  it("exports what it shows, as SVG, PNG, CSV and JSON", async () => {
    const page = await pages.show("comparison", COMPARISONS.usual);
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

  it("draws a comparison of three of the sample models within a second", async () => {
    const models = ["sort", "reverse", "shift"].map((name) => `media/zoo/${name}`);
    const args = [join(import.meta.dirname, "weightsmith.js"), "compare", "--base", "media/zoo/base", ...models, "--json", "--quiet"];
    const comparison: unknown = JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" }));
    const page = await pages.show("comparison", COMPARISONS["no models"]);
    const ms = await page.evaluate(firstPicture, { ...COMPARISONS.usual, comparison });
    console.log(`      ${ms.toFixed(0)} ms to the first picture`);
    assert.ok(ms < 1000, `${ms} ms`);
  });
});

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
