import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openStepJournal } from "../../merge-core/train/step-journal.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";

describe("a step journal", () => {
  const folder = temporaryFolder();
  const arrays = () => [Float64Array.of(1 / 3, -0), Float32Array.of(Math.fround(0.1), Number.NaN, 3)];

  it("gives back the last state bit for bit, and nothing for a stage it has not seen", async () => {
    const place = join(folder, "whole");
    const journal = await openStepJournal(place, "one", { every: 0 });
    await journal.save("mask", { step: 1, losses: [9] }, () => [Float64Array.of(7, 7), Float32Array.of(7, 7, 7)], false);
    await journal.save("mask", { step: 2, losses: [9, 0.1] }, arrays, false);
    const [a, b] = [new Float64Array(2), new Float32Array(3)];
    const again = await openStepJournal(place, "one");
    assert.deepEqual(await again.resume("mask", [a, b]), { step: 2, losses: [9, 0.1] });
    assert.deepEqual([a, b], arrays());
    assert.deepEqual(await again.resume("other", [a]), { step: 0, losses: [] });
    await again.discard();
    assert.ok(!existsSync(place));
  });

  it("saves no more often than told, but where it must", async () => {
    const place = join(folder, "seldom");
    const journal = await openStepJournal(place, "one", { every: 1e9 });
    await journal.save("mask", { step: 1, losses: [] }, arrays, false);
    assert.ok(!existsSync(place));
    await journal.save("mask", { step: 2, losses: [] }, arrays, true);
    assert.ok(existsSync(join(place, "mask.state")));
  });

  it("refuses another run's state and one that was cut short, and forgets both if told", async () => {
    const place = join(folder, "other");
    await (await openStepJournal(place, "one")).save("mask", { step: 2, losses: [] }, arrays, true);
    await rejectsWith("resume-other-run", () => openStepJournal(place, "two"));
    const file = join(place, "mask.state");
    writeFileSync(file, readFileSync(file).subarray(0, -1));
    await rejectsWith("resume-other-run", async () => (await openStepJournal(place, "one")).resume("mask", arrays()));
    const fresh = await openStepJournal(place, "two", { overwrite: true });
    assert.deepEqual(await fresh.resume("mask", arrays()), { step: 0, losses: [] });
  });

  it("goes on where it began or on the processor, and tells of another device", async () => {
    const place = join(folder, "device");
    const open = (engine?: string) => openStepJournal(place, "one", { every: 0, ...(engine === undefined ? {} : { engine }) });
    await (await open("webgpu")).save("mask", { step: 2, losses: [] }, arrays, true);
    const { found, expected, remedy } = await rejectsWith("resume-other-run", () => open("openblas"));
    assert.deepEqual([found, expected], ["webgpu", "openblas"]);
    assert.match(remedy ?? "", /--device cpu/);
    assert.deepEqual((await open("webgpu")).engines, ["webgpu"]);
    const journal = await open();
    assert.equal((await journal.resume("mask", arrays())).step, 2);
    await journal.save("mask", { step: 3, losses: [] }, arrays, true);
    assert.deepEqual((await open("webgpu")).engines, ["cpu", "webgpu"]);
  });
});
