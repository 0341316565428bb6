import assert from "node:assert/strict";
import { parseModelReference } from "../../merge-core/recipe/model-reference.ts";

describe("parseModelReference", () => {
  it("reads path, revision and adapter", () => {
    assert.deepEqual(parseModelReference("a/b"), { text: "a/b", path: "a/b" });
    assert.deepEqual(parseModelReference("a@v1"), { text: "a@v1", path: "a", revision: "v1" });
    assert.deepEqual(parseModelReference("a@v1+b@v2"), { text: "a@v1+b@v2", path: "a", revision: "v1", lora: { path: "b", revision: "v2" } });
  });

  it("refuses what can be read in two ways", () => {
    for (const text of ["@@@@@", "a+b+c", "a+b+c@d+e@f@g", "", "a+", "+b", "a@"]) assert.equal(parseModelReference(text), undefined, text);
  });
});
