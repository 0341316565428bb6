import assert from "node:assert/strict";
import { Worker } from "node:worker_threads";
import { waitWhile } from "../../merge-core/compute/wait-while.ts";

const [WAITING, ANSWERED] = [0, 1];

/** Notifies three times without an answer, as one does that is late, then answers. */
const LATE = `
const { workerData } = require("node:worker_threads");
const state = new Int32Array(workerData);
const pause = new Int32Array(new SharedArrayBuffer(4));
for (let i = 0; i < 3; i++) {
  while (Atomics.notify(state, 0) === 0) Atomics.wait(pause, 0, 0, 1);
}
Atomics.wait(pause, 0, 0, 20);
Atomics.store(state, 0, ${ANSWERED});
Atomics.notify(state, 0);
`;

describe("waitWhile", () => {
  it("sleeps on when it is woken without an answer", async () => {
    const board = new SharedArrayBuffer(4);
    const state = new Int32Array(board);
    const worker = new Worker(LATE, { eval: true, workerData: board });
    assert.equal(waitWhile(state, WAITING, 20_000), true);
    assert.equal(state[0], ANSWERED);
    await worker.terminate();
  });

  it("gives up after its time", () => {
    assert.equal(waitWhile(new Int32Array(new SharedArrayBuffer(4)), WAITING, 5), false);
  });
});
