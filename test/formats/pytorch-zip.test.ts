// Files of torch.save: what they say is read in place, and nothing that they ask for is run.
import assert from "node:assert/strict";
import { countingSource } from "../../merge-core/bytes/counting-source.ts";
import { memorySource } from "../../merge-core/bytes/memory-source.ts";
import { WeightsmithError } from "../../merge-core/diagnostics.ts";
import { readPytorchHeader } from "../../merge-core/formats/pytorch-zip.ts";
import { identifyingBytes, readTensorFile } from "../../merge-core/formats/tensor-file.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { hostilePytorch, op, pickleOf, storage, tensor, torchFile, zipFile } from "../helpers/pickles.ts";

const header = (bytes: Uint8Array) => readPytorchHeader(memorySource(bytes, "model.bin"));
const data = Array.from({ length: 16 }, (_, i) => i);
const four = storage("FloatStorage", "0", 4);

describe("a PyTorch file", () => {
  it("places its tensors at their bytes", async () => {
    const file = torchFile(pickleOf(tensor(four, 1, [1, 3], [77, 1])), data);
    const [only, ...rest] = await header(file);
    assert.deepEqual(rest, []);
    assert.deepEqual([only?.name, only?.dtype, only?.shape], ["w", "F32", [1, 3]]);
    assert.deepEqual([...file.slice(only?.begin, only?.end)], data.slice(4));
  });

  it("may write its sizes as 64-bit numbers", async () => {
    const pickle = { name: "archive/data.pkl", bytes: pickleOf(tensor(four, 0, [4], [1])), wide: true };
    const file = zipFile([pickle, { name: "archive/data/0", bytes: Uint8Array.from(data), wide: true }]);
    const [only] = await header(file);
    assert.deepEqual([...file.slice(only?.begin, only?.end)], data);
  });

  it("lets tensors share a storage", async () => {
    const shared = [...op.dict, ...op.mark, ...op.text("a"), ...tensor(four, 0, [4], [1]), ...op.text("b"), ...tensor(four, 2, [2], [1]), ...op.setItems];
    const file = torchFile(Uint8Array.from([...op.proto, ...shared, ...op.stop]), data);
    const [a, b] = await header(file);
    assert.equal((b?.begin ?? 0) - (a?.begin ?? 0), 8);
    assert.equal(a?.end, b?.end);
  });

  it("has no byte of its tensors read", async () => {
    const source = countingSource(memorySource(torchFile(pickleOf(tensor(storage("ByteStorage", "0", 1e6), 0, [1e6], [1])), new Array(1e6).fill(1))));
    await readTensorFile(source);
    assert.ok(source.bytesRead < 2e5, `${source.bytesRead}`);
  });

  it("is told from another version by its directory", async () => {
    const [one, two] = [data, [...data.slice(1), 99]].map((bytes) => torchFile(pickleOf(tensor(four, 0, [4], [1])), bytes));
    const of = (bytes: Uint8Array | undefined) => identifyingBytes(memorySource(bytes ?? new Uint8Array(0)));
    assert.deepEqual(await of(one), await of(one));
    if ("crc32" in (await import("node:zlib"))) assert.notDeepEqual(await of(one), await of(two));
  });

  it("that is something else under its name is refused", async () => {
    await rejectsWith("pytorch-unknown", () => readTensorFile(memorySource(Uint8Array.of(0x80, 2, 0x8a, 10), "model.bin")));
  });

  for (const { what, code, bytes } of hostilePytorch()) {
    it(`with ${what}: ${code}`, async () => {
      await rejectsWith(code, () => header(bytes));
    });
  }

  it("that asks for code is refused by the name of that code", async () => {
    const hostile = hostilePytorch().find(({ what }) => what === "os.system");
    const diagnostic = await rejectsWith("pickle-global-refused", () => header(hostile?.bytes ?? new Uint8Array(0)));
    assert.equal(diagnostic.found, "os.system");
  });

  it("with any byte changed gives tensors within the file or a diagnostic", async () => {
    const file = torchFile(pickleOf(tensor(four, 0, [2, 2], [2, 1])), data);
    for (let at = 0; at < file.length; at++)
      for (const change of [1, 0x80, 0xff]) {
        const changed = file.slice();
        changed[at] = (changed[at] ?? 0) ^ change;
        try {
          for (const { begin, end } of await header(changed)) assert.ok(begin >= 0 && begin <= end && end <= file.length);
        } catch (error) {
          assert.ok(error instanceof WeightsmithError, `byte ${at} ^ ${change}: ${error}`);
        }
      }
  });
});
