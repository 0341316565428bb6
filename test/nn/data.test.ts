import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { padRows, readExamples, tokenize } from "../../merge-core/nn/data.ts";
import { createTextCodec } from "../../merge-core/nn/tokenizer.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { tinyTokenizerJson } from "../helpers/tiny-decoder.ts";

const codec = createTextCodec(tinyTokenizerJson());

function write(text: string): string {
  const file = join(temporaryFolder(), "data.jsonl");
  writeFileSync(file, text);
  return file;
}

describe("examples", () => {
  it("are read line by line, blank lines and other keys left aside", async () => {
    const file = write('{"prompt": "ab", "completion": "b", "id": 7}\n\n{"text": "abc"}\r\n');
    assert.deepEqual(await readExamples(file), [{ prompt: "ab", completion: "b" }, { text: "abc" }]);
  });

  for (const [what, line, code] of [
    ["what is not JSON", '{"text": ', "data-syntax"],
    ["an object of another shape", '{"question": "a"}', "data-shape"],
    ["a prompt without completion", '{"prompt": "a"}', "data-shape"],
    ["a number", "7", "data-shape"],
  ] as const) {
    it(`refuse ${what} with its line`, async () => {
      const { range } = await rejectsWith(code, () => readExamples(write(`{"text": "a"}\n${line}\n`)));
      assert.equal(range?.line, 1);
      assert.equal(range?.offset, 14);
    });
  }

  it("refuse a file without examples", () => rejectsWith("data-empty", () => readExamples(write("\n"))));
  it("refuse a missing file", () => rejectsWith("file-missing", () => readExamples("no-such.jsonl")));

  it("become tokens with the loss on the answer and the end", () => {
    assert.deepEqual(tokenize({ prompt: "ab", completion: "ba" }, codec, 2, 10), [{ tokens: [1, 3, 4, 4, 3, 2], lossFrom: 3 }]);
    assert.deepEqual(tokenize({ prompt: "ab", completion: "ba" }, codec, 2, 5), []);
  });

  it("are spelled as one text unless that would change the prompt's own tokens", () => {
    // A merge makes "ab" token 17, and text that follows other text starts with a mark, token 16.
    const merging = {
      ...codec,
      encodeStart: (text: string) => [1, ...(text.startsWith("ab") ? [17, ...codec.encodeMore(text.slice(2))] : codec.encodeMore(text))],
    };
    const separate = { ...merging, encodeMore: (text: string) => [16, ...codec.encodeMore(text)] };
    assert.deepEqual(tokenize({ prompt: "ab", completion: "c" }, separate, 2, 10), [{ tokens: [1, 17, 5, 2], lossFrom: 2 }]);
    assert.deepEqual(tokenize({ prompt: "a", completion: "bc" }, separate, 2, 10), [{ tokens: [1, 3, 16, 4, 5, 2], lossFrom: 2 }]);
  });

  it("predict every token of a long text but the first exactly once", () => {
    const rows = tokenize({ text: "abcdefg" }, codec, 2, 4);
    assert.deepEqual(
      rows.map((row) => row.tokens),
      [
        [1, 3, 4, 5],
        [5, 6, 7, 8],
        [8, 9, 2],
      ],
    );
    assert.deepEqual(
      rows.flatMap((row) => row.tokens.slice(row.lossFrom)),
      [3, 4, 5, 6, 7, 8, 9, 2],
    );
  });

  it("are padded on the right, weight only where a token is to be predicted", () => {
    const batch = padRows(
      [
        { tokens: [1, 3, 4, 2], lossFrom: 2 },
        { tokens: [1, 2], lossFrom: 1 },
      ],
      0.5,
    );
    assert.deepEqual([batch.batch, batch.seq], [2, 3]);
    assert.deepEqual([...batch.tokens], [1, 3, 4, 1, 0, 0]);
    assert.deepEqual([...batch.targets], [3, 4, 2, 2, 0, 0]);
    assert.deepEqual([...batch.weights], [0, 0.5, 0.5, 0.5, 0, 0]);
  });
});
