import assert from "node:assert/strict";
import { type JobEnd, type JobRecord, outcomeOf, progressText, readStderr } from "../../../extension/jobs/job.ts";

const RECORD: JobRecord = { id: "1", verb: "merge", title: "a", args: [], cwd: "/", startedMs: 0, pid: 1 };
const CANCELLED = JSON.stringify({ ok: false, diagnostics: [{ code: "cancelled", severity: "error", message: "cancelled" }] });
const FAILED = JSON.stringify({ ok: false, diagnostics: [{ code: "disk-full", severity: "error", message: "no space" }] });

describe("job outcome", () => {
  it("is read from the result, since nobody may have seen the exit status", () => {
    const cases = [
      [true, "", "running"],
      [false, '{"ok":true}', "done"],
      [false, FAILED, "failed"],
      [false, CANCELLED, "cancelled"],
      [false, "", "died"],
      [false, '{"ok":tr', "died"],
    ] as const;
    for (const [alive, stdout, status] of cases) assert.equal(outcomeOf(RECORD, alive, stdout).status, status, stdout);
  });

  it("carries the diagnostics of a failure, and says what to do about a death", () => {
    assert.equal(outcomeOf(RECORD, false, FAILED).diagnostics[0]?.code, "disk-full");
    assert.match(outcomeOf(RECORD, false, "").diagnostics[0]?.remedy ?? "", /resume/);
  });

  it("of a death says why, as far as that can be told", () => {
    const died = (end: JobEnd) => {
      const [diagnostic] = outcomeOf({ ...RECORD, startedMs: 10_000 }, false, "", end).diagnostics;
      return `${diagnostic?.message}; ${diagnostic?.found}; ${diagnostic?.remedy}`;
    };
    assert.match(died({ exit: { code: null, signal: "SIGKILL" } }), /killed \(SIGKILL\).*without memory.*resume it.*less memory/);
    assert.match(died({ exit: { code: null, signal: "SIGTERM" } }), /ended by SIGTERM; resume it/);
    assert.match(died({ exit: { code: 134, signal: null }, lastLine: "FATAL ERROR: heap" }), /FATAL ERROR: heap; resume it/);
    assert.match(died({ exit: { code: 3, signal: null } }), /exit status 3/);
    assert.match(died({ bootMs: 20_000, lastLine: "something" }), /the machine was started anew/);
    assert.match(died({ bootMs: 5_000 }), /may have run out of memory/);
  });

  it("of a job that waits is queued, or cancelled before it ran", () => {
    assert.equal(outcomeOf({ ...RECORD, pid: 0, queued: true }, false, "").status, "queued");
    assert.equal(outcomeOf({ ...RECORD, pid: 0, queued: true, cancelRequested: true }, false, "").status, "cancelled");
  });

  it("of a process that was asked to stop and left no word is cancelled", () => {
    assert.equal(outcomeOf({ ...RECORD, cancelRequested: true }, false, "").status, "cancelled");
  });
});

describe("a job's stderr", () => {
  const at = (done: number) => JSON.stringify({ progress: { stage: "merge", done, total: 10, unit: "items" } });

  it("gives the last progress and the other lines, and keeps an unfinished line for later", () => {
    const { progress, lines, rest } = readStderr(`${at(1)}\nnote\n${at(2)}\n{"progr`);
    assert.deepEqual([progress?.done, lines, rest], [2, ["note"], '{"progr']);
    assert.equal(readStderr(`${rest}ess":{"stage":"merge","done":3,"total":10,"unit":"items"}}\n`).progress?.done, 3);
  });

  it("takes a line that only looks like progress for text", () => {
    assert.deepEqual(readStderr('{"progress": oh\n').lines, ['{"progress": oh']);
  });
});

describe("progress text", () => {
  const progress = { stage: "merge", done: 2 ** 30, total: 4 * 2 ** 30, unit: "bytes" };

  it("tells the time left from the rate since the first record: 1 GiB in 4 s leaves 3 GiB, 12 s", () => {
    assert.equal(progressText(progress, { done: 0, atMs: 0 }, 4000), "merge 25 %, 1.00 GiB of 4.00 GiB, 12 s left");
  });

  it("tells no time before there is ground for it", () => {
    assert.equal(progressText(progress, { done: 0, atMs: 0 }, 1000), "merge 25 %, 1.00 GiB of 4.00 GiB");
  });
});
