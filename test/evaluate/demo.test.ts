import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fillDemoFolder } from "../../merge-core/evaluate/demo-folder.ts";
import { reportHtml } from "../../merge-core/evaluate/demo-report.ts";
import { embedJson } from "../../merge-core/report-page.ts";
import { sampleResults } from "../helpers/demo-results.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";

describe("demo folder", () => {
  const write = (text: string) => async (folder: string) => writeFileSync(join(folder, "results.json"), text);

  it("appears complete, and an earlier demo gives way to a new one", async () => {
    const out = join(temporaryFolder(), "demo");
    await fillDemoFolder(out, false, write('{"format":"weightsmith-demo","n":1}'));
    await fillDemoFolder(out, false, write('{"format":"weightsmith-demo","n":2}'));
    assert.match(readFileSync(join(out, "results.json"), "utf8"), /"n":2/);
    assert.deepEqual(readdirSync(dirname(out)), ["demo"]);
  });

  for (const [title, content] of [
    ["a folder without results", undefined],
    ["results of something else", '{"format":"other"}'],
    ["results that are not JSON", "{"],
  ] as const) {
    it(`leaves ${title} alone, unless told to replace it`, async () => {
      const out = join(temporaryFolder(), "mine");
      mkdirSync(out);
      writeFileSync(join(out, "thesis.txt"), "years of work");
      if (content !== undefined) writeFileSync(join(out, "results.json"), content);
      let filled = false;
      const fill = async () => {
        filled = true;
      };
      await rejectsWith("output-exists", () => fillDemoFolder(out, false, fill));
      assert.equal(filled, false);
      assert.ok(existsSync(join(out, "thesis.txt")));
      await fillDemoFolder(out, true, fill);
      assert.equal(existsSync(join(out, "thesis.txt")), false);
    });
  }

  it("leaves nothing behind when the work fails, and the earlier demo as it was", async () => {
    const out = join(temporaryFolder(), "demo");
    await fillDemoFolder(out, false, write('{"format":"weightsmith-demo"}'));
    await assert.rejects(
      fillDemoFolder(out, false, async (folder) => {
        writeFileSync(join(folder, "half"), "");
        throw new Error("stopped");
      }),
      /stopped/,
    );
    assert.deepEqual(readdirSync(dirname(out)), ["demo"]);
    assert.deepEqual(readdirSync(out), ["results.json"]);
  });
});

describe("demo report", () => {
  const hostile = { ...sampleResults(), recipes: { "</script><script>alert(1)</script>": "<!-- <script>\u2028" } };

  it("embeds data that cannot end its script element and reads back the same", () => {
    const embedded = embedJson(hostile);
    assert.doesNotMatch(embedded, /[<\u2028\u2029]/);
    assert.deepEqual(JSON.parse(embedded), hostile);
  });

  it("lets exactly its own script run and nothing be loaded", () => {
    const html = reportHtml(hostile, 'console.log("</script>")');
    const scripts = [...html.matchAll(/<script>([\s\S]*?)<\/script>/g)].map((match) => match[1] ?? "");
    assert.equal(scripts.length, 1);
    const hash = createHash("sha256")
      .update(scripts[0] ?? "")
      .digest("base64");
    assert.match(html, /default-src 'none'/);
    assert.ok(html.includes(`script-src 'sha256-${hash}'`));
    assert.doesNotMatch(html, /unsafe|https?:/);
  });
});
