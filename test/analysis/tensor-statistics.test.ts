import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { measureTensor } from "../../merge-core/analysis/tensor-statistics.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, type TensorData, writeModel } from "../helpers/models.ts";

async function measure(tensor: TensorData, bins?: number) {
  const checkpoint = await openCheckpoint(writeModel([floatTensor("before", [3], [9, 9, 9]), tensor]));
  const entry = checkpoint.tensors.get(tensor.name);
  assert.ok(entry);
  return measureTensor(entry, bins === undefined ? {} : { bins });
}

describe("tensor statistics", () => {
  it("of 1, 2, 3, 4 are those of a school book", async () => {
    const { count, zeros, finite, histogram } = await measure(floatTensor("x", [2, 2], [1, 2, 3, 4]), 3);
    assert.deepEqual([count, zeros], [4, 0]);
    assert.deepEqual(finite, { min: 1, max: 4, mean: 2.5, std: Math.sqrt(1.25), rms: Math.sqrt(7.5) });
    assert.deepEqual(histogram, [1, 1, 2], "steps [1, 2), [2, 3), [3, 4]");
  });

  it("count special values and leave them out of the rest", async () => {
    const { count, zeros, nan, infinite, finite } = await measure(
      floatTensor("x", [6], [0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -2]),
    );
    assert.deepEqual([count, zeros, nan, infinite], [6, 2, 1, 2]);
    assert.deepEqual([finite?.min, finite?.max, finite?.mean], [-2, 0, -2 / 3]);
  });

  it("read small floats and integers by their own types", async () => {
    for (const dtype of ["BF16", "F16", "F8_E4M3", "F8_E5M2", "F64"] as const) {
      const { finite } = await measure(floatTensor("x", [3], [-1.5, 0.5, 1], dtype));
      assert.deepEqual([finite?.min, finite?.max, finite?.mean], [-1.5, 1, 0], dtype);
    }
    const integer = await measure({ name: "x", dtype: "I64", shape: [2], data: new Uint8Array(BigInt64Array.of(-3n, 5n).buffer) });
    assert.deepEqual([integer.finite?.min, integer.finite?.max], [-3, 5]);
    const byte = await measure({ name: "x", dtype: "U8", shape: [2], data: Uint8Array.of(7, 255) });
    assert.deepEqual([byte.finite?.min, byte.finite?.max], [7, 255]);
  });

  it("go through tensors of more than one chunk, every value once", async () => {
    const n = (1 << 20) + 5;
    const { count, zeros, finite, histogram } = await measure(
      floatTensor(
        "x",
        [n],
        Float32Array.from({ length: n }, (_, i) => i % 2),
      ),
      2,
    );
    const ones = Math.floor(n / 2);
    assert.deepEqual([count, zeros, histogram], [n, n - ones, [n - ones, ones]]);
    assert.equal(finite?.mean, ones / n);
  });

  it("of equal values have no width, and of nothing no moments", async () => {
    const same = await measure(floatTensor("x", [3], [5, 5, 5]), 4);
    assert.deepEqual([same.finite?.std, same.histogram], [0, [3, 0, 0, 0]]);
    const none = await measure(floatTensor("x", [0], []));
    assert.deepEqual([none.finite, none.histogram], [undefined, []]);
  });

  it("of the widest float64 range still fall into steps", async () => {
    const { histogram } = await measure(
      { name: "x", dtype: "F64", shape: [2], data: new Uint8Array(Float64Array.of(-Number.MAX_VALUE, Number.MAX_VALUE).buffer) },
      2,
    );
    assert.deepEqual(histogram, [1, 1]);
  });

  it("stop when cancelled, and tell of a file that shrank", async () => {
    const folder = temporaryFolder();
    const file = join(folder, "model.safetensors");
    const bytes = encodeSafetensors([floatTensor("x", [4], [1, 2, 3, 4])]);
    writeFileSync(file, bytes);
    const entry = (await openCheckpoint(file)).tensors.get("x");
    assert.ok(entry);
    await rejectsWith("cancelled", () => measureTensor(entry, { signal: AbortSignal.abort() }));
    writeFileSync(file, bytes.subarray(0, -8));
    await rejectsWith("read-out-of-range", () => measureTensor(entry));
  });
});
