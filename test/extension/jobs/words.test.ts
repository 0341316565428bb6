import assert from "node:assert/strict";
import { joinWords, splitWords } from "../../../extension/jobs/words.ts";

describe("a command line as text", () => {
  it("comes back word by word, whatever the words hold", () => {
    const words = ["a", "two words", 'with "quotes"', "C:\\models\\a b\\", "--weights=-1,1", "", "tab\there"];
    assert.deepEqual(splitWords(joinWords(words)), words);
  });

  it("leaves plain words as they are", () => assert.equal(joinWords(["./a", "--rank", "8"]), "./a --rank 8"));

  it("is refused while a quote is open, or one stands within a word", () => {
    for (const text of ['a "b', 'a b"c', '"a"b']) assert.equal(splitWords(text), undefined, text);
    assert.deepEqual(splitWords("  a   b "), ["a", "b"]);
  });
});
