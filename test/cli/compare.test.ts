// weightsmith compare as a user runs it.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));

function weightsmith(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], { encoding: "utf8" });
  return { status, out: stdout, err: stderr };
}

const model = (values: readonly number[]): string =>
  writeModel([0, 1].map((layer) => floatTensor(`model.layers.${layer}.mlp.up_proj.weight`, [2, 2], values.slice(4 * layer, 4 * layer + 4))));

const BASE = model([0, 0, 0, 0, 0, 0, 0, 0]);
const A = model([1, 2, 3, 4, 1, 2, 3, 4]);
const B = model([1, 2, 3, 4, -1, 2, -3, 4]);

describe("weightsmith compare", () => {
  it("gives all measures under --json", () => {
    const { status, out, err } = weightsmith("compare", "--base", BASE, A, B, "--json");
    assert.equal(status, 0, err);
    const { total, layers, models, base } = JSON.parse(out);
    assert.deepEqual([base, models], [BASE, [A, B]]);
    assert.equal(total.pairs[0].changes.conflict, 2 / 8);
    assert.deepEqual(
      layers.map((l: { conflict: number; conflictRank: number }) => [l.conflict, l.conflictRank]),
      [
        [0, 2],
        [0.5, 1],
      ],
    );
  });

  it("prints tables, layers by falling conflict, and what the measures mean", () => {
    const { status, out } = weightsmith("compare", "--base", BASE, A, B);
    assert.equal(status, 0);
    assert.ok(out.indexOf("model.layers.1 ") < out.indexOf("model.layers.0 "), out);
    assert.match(out, /conflict: Among elements that both models changed.*arxiv/);
    assert.match(out, /None of these says how good a merge will be/);
  });

  it("adds spectra to the chosen tensors, in JSON and in tables", () => {
    const { status, out, err } = weightsmith("compare", "--base", BASE, A, B, "--spectra", "--tensors", "*layers.1.*", "--json");
    assert.equal(status, 0, err);
    const { tensors, spectra, total } = JSON.parse(out);
    assert.deepEqual([tensors.length, spectra.length, spectra[0].tensor], [1, 1, "model.layers.1.mlp.up_proj.weight"]);
    // [[1, 2], [3, 4]]: s1^2 + s2^2 = 30, s1 s2 = 2.
    const [s1, s2] = spectra[0].models[0].singularValues;
    assert.ok(Math.abs(s1 ** 2 + s2 ** 2 - 30) < 1e-5 && Math.abs(s1 * s2 - 2) < 1e-5);
    assert.equal(total.pairs[0].changes.subspace, 1, "two directions of two span everything");
    const text = weightsmith("compare", "--base", BASE, A, B, "--spectra").out;
    assert.match(text, /Ranks: means over 2 matrices/);
    assert.match(text, /Subspaces by role\n.*\n.*\nmlp M1 M2/);
    assert.match(text, /subspace alignment: .*arxiv.org\/abs\/2502.04959/);
  });

  it("aligns the activations of models on data", () => {
    const zoo = (name: string) => join("media", "zoo", name);
    const data = ["--data", join("media", "zoo", "data", "add.test.jsonl"), "--positions", "200"];
    const { status, out, err } = weightsmith("compare", "--base", zoo("base"), zoo("add"), zoo("add"), ...data, "--json", "--quiet");
    assert.equal(status, 0, err);
    const { activations, layers } = JSON.parse(out);
    assert.equal(activations.positions, 200);
    assert.deepEqual(
      activations.layers.map(({ name }: { name: string }) => name),
      ["embedding", ...layers.map(({ name }: { name: string }) => name)],
    );
    for (const { pairs } of activations.layers) {
      const [first, second, same] = pairs;
      assert.deepEqual([first.a, first.b, same.a, same.b], [-1, 0, 0, 1]);
      assert.deepEqual([first.cka, first.ckaDebiased], [second.cka, second.ckaDebiased]);
      assert.ok(Math.abs(same.cka - 1) < 1e-12 && Math.abs(same.ckaDebiased - 1) < 1e-12);
      assert.ok(first.cka > 0 && first.cka < 1);
    }
    const text = weightsmith("compare", zoo("base"), zoo("add"), ...data, "--quiet").out;
    assert.match(text, /Activations on 200 token positions: CKA \(debiased\)\nlayer +M1 M2/);
    assert.match(weightsmith("compare", A, B, ...data).err, /config\.json/);
    assert.match(weightsmith("compare", A, B, "--positions", "9").err, /--positions is of --data/);
    assert.match(weightsmith("compare", zoo("base"), zoo("add"), ...data, "--memory", "64KiB").err, /memory-budget.*activations do not fit/s);
  });

  it("explains every measure, each with its paper", () => {
    const { status, out } = weightsmith("compare", "--explain", "--json");
    assert.equal(status, 0);
    const { explanations } = JSON.parse(out) as { explanations: { measure: string; meaning: string; source?: { url: string } }[] };
    const names = explanations.map(({ measure }) => measure);
    assert.equal(new Set(names).size, names.length);
    for (const name of ["conflict", "top-k overlap", "norm kept", "dropped by sign", "effective rank", "subspace alignment", "principal angles", "CKA"])
      assert.ok(names.includes(name), name);
    for (const { measure, source } of explanations) assert.match(source?.url ?? "none", /^https:\/\//, measure);
    assert.match(weightsmith("compare", "--explain").out, /subspace alignment: .*2502\.04959.*None of these says/s);
  });

  it("refuses patterns that fit nothing and options of --spectra alone", () => {
    assert.match(weightsmith("compare", A, B, "--tensors", "nothing.*").err, /no tensor that the models share fits/);
    assert.match(weightsmith("compare", A, B, "--tensors", "{a").err, /\{ without \}/);
    assert.match(weightsmith("compare", A, B, "--exact").err, /--exact is of --spectra/);
    assert.match(weightsmith("compare", A, B, "--spectra", "--directions", "0").err, /--directions must be at least 1/);
  });

  it("compares weights alone without a base", () => {
    const { status, out } = weightsmith("compare", A, B);
    assert.equal(status, 0);
    assert.match(out, /cos weights/);
    assert.doesNotMatch(out, /Layers by conflict/);
  });

  it("writes a page that needs nothing else, and replaces none unasked", () => {
    const file = join(temporaryFolder(), "page.html");
    assert.equal(weightsmith("compare", "--base", BASE, A, B, "--html", file).status, 0);
    const html = readFileSync(file, "utf8");
    assert.match(html, /default-src 'none'/);
    assert.doesNotMatch(html, /<(script|link|img)[^>]+(src|href)=/);
    const data = /id="results">(.*?)<\/script>/s.exec(html)?.[1] ?? "";
    assert.deepEqual(JSON.parse(data).models, [A, B]);
    const again = weightsmith("compare", A, B, "--html", file);
    assert.match(again.err, /error\[output-exists\]/);
    assert.equal(readFileSync(file, "utf8"), html);
    const nowhere = join(temporaryFolder(), "none", "page.html");
    assert.match(weightsmith("compare", A, B, "--html", nowhere).err, /error\[file-write\]/);
    assert.equal(existsSync(`${nowhere}.partial`), false);
  });

  it("refuses one model without a base, a density of 0 and models that differ", () => {
    for (const args of [[A], ["--density", "0", A, B], ["--density", "x", A, B], [A, writeModel([floatTensor("w", [1], [1])])]]) {
      const { status, out, err } = weightsmith("compare", ...args);
      assert.deepEqual([status, out], [2, ""], err);
      assert.match(err, /^error\[/);
    }
  });
});
