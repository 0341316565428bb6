import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Journal, readJournal, wholeLinesBytes } from "../../merge-core/run/journal.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";

const identity = { planHash: "p", weightsmith: "1", inputs: "i" };
const warning = { code: "non-finite", severity: "warning", message: "é" } as const;

/** A folder with a shard and a journal that names two tensors. */
async function journalFolder(): Promise<{ folder: string; text: () => string }> {
  const folder = temporaryFolder();
  const shard = join(folder, "shard");
  writeFileSync(shard, "data");
  const journal = await Journal.open(folder, identity, 0);
  journal.add({ tensor: "a", warnings: [] }, shard);
  journal.add({ tensor: "b", warnings: [warning] }, shard);
  await journal.close();
  return { folder, text: () => readFileSync(join(folder, "journal.jsonl"), "utf8") };
}

describe("journal", () => {
  it("gives back what was finished, with what was noticed", async () => {
    const { text } = await journalFolder();
    const finished = readJournal(text(), identity, "out");
    assert.deepEqual(
      [...(finished?.values() ?? [])],
      [
        { tensor: "a", warnings: [] },
        { tensor: "b", warnings: [warning] },
      ],
    );
  });

  it("takes a torn last line as not written, at every cut, and goes on after it", async () => {
    const { folder, text } = await journalFolder();
    const whole = text();
    const second = whole.indexOf("\n") + 1;
    const third = whole.indexOf("\n", second) + 1;
    for (let cut = 0; cut < whole.length; cut++) {
      const names = readJournal(whole.slice(0, cut), identity, "out")?.size;
      assert.equal(names, cut < second ? undefined : cut < third ? 0 : 1, `cut at ${cut}`);
    }
    writeFileSync(join(folder, "journal.jsonl"), whole.slice(0, -5));
    const journal = await Journal.open(folder, identity, wholeLinesBytes(whole.slice(0, -5)));
    journal.add({ tensor: "b", warnings: [warning] }, join(folder, "shard"));
    await journal.close();
    assert.equal(text(), whole);
  });

  it("refuses other plans, changed inputs and damage", async () => {
    const text = (await journalFolder()).text();
    const other = await rejectsWith("resume-other-plan", () => readJournal(text, { ...identity, planHash: "q" }, "out"));
    assert.match(other.remedy ?? "", /--overwrite/);
    await rejectsWith("resume-other-version", () => readJournal(text, { ...identity, weightsmith: "2" }, "out"));
    await rejectsWith("resume-inputs-changed", () => readJournal(text, { ...identity, inputs: "j" }, "out"));
    await rejectsWith("journal-damaged", () => readJournal(text.replace('{"tensor":"a"', '{"ten'), identity, "out"));
  });

  it("writes entries in the background once the interval has passed", async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, "shard"), "data");
    const journal = await Journal.open(folder, identity, 0, 0);
    journal.add({ tensor: "a", warnings: [] }, join(folder, "shard"));
    const text = () => readFileSync(join(folder, "journal.jsonl"), "utf8");
    for (let i = 0; i < 200 && !text().includes('"a"'); i++) await new Promise((done) => setTimeout(done, 10));
    assert.match(text(), /"tensor":"a"/);
    await journal.close();
  });

  it("notes nothing whose bytes could not be forced to disk", async () => {
    const folder = temporaryFolder();
    const journal = await Journal.open(folder, identity, 0);
    journal.add({ tensor: "a", warnings: [] }, join(folder, "no such shard"));
    await assert.rejects(() => journal.close(), /ENOENT/);
    assert.equal(readJournal(readFileSync(join(folder, "journal.jsonl"), "utf8"), identity, "out")?.size, 0);
  });
});
