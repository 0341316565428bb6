import assert from "node:assert/strict";
import { countingSource } from "../../merge-core/bytes/counting-source.ts";
import { memorySource } from "../../merge-core/bytes/memory-source.ts";
import { readHeader } from "../../merge-core/formats/safetensors.ts";
import { encodeSafetensors, layoutFile, type TensorSpec } from "../../merge-core/formats/safetensors-write.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { hostileSafetensors, rawFile } from "../helpers/hostile.ts";

const header = (bytes: Uint8Array) => readHeader(memorySource(bytes, "model.safetensors"));
const filled = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed) & 255);

const sample = [
  { name: "b.weight", dtype: "BF16", shape: [2, 3], data: filled(12, 1) },
  { name: "10", dtype: "I64", shape: [2], data: filled(16, 2) },
  { name: "empty", dtype: "F32", shape: [0, 7], data: new Uint8Array(0) },
  { name: "2", dtype: "BOOL", shape: [3], data: filled(3, 3) },
  { name: "__proto__", dtype: "F8_E4M3", shape: [], data: filled(1, 4) },
  { name: 'quote " and é', dtype: "F64", shape: [1, 1, 1], data: filled(8, 5) },
] as const;

describe("safetensors reader", () => {
  for (const { what, code, bytes } of hostileSafetensors) {
    it(`refuses ${what}: ${code}`, async () => {
      const diagnostic = await rejectsWith(code, () => header(bytes));
      assert.equal(diagnostic.file, "model.safetensors");
    });
  }

  it("reads a header written by hand", async () => {
    const json = '{"a":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},"s":{"dtype":"F32","shape":[],"data_offsets":[8,12]},"__metadata__":{"format":"pt"}}';
    const { tensors, metadata, dataOffset } = await header(rawFile(json, 12));
    const base = 8 + json.length;
    assert.equal(dataOffset, base);
    assert.deepEqual(metadata, { format: "pt" });
    assert.deepEqual(tensors, [
      { name: "a", dtype: "F16", shape: [2, 2], begin: base, end: base + 8 },
      { name: "s", dtype: "F32", shape: [], begin: base + 8, end: base + 12 },
    ]);
  });

  it("orders tensors by their bytes, whatever the order of names", async () => {
    const { tensors } = await header(rawFile('{"z":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 2));
    assert.deepEqual(
      tensors.map((t) => t.name),
      ["a", "z"],
    );
  });

  it("accepts a file without tensors", async () => {
    assert.deepEqual((await header(rawFile("{}"))).tensors, []);
  });

  it("reads nothing but the header", async () => {
    const file = encodeSafetensors([{ name: "a", dtype: "U8", shape: [100_000], data: new Uint8Array(100_000) }]);
    const source = countingSource(memorySource(file));
    const { dataOffset } = await readHeader(source);
    assert.equal(source.bytesRead, dataOffset);
  });

  it("stops when cancelled", async () => {
    await rejectsWith("cancelled", () => readHeader(memorySource(rawFile("{}")), { signal: AbortSignal.abort() }));
  });
});

describe("safetensors writer", () => {
  it("write, read, write gives the same bytes", async () => {
    const first = encodeSafetensors(sample, { format: "pt", note: "x" });
    const { tensors, metadata } = await header(first);
    assert.deepEqual(
      tensors.map((t) => t.name),
      sample.map((t) => t.name),
    );
    const again = encodeSafetensors(
      tensors.map((t) => ({ ...t, data: first.slice(t.begin, t.end) })),
      metadata,
    );
    assert.deepEqual(again, first);
  });

  it("keeps every tensor's bytes", async () => {
    const file = encodeSafetensors(sample);
    for (const [i, t] of (await header(file)).tensors.entries()) assert.deepEqual(file.slice(t.begin, t.end), sample[i]?.data, t.name);
  });

  it("pads the header with spaces to 8 bytes", () => {
    for (let n = 1; n < 20; n++) {
      const { header: bytes } = layoutFile([{ name: "n".repeat(n), dtype: "U8", shape: [1] }]);
      assert.equal(bytes.length % 8, 0);
      assert.match(new TextDecoder().decode(bytes.subarray(8)), /^\{"__metadata__":\{"format":"pt"\},"n+".*\} {0,7}$/);
    }
  });

  it("lays out files of any size without their data", async () => {
    const specs: TensorSpec[] = Array.from({ length: 3 }, (_, i) => ({ name: `t${i}`, dtype: "BF16", shape: [2 ** 20, 2 ** 14] }));
    const { tensors, sizeBytes, header: bytes } = layoutFile(specs);
    assert.equal(tensors[2]?.end, sizeBytes);
    assert.equal(sizeBytes, bytes.length + 3 * 2 ** 35);
  });

  it("refuses data that does not fit", () => {
    assert.throws(() => encodeSafetensors([{ name: "a", dtype: "F32", shape: [2], data: new Uint8Array(4) }]), /tensor a: 4 bytes/);
  });
});
