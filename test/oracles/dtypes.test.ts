// Our reader and codecs against files written by Python's safetensors and conversions made by torch (dtype_goldens.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { decodeSmall, encodeSmall } from "../../merge-core/formats/dtype-codecs.ts";
import { DTYPE_BYTES, type DType, isFloat } from "../../merge-core/formats/dtypes.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { readTensors, type StoredTensor, valuesOf } from "./read-tensors.ts";

const FOLDER = "test/fixtures/oracles/dtypes";
/** Midpoint between the largest value, 448, and what the next would be. */
const E4M3_ROUNDS_UP = 464;
const SMALL = ["F16", "BF16", "F8_E4M3", "F8_E5M2"] as const;

type Values = readonly (number | string | boolean)[];
const described = JSON.parse(readFileSync(`${FOLDER}/all-dtypes.json`, "utf8")) as Record<string, { shape: number[]; values: Values }>;

describe("Files written by Python's safetensors", () => {
  it("hold one tensor of every dtype that we read", async () => {
    const tensors = await readTensors(`${FOLDER}/all-dtypes.safetensors`);
    assert.deepEqual(new Set([...tensors.values()].map(({ dtype }) => dtype)), new Set(Object.keys(DTYPE_BYTES)));
  });

  for (const [name, golden] of Object.entries(described)) {
    it(`give the shape and values of ${name}`, async () => {
      const tensor = (await readTensors(`${FOLDER}/all-dtypes.safetensors`)).get(name);
      assert.ok(tensor);
      assert.deepEqual(tensor.shape, golden.shape);
      assert.deepEqual(numbersOf(tensor), golden.values.map(plain));
    });
  }

  it("come out byte for byte the same when written again", async () => {
    const path = `${FOLDER}/all-dtypes.safetensors`;
    const tensors = [...(await readTensors(path))].map(([name, tensor]) => ({ name, ...tensor }));
    const again = encodeSafetensors(tensors, { format: "pt", note: "héllo" });
    assert.deepEqual(tensorBytes(again), tensorBytes(readFileSync(path)));
  });
});

describe("Conversions made by torch", () => {
  for (const dtype of SMALL) {
    it(`${dtype}: every stored code decodes to torch's float32`, async () => {
      const tensors = await readTensors(`${FOLDER}/codes.safetensors`);
      const codes = numbersOf(tensors.get(`${dtype}.codes`)).map(Number);
      const values = valuesOf(tensors.get(`${dtype}.values`));
      assert.ok(codes.length >= 256);
      for (const [i, code] of codes.entries())
        assert.ok(Object.is(decodeSmall(dtype, code), values[i]), `code ${code}: ${decodeSmall(dtype, code)}, torch ${values[i]}`);
    });

    it(`${dtype}: rounds as torch does at midpoints, beside them and past the ends`, async () => {
      const tensors = await readTensors(`${FOLDER}/rounding.safetensors`);
      const inputs = valuesOf(tensors.get(`${dtype}.inputs`));
      const rounded = codesOf(tensors.get(`${dtype}.rounded`));
      assert.ok(inputs.length > 1000);
      for (const [i, input] of inputs.entries()) {
        const [ours, torch] = [encodeSmall(dtype, input), rounded[i] ?? -1];
        // torch saturates here since 2026; before, and in ml_dtypes, as here, an overflow shows as NaN.
        if (dtype === "F8_E4M3" && Math.abs(input) > E4M3_ROUNDS_UP)
          assert.ok(Number.isNaN(decodeSmall(dtype, ours)) && decodeSmall(dtype, torch) ** 2 === 448 ** 2);
        // A NaN has many codes; any of them is right.
        else if (!(Number.isNaN(decodeSmall(dtype, ours)) && Number.isNaN(decodeSmall(dtype, torch)))) assert.equal(ours, torch, `rounding ${input}`);
      }
    });
  }
});

/** Values of any dtype; integers past 2^53 as decimal strings, as in the golden file. */
function numbersOf(tensor: StoredTensor | undefined): (number | string)[] {
  assert.ok(tensor);
  const { dtype, data } = tensor;
  if (isFloat(dtype) && dtype !== "F64") return [...valuesOf(tensor)];
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return Array.from({ length: data.byteLength / DTYPE_BYTES[dtype] }, (_, i) => readNumber(view, dtype, i * DTYPE_BYTES[dtype]));
}

function readNumber(view: DataView, dtype: DType, at: number): number | string {
  if (dtype === "F64") return view.getFloat64(at, true);
  if (dtype === "I64") return plainBigInt(view.getBigInt64(at, true));
  if (dtype === "I32") return view.getInt32(at, true);
  if (dtype === "I16") return view.getInt16(at, true);
  return dtype === "I8" ? view.getInt8(at) : view.getUint8(at);
}

const plainBigInt = (value: bigint): number | string => (Number.isSafeInteger(Number(value)) ? Number(value) : String(value));
const plain = (value: number | string | boolean): number | string => (typeof value === "boolean" ? Number(value) : value);

function codesOf(tensor: StoredTensor | undefined): number[] {
  assert.ok(tensor);
  const view = new DataView(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
  const width = DTYPE_BYTES[tensor.dtype];
  return Array.from({ length: tensor.data.byteLength / width }, (_, i) => (width === 1 ? view.getUint8(i) : view.getUint16(i * 2, true)));
}

/** Everything behind the header, whose key order and padding are the writer's own. */
function tensorBytes(file: Uint8Array): Uint8Array {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  return Uint8Array.from(file.subarray(8 + length));
}
