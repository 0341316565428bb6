// weightsmith align, share and population as a user runs them.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../helpers/folders.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));
const ZOO = "media/zoo";

function weightsmith(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], { encoding: "utf8" });
  return { status, out: stdout, err: stderr };
}

const fresh = (): string => join(temporaryFolder(), "out");

describe("weightsmith align", () => {
  it("writes a model that verify accepts, and measures the line", () => {
    const out = fresh();
    const html = join(temporaryFolder(), "line.html");
    const data = ["--barrier", "--data", `${ZOO}/data/add.test.jsonl`, "--points", "3", "--limit", "5", "--html", html];
    const { status, out: text, err } = weightsmith("align", `${ZOO}/base`, `${ZOO}/add`, "-o", out, ...data, "--json", "--threads", "1");
    assert.equal(status, 0, err);
    const { line, groups } = JSON.parse(text);
    assert.deepEqual(line.before, line.after);
    assert.equal(line.before.losses.length, 3);
    assert.equal(groups.length, 6);
    const embedded = /id="results">(.*?)<\/script>/.exec(readFileSync(html, "utf8"))?.[1] ?? "";
    assert.deepEqual(JSON.parse(embedded).line, line, "the page has the numbers of --json");
    assert.equal(weightsmith("verify", out).status, 0);
    assert.match(weightsmith("verify", out, "--rebuild").err, /rebuild-unsupported/);
    assert.doesNotMatch(readFileSync(join(out, "README.md"), "utf8"), /merge/);
    assert.match(weightsmith("align", `${ZOO}/base`, `${ZOO}/add`, "-o", out).err, /output-exists/);
  });

  it("says what is missing", () => {
    for (const args of [
      ["align", "a"],
      ["align", "a", "b"],
      ["align", "a", "b", "-o", "c", "--barrier"],
      ["share", "a", "-o", "b"],
      ["population", "fit", "a"],
    ]) {
      const { status, err } = weightsmith(...args);
      assert.equal(status, 2);
      assert.match(err, /error\[usage\]/);
    }
  });
});

describe("weightsmith share", () => {
  it("shows how like the heads are, on a page with the numbers of --json", () => {
    const html = join(temporaryFolder(), "heads.html");
    const { status, out: text, err } = weightsmith("share", `${ZOO}/base`, "-o", fresh(), "--method", "directshare", "--html", html, "--json");
    assert.equal(status, 0, err);
    const { similarity, pairs } = JSON.parse(text).shared;
    const page = JSON.parse(/id="results">(.*?)<\/script>/.exec(readFileSync(html, "utf8"))?.[1] ?? "");
    assert.deepEqual([page.similarity, page.pairs], [similarity, pairs]);
    assert.ok(similarity.layers[2].length === 2 && similarity.best[2].every(({ cosine }: { cosine: number }) => cosine > -1 && cosine <= 1));
    const again = weightsmith("share", `${ZOO}/base`, "-o", fresh(), "--method", "directshare", "--html", html);
    assert.match(again.err, /output-exists/);
    assert.match(weightsmith("share", `${ZOO}/base`, "-o", fresh(), "--method", "masa", "--html", `${html}2`).err, /error\[usage\].*directshare/);
  });

  it("writes a whole model, a compact file, what is shared, and an adapter", () => {
    const out = fresh();
    const { status, out: text, err } = weightsmith("share", `${ZOO}/base`, "-o", out, "--method", "recursive", "--loops", "3", "--rank", "4", "--json");
    assert.equal(status, 0, err);
    const { parameters } = JSON.parse(text);
    assert.ok(parameters.after < parameters.before);
    for (const file of ["model.safetensors", "compact.tensors", "share.json", "adapter/adapter_model.safetensors"])
      assert.ok(existsSync(join(out, file)), file);
    const { base_model_name_or_path: base } = JSON.parse(readFileSync(join(out, "adapter", "adapter_config.json"), "utf8"));
    assert.equal(base, out);
    assert.equal(weightsmith("verify", out).status, 0);
  });
});

describe("weightsmith population", () => {
  it("fits the zoo's adapters, gives one back byte by byte, edits and samples", () => {
    const [space, projected, edited, drawn] = [fresh(), fresh(), fresh(), fresh()];
    const names = ["add", "reverse", "shift", "sort"];
    const [sort = ""] = names.slice(3).map((name) => `${ZOO}/adapters/${name}`);
    assert.equal(weightsmith("population", "fit", ...names.map((name) => `${ZOO}/adapters/${name}`), "-o", space).status, 0);
    assert.equal(weightsmith("population", "project", space, sort, "-o", projected).status, 0);
    const bytes = (folder: string) => readFileSync(join(folder, "adapter_model.safetensors"));
    assert.equal(Buffer.compare(bytes(projected), bytes(sort)), 0);
    const labels = join(temporaryFolder(), "labels.json");
    writeFileSync(labels, JSON.stringify({ add: 1, reverse: -1, shift: 1, sort: -1 }));
    const { status, out, err } = weightsmith("population", "edit", space, sort, "--labels", labels, "--strength", "2", "-o", edited, "--json");
    assert.equal(status, 0, err);
    const { from, to, spread } = JSON.parse(out);
    assert.ok(Math.abs(Math.hypot(...from.map((x: number, k: number) => x - to[k])) - 2 * spread) < 1e-9);
    assert.equal(weightsmith("population", "sample", space, "-o", drawn, "--seed", "2").status, 0);
    assert.equal(weightsmith("adapter", "inspect", drawn).status, 0);
    writeFileSync(labels, JSON.stringify({ add: 1 }));
    assert.match(weightsmith("population", "edit", space, sort, "--labels", labels, "-o", fresh()).err, /error\[population-labels\]/);
  });
});
