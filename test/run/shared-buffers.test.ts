import assert from "node:assert/strict";
import { SharedBuffers } from "../../merge-core/run/shared-buffers.ts";

describe("SharedBuffers", () => {
  it("gives out memory that nobody has, of the length asked for", () => {
    const buffers = new SharedBuffers();
    const [a, b] = [buffers.take(10), buffers.take(10)];
    assert.notEqual(a.buffer, b.buffer);
    assert.deepEqual([a.byteLength, b.byteLength], [10, 10]);
  });

  it("uses the smallest that is large enough again, and never holds more than were in use at once", () => {
    const buffers = new SharedBuffers();
    const [large, small] = [buffers.take(1000), buffers.take(100)];
    buffers.release();
    assert.equal(buffers.take(60).buffer, small.buffer);
    assert.equal(buffers.take(60).buffer, large.buffer);
    buffers.release();
    const larger = buffers.take(2000);
    buffers.release();
    // It took the place of the small one.
    const held = [buffers.take(1), buffers.take(1), buffers.take(1)].map(({ buffer }) => buffer);
    assert.ok(held.includes(larger.buffer) && held.includes(large.buffer) && !held.includes(small.buffer));
  });
});
