import assert from "node:assert/strict";
import { createTextCodec } from "../../merge-core/nn/tokenizer.ts";
import { byteTokenizer, byteTokenizerConfig, VOCABULARY_SIZE } from "../../scripts/zoo/byte-tokenizer.ts";

const codec = createTextCodec(byteTokenizer(), byteTokenizerConfig(64));

describe("byte tokenizer", () => {
  it("gives each UTF-8 byte its own id, four past the byte", () => {
    for (const text of ["sort dcab=", "a b\n\t  é漢😀 ~\u0000"]) {
      const expected = [...Buffer.from(text, "utf8")].map((byte) => byte + 4);
      assert.deepEqual(codec.encodeStart(text), expected);
      assert.deepEqual(codec.encodeMore(text), expected);
      assert.equal(codec.decode(expected), text);
    }
  });

  it("leaves special tokens out of text and keeps them apart from their spelling's bytes", () => {
    assert.equal(codec.decode([1, 4 + 97, 2, 3]), "a");
    assert.equal(VOCABULARY_SIZE, 260);
  });
});
