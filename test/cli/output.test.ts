import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { formatBytes, formatDuration, formatTable, Output, progressLine } from "../../merge-core/cli/output.ts";

describe("output", () => {
  it("formats bytes and durations with their units", () => {
    assert.deepEqual([0, 999, 1536, 5 * 2 ** 30].map(formatBytes), ["0 B", "999 B", "1.50 KiB", "5.00 GiB"]);
    assert.deepEqual([0.4, 59, 61, 7260].map(formatDuration), ["0 s", "59 s", "1 min 1 s", "2 h 1 min"]);
  });

  it("shows bar, percentage, rate and time left", () => {
    const line = progressLine({ stage: "merge", done: 2 ** 30, total: 4 * 2 ** 30, unit: "bytes", detail: "lm_head.weight" }, 1, 2 ** 30);
    assert.equal(line, "merge [#####...............]  25 %  1.00 GiB of 4.00 GiB  1.00 GiB/s  3 s left  lm_head.weight");
  });

  it("writes progress as records for programs that follow a run, first and last always", () => {
    const err = new PassThrough();
    const output = new Output({ out: new PassThrough(), err }, { json: true, quiet: false, records: true });
    const at = (done: number) => ({ stage: "merge", done, total: 8, unit: "bytes" as const });
    for (const done of [1, 2, 3, 8]) output.progress(at(done));
    const lines = String(err.read()).trim().split("\n");
    assert.deepEqual(
      lines.map((line) => JSON.parse(line)),
      [{ progress: at(1) }, { progress: at(8) }],
    );
  });

  it("aligns tables", () => {
    assert.equal(
      formatTable(
        ["name", "n"],
        [
          ["a", "10"],
          ["long", "9"],
        ],
        [1],
      ),
      "name   n\n----  --\na     10\nlong   9",
    );
  });
});
