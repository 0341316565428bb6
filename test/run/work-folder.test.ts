import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkDiskSpace, checkOutput, openWorkFolder } from "../../merge-core/run/work-folder.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";

const request = (out: string, overwrite = false, inputs: string[] = []) => ({ out, overwrite, inputs });
const keep = () => true;

/** A folder with one file in it. */
function folderWith(parent: string, name: string, file: string): string {
  const folder = join(parent, name);
  mkdirSync(folder);
  writeFileSync(join(folder, file), "old");
  return folder;
}

describe("work folder", () => {
  it("gives the output its name only at the end", async () => {
    const out = join(temporaryFolder(), "deep", "out");
    const work = await openWorkFolder(request(out), keep);
    writeFileSync(join(work.path, "a"), "1");
    assert.equal(existsSync(out), false);
    assert.deepEqual(await work.finish(), []);
    assert.deepEqual(readdirSync(out), ["a"]);
    assert.equal(existsSync(`${out}.partial`), false);
  });

  it("refuses an existing output unless told to replace it", async () => {
    const out = folderWith(temporaryFolder(), "out", "weightsmith.json");
    await rejectsWith("output-exists", () => checkOutput(request(out)));
    await checkOutput(request(out, true));
    const work = await openWorkFolder(request(out, true), keep);
    writeFileSync(join(work.path, "new"), "1");
    assert.equal(readFileSync(join(out, "weightsmith.json"), "utf8"), "old", "untouched until the end");
    assert.deepEqual(await work.finish(), []);
    assert.deepEqual(readdirSync(out), ["new"]);
    assert.deepEqual(readdirSync(join(out, "..")), ["out"]);
  });

  it("keeps a replaced folder that it did not write", async () => {
    const parent = temporaryFolder();
    const out = folderWith(parent, "out", "thesis.tex");
    folderWith(parent, "out.replaced", "x");
    const work = await openWorkFolder(request(out, true), keep);
    const [warning] = await work.finish();
    assert.equal(warning?.code, "replaced-kept");
    assert.equal(readFileSync(join(parent, "out.replaced-1", "thesis.tex"), "utf8"), "old");
  });

  it("uses an empty folder without asking", async () => {
    const out = temporaryFolder();
    await checkOutput(request(out));
    const work = await openWorkFolder(request(out), keep);
    await work.finish();
    assert.deepEqual(readdirSync(out), []);
  });

  it("never replaces an input, even through a link", async () => {
    const parent = temporaryFolder();
    const model = folderWith(parent, "model", "model.safetensors");
    symlinkSync(model, join(parent, "link"));
    const inputs = [join(model, "model.safetensors")];
    for (const out of [model, join(parent, "link"), parent]) await rejectsWith("output-is-input", () => checkOutput(request(out, true, inputs)));
    await checkOutput(request(join(model, "merged"), true, inputs));
    await checkOutput(request(`${model}-2`, true, inputs));
  });

  it("follows a link of the output's name to its empty folder, which may be on another disk", async () => {
    const [near, far] = [temporaryFolder(), temporaryFolder()];
    symlinkSync(far, join(near, "out"));
    await checkOutput(request(join(near, "out")));
    const work = await openWorkFolder(request(join(near, "out")), keep);
    writeFileSync(join(work.path, "a"), "1");
    await work.finish();
    assert.deepEqual([readdirSync(far), readdirSync(near)], [["a"], ["out"]]);
    symlinkSync(join(near, "nothing"), join(near, "dangling"));
    await rejectsWith("output-not-folder", () => checkOutput(request(join(near, "dangling"))));
  });

  it("never replaces a file or the current folder", async () => {
    const file = join(folderWith(temporaryFolder(), "f", "file"), "file");
    await rejectsWith("output-not-folder", () => checkOutput(request(file, true)));
    await rejectsWith("output-unsafe", () => checkOutput(request(process.cwd(), true)));
    await rejectsWith("output-unsafe", () => checkOutput(request("/", true)));
  });

  it("lets one process in at a time", async () => {
    const out = join(temporaryFolder(), "out");
    mkdirSync(`${out}.partial`);
    const lock = join(`${out}.partial`, "lock");
    writeFileSync(lock, String(process.ppid));
    const diagnostic = await rejectsWith("output-busy", () => openWorkFolder(request(out), keep));
    assert.match(diagnostic.remedy ?? "", /lock/);
    writeFileSync(lock, "999999999");
    const work = await openWorkFolder(request(out), keep);
    await work.release();
    assert.equal(existsSync(lock), false);
  });

  it("clears only what a run of ours left", async () => {
    const out = join(temporaryFolder(), "out");
    mkdirSync(`${out}.partial`);
    writeFileSync(join(`${out}.partial`, "thesis.tex"), "x");
    await rejectsWith("partial-not-ours", () => openWorkFolder(request(out, true), () => false));
    writeFileSync(join(`${out}.partial`, "journal.jsonl"), "text");
    const work = await openWorkFolder(request(out), (journal) => journal !== "text");
    assert.deepEqual(readdirSync(work.path), ["lock"]);
  });

  it("checks the disk before anything is written", async () => {
    const out = join(temporaryFolder(), "out");
    await checkDiskSpace(out, 1000);
    const diagnostic = await rejectsWith("disk-space", () => checkDiskSpace(join(out, "deeper"), 2 ** 60));
    assert.match(diagnostic.found ?? "", /bytes free/);
    assert.equal(existsSync(`${out}.partial`), false);
  });

  it("says that a folder cannot be written", async () => {
    const file = join(folderWith(temporaryFolder(), "f", "file"), "file");
    await rejectsWith("output-unwritable", () => openWorkFolder(request(join(file, "out")), keep));
  });
});
