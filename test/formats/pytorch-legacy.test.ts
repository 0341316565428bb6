// Files of torch.save before 1.6, put together byte by byte.
import assert from "node:assert/strict";
import { countingSource } from "../../merge-core/bytes/counting-source.ts";
import { memorySource } from "../../merge-core/bytes/memory-source.ts";
import { WeightsmithError } from "../../merge-core/diagnostics.ts";
import { readLegacyHeader } from "../../merge-core/formats/pytorch-legacy.ts";
import { identifyingBytes, readTensorFile } from "../../merge-core/formats/tensor-file.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { join, op, pickleOf, storage, tensor } from "../helpers/pickles.ts";

const START = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e, 0x80, 2, 0x4d, 0xe9, 0x03, 0x2e];
const TRUE = 0x88;
const FALSE = 0x89;

/** Magic number, version, facts, the pickle, the keys; then each storage after its number of elements. */
function legacyFile(pickle: Uint8Array, storages: readonly { key: string; count: number; bytes: readonly number[] }[], littleEndian = TRUE): Uint8Array {
  const facts = [...op.proto, ...op.dict, ...op.text("little_endian"), littleEndian, 0x73, ...op.stop];
  const keys = [...op.proto, ...op.list, ...op.mark, ...storages.flatMap(({ key }) => op.text(key)), 0x65, ...op.stop];
  const stored = storages.map(({ count, bytes }) => join(new Uint8Array(BigUint64Array.of(BigInt(count)).buffer), bytes));
  return join(START, facts, pickle, keys, ...stored);
}

const header = (bytes: Uint8Array) => readLegacyHeader(memorySource(bytes, "model.bin"));
const data = Array.from({ length: 16 }, (_, i) => i);
const four = storage("FloatStorage", "93924", 4);
const usual = () => legacyFile(pickleOf(tensor(four, 1, [1, 3], [77, 1])), [{ key: "93924", count: 4, bytes: data }]);

describe("a PyTorch file from before 1.6", () => {
  it("places its tensors at their bytes", async () => {
    const file = usual();
    const [only, ...rest] = (await readTensorFile(memorySource(file, "model.bin"))).tensors;
    assert.deepEqual(rest, []);
    assert.deepEqual([only?.name, only?.dtype, only?.shape], ["w", "F32", [1, 3]]);
    assert.deepEqual([...file.slice(only?.begin, only?.end)], data.slice(4));
  });

  it("finds a storage behind others of other dtypes", async () => {
    const both = [
      ...op.dict,
      ...op.mark,
      ...op.text("a"),
      ...tensor(storage("ByteStorage", "7", 3), 0, [3], [1]),
      ...op.text("b"),
      ...tensor(four, 0, [4], [1]),
    ];
    const file = legacyFile(Uint8Array.from([...op.proto, ...both, ...op.setItems, ...op.stop]), [
      { key: "7", count: 3, bytes: [91, 92, 93] },
      { key: "93924", count: 4, bytes: data },
    ]);
    const [a, b] = await header(file);
    assert.deepEqual([...file.slice(a?.begin, a?.end)], [91, 92, 93]);
    assert.deepEqual([...file.slice(b?.begin, b?.end)], data);
  });

  it("is read further where its description is long, and no byte of its tensors is", async () => {
    const count = 3e6;
    const long = [...op.text("x".repeat(9e5)), 0x30];
    const pickle = Uint8Array.from([...op.proto, ...long, ...long, ...pickleOf(tensor(storage("ByteStorage", "0", count), 0, [count], [1])).slice(2)]);
    const source = countingSource(memorySource(legacyFile(pickle, [{ key: "0", count, bytes: new Array<number>(count).fill(1) }]), "model.bin"));
    assert.equal((await readTensorFile(source)).tensors.length, 1);
    assert.ok(source.bytesRead > 1.8e6 && source.bytesRead < 6e6, `${source.bytesRead}`);
  });

  it("is told from another version by what stands before its tensors", async () => {
    const other = legacyFile(pickleOf(tensor(four, 0, [1, 3], [77, 1])), [{ key: "93924", count: 4, bytes: data }]);
    const of = (bytes: Uint8Array) => identifyingBytes(memorySource(bytes, "model.bin"));
    assert.deepEqual(await of(usual()), await of(usual()));
    assert.notDeepEqual(await of(usual()), await of(other));
  });

  it("is refused where it is cut off, big-endian, or asks for code", async () => {
    await rejectsWith("pytorch-invalid", () => header(usual().slice(0, -1)));
    await rejectsWith("pickle-truncated", () => header(usual().slice(0, 60)));
    await rejectsWith("pytorch-byte-order", () => header(legacyFile(pickleOf(tensor(four, 0, [4], [1])), [{ key: "93924", count: 4, bytes: data }], FALSE)));
    const code = [...op.global("os", "system"), ...op.text("true"), ...op.tuple1, ...op.reduce];
    const refused = await rejectsWith("pickle-global-refused", () => header(legacyFile(pickleOf(code), [])));
    assert.equal(refused.found, "os.system");
  });

  it("with any byte changed gives tensors within the file or a diagnostic", async () => {
    const file = usual();
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
